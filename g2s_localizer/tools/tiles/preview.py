# SPDX-License-Identifier: Apache-2.0
"""g2s-tiles preview: one HTML file that shows what a store covers, holes included."""

from __future__ import annotations

import argparse
import base64
import html
import os
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from g2s_localizer.imagery import open_imagery
from g2s_localizer.imagery.level import columns_in_order
from g2s_localizer.imagery.source import UnusableTile
from g2s_localizer.imagery.tiles.tile import decode_tile
from g2s_localizer.imagery.tiles.tiled import TiledImagery
from g2s_localizer.imagery.tiles.whereabouts import TileStore
from g2s_localizer.tools.tiles.inspect import Inventory, take_inventory

SIDE = 1024
"""Longest side of a zoom's picture (pixels)."""

MAX_CELLS = 64
"""Cells a side of a picture: beyond, several tiles share one, which shows one of them."""

HOLE_COLOUR = np.array([255, 0, 160], np.uint8)
OUTSIDE_COLOUR = np.array([225, 225, 225], np.uint8)

Picture = NDArray[np.uint8]
Commands = argparse._SubParsersAction


@dataclass(frozen=True)
class Mosaic:
    """Picture (H, W, 3) of a zoom in cells of `tiles` x `tiles` tiles.

    holes  tiles that are missing amid others, or cannot be decoded; columns, rows: of the outline
    """

    zoom: int
    picture: Picture
    tiles: int
    holes: int
    columns: int
    rows: int


def draw_mosaic(store: TileStore, zoom: int) -> Mosaic:
    """Draw all of `zoom` of a store, small.

    Cells without a tile are grey where they lie outside, hatched where tiles surround them; those
    amid others which lack some of their tiles are hatched in a corner.
    """
    listed = list(store.tiles(zoom))
    world = 1 << zoom
    across = columns_in_order({x for x, _ in listed}, world)
    left, top = across[0], min(y for _, y in listed)
    columns, rows = across[-1] - left + 1, max(y for _, y in listed) - top + 1
    tiles = -(-max(columns, rows) // MAX_CELLS)
    cells: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for x, y in listed:
        cells[(y - top) // tiles, (x - left) % world // tiles].append((x, y))
    high, wide = -(-rows // tiles), -(-columns // tiles)
    amid = _amid(np.array([[(row, col) in cells for col in range(wide)] for row in range(high)]))
    side = max(SIDE // max(wide, high), 1)
    picture = np.full((high * side, wide * side, 3), OUTSIDE_COLOUR, np.uint8)
    holes = 0
    for row in tqdm(range(high), desc=f"zoom {zoom}", unit="row", file=sys.stderr):
        for column in range(wide):
            held = cells.get((row, column), [])
            view, lost = _view(store, zoom, held, side)
            if amid[row, column]:
                full = min(tiles, columns - column * tiles) * min(tiles, rows - row * tiles)
                lost += full - len(held)
            holes += lost
            if view is None and lost:
                view = _hatch(np.full((side, side, 3), 60, np.uint8), 2 * side)
            elif view is not None and lost:
                view = _hatch(view, side // 2)
            if view is not None:
                place = np.s_[row * side : (row + 1) * side, column * side : (column + 1) * side]
                picture[place] = view
    return Mosaic(zoom, picture, tiles, holes, columns, rows)


def _amid(held: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which cells (H, W) touch no cell that the outside reaches over cells not held."""
    padded = np.pad(held, 1)
    labels = cv2.connectedComponents((~padded).astype(np.uint8), connectivity=4)[1]
    outside = (labels == labels[0, 0]).astype(np.uint8)
    inner: NDArray[np.bool_] = cv2.dilate(outside, np.ones((3, 3), np.uint8))[1:-1, 1:-1] == 0
    return inner


def _view(
    store: TileStore, zoom: int, held: list[tuple[int, int]], side: int
) -> tuple[Picture | None, int]:
    """Return the first tile that can be decoded, made small, and how many before it could not."""
    for index, (x, y) in enumerate(sorted(held)):
        try:
            tile = decode_tile(store.read(zoom, x, y) or b"")
        except UnusableTile:
            continue
        image = tile.image
        if tile.transparent is not None:
            if tile.transparent.all():
                continue
            image = np.where(tile.transparent[:, :, None], OUTSIDE_COLOUR, image)
        shrunk = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        return np.asarray(shrunk, np.uint8), index
    return None, len(held)


def _hatch(view: Picture, size: int) -> Picture:
    """Draw diagonal stripes over the corner of the view, `size` pixels along its sides."""
    v, u = np.indices(view.shape[:2])
    stripes = (u + v < size) & ((u + v) // max(len(view) // 8, 1) % 2 == 0)
    return np.where(stripes[:, :, None], HOLE_COLOUR, view)


def page(found: Inventory, mosaics: list[Mosaic]) -> str:
    """Return the whole HTML file: nothing in it is loaded from anywhere else."""
    sigma = found.georeferencing_sigma_m
    facts = {
        "Store": f"{found.store} ({found.format}), {found.bytes / 1e6:.1f} MB",
        "Attribution": found.attribution or "not stated",
        "Licence": found.licence or "not stated",
        "Offset": f"{found.offset_east_m:g} m east, {found.offset_north_m:g} m north",
        "Sigma": "not stated" if sigma is None else f"{sigma:g} m per axis",
    }
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>"
        for name, text in facts.items()
    )
    levels = {level.name: level for level in found.levels}
    figures = "".join(
        _figure(mosaic, levels[f"zoom {mosaic.zoom}"].parts, levels[f"zoom {mosaic.zoom}"].gsd)
        for mosaic in sorted(mosaics, key=lambda mosaic: -mosaic.zoom)
    )
    return _PAGE.format(title=html.escape(found.store), facts=rows, figures=figures)


def _figure(mosaic: Mosaic, tiles: int, gsd: float) -> str:
    encoded = cv2.imencode(
        ".jpg", mosaic.picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85]
    )[1]  # fmt: skip
    data = base64.b64encode(encoded.tobytes()).decode("ascii")
    width = f"{mosaic.columns} x {mosaic.rows} tiles"
    cell = "one tile" if mosaic.tiles == 1 else f"{mosaic.tiles} x {mosaic.tiles} tiles"
    holes = "no hole" if not mosaic.holes else f"<b>{mosaic.holes} missing or unusable</b>"
    return (
        f"<h2>Zoom {mosaic.zoom}</h2><p>{tiles} tiles in an outline of {width}, {holes}; "
        f"{gsd:.3f} m per pixel; a cell of the picture is {cell}.</p>"
        f'<img alt="zoom {mosaic.zoom}" src="data:image/jpeg;base64,{data}">'
    )


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.4 sans-serif; margin: 2em; background: #fff; color: #222 }}
th {{ text-align: left; padding-right: 1em; vertical-align: top }}
img {{ display: block; max-width: 100%; border: 1px solid #888; image-rendering: pixelated }}
b, .hole {{ color: rgb(200, 0, 120) }}
</style></head><body><h1>{title}</h1><table>{facts}</table>
<p>North is up. Grey: nothing stored, outside. <span class="hole">Hatched: tiles
missing amid others, or unusable</span>; hatched in one corner: some of the cell's
tiles.</p>{figures}</body></html>
"""


def add_preview_command(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add `preview` to the commands of g2s-tiles."""
    parser = commands.add_parser("preview", help="draw what a store of tiles covers, as HTML")
    parser.add_argument("store", metavar="STORE", help="a path or URI as imagery.uri takes it")
    parser.add_argument("out", type=Path, metavar="OUT.html", help="one file; a former page goes")
    parser.set_defaults(run=_run)


def _is_page(file: Path) -> bool:
    """Return whether `file` is an HTML page: the one kind of file that another page may replace."""
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        return stream.read(15).lower() == b"<!doctype html>"


def _run(args: argparse.Namespace) -> int:
    imagery = open_imagery(args.store)
    if not isinstance(imagery, TiledImagery):
        raise ValueError(f"{args.store} has no tiles; g2s-tiles info says what it covers")
    mosaics = [draw_mosaic(imagery.store, zoom) for zoom in imagery.zooms]
    if args.out.exists() and not _is_page(args.out):
        raise FileExistsError(f"{args.out} is there and no page of g2s-tiles preview; it stays")
    text = page(take_inventory(args.store), mosaics)
    partial = args.out.with_name(f".{args.out.name}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, args.out)
    holes = sum(mosaic.holes for mosaic in mosaics)
    print(f"{args.out}: {len(mosaics)} zoom(s), {holes} tile(s) missing amid others or unusable")
    return 0
