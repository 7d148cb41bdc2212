# SPDX-License-Identifier: Apache-2.0
"""g2s-tiles convert and pack: the same tiles in another kind of store."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from g2s_localizer.imagery import open_imagery
from g2s_localizer.imagery.open import SCHEMES, scheme_and_path
from g2s_localizer.imagery.sidecar import read_sidecar
from g2s_localizer.imagery.source import UnusableTile
from g2s_localizer.imagery.tiles.tiled import TiledImagery
from g2s_localizer.imagery.tiles.writer import Contents, new_store

SUFFIXES = {".mbtiles": "mbtiles", ".pmtiles": "pmtiles", "": "slippy"}
"""Scheme of a store to be written whose URI names none, by its suffix."""

Commands = argparse._SubParsersAction


def add_convert_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add `convert`, and `pack`, which is convert for the usual case, to those of g2s-tiles."""
    convert = commands.add_parser(
        "convert", help="write a store anew as a folder, MBTiles or PMTiles",
        description="Writes the tiles of a store, as they are, into a new one, with its "
        "attribution and sidecar. OUT is slippy:DIR, mbtiles:FILE, pmtiles:FILE, or a path whose "
        "suffix says so: .mbtiles, .pmtiles, none for a folder.",
    )  # fmt: skip
    convert.set_defaults(run=lambda args: _run(args, scheme_and_new_path(args.out)))
    pack = commands.add_parser(
        "pack", help="pack a store into one MBTiles file: convert STORE mbtiles:FILE"
    )
    pack.set_defaults(run=lambda args: _run(args, ("mbtiles", Path(args.out))))
    for parser, metavar in ((convert, "OUT"), (pack, "OUT.mbtiles")):
        parser.add_argument("store", metavar="STORE", help="a path or URI as imagery.uri takes it")
        parser.add_argument("out", metavar=metavar, help="a new file or folder")


def convert_store(uri: str, scheme: str, out: Path) -> int:
    """Write the tiles of the store `uri` to a new one at `out`; returns their number.

    Raises ValueError for a store that has no tiles, or one of whose tiles is damaged (nothing is
    written then); otherwise as `open_imagery` and `new_store` do.
    """
    imagery = open_imagery(uri)
    if not isinstance(imagery, TiledImagery):
        raise ValueError(f"{uri} has no tiles to convert")
    path = scheme_and_path(uri)[1]
    store, levels = imagery.store, imagery.levels()
    finest = max(levels, key=lambda level: -level.gsd)
    sidecar = replace(read_sidecar(path), attribution=imagery.attribution)
    tiles = [(zoom, x, y) for zoom in store.zooms for x, y in store.tiles(zoom)]
    if scheme == "pmtiles":
        tiles = _along_the_curve(tiles)
    zooms = tuple(sorted({zoom for zoom, _, _ in tiles}))
    contents = Contents(sidecar, zooms, finest.box, path.stem)
    with new_store(scheme, out, contents) as put:
        for zoom, x, y in tqdm(tiles, unit="tile", file=sys.stderr):
            try:
                encoded = store.read(zoom, x, y)
                if encoded is None:
                    raise UnusableTile("gone while the store was being read")
                put(zoom, x, y, encoded)
            except (UnusableTile, ValueError) as error:
                raise ValueError(
                    f"{path}: tile {zoom}/{x}/{y}: {error}; g2s-tiles verify lists what is bad"
                ) from error
    return len(tiles)


def _along_the_curve(tiles: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Sort tiles as PMTiles does, so that neighbours on the ground are neighbours in the file."""
    try:
        from pmtiles.tile import zxy_to_tileid
    except ImportError:
        # The writer will say so.
        return tiles
    return sorted(tiles, key=lambda tile: zxy_to_tileid(*tile))


def scheme_and_new_path(text: str) -> tuple[str, Path]:
    scheme, colon, path = text.partition(":")
    if colon and path and scheme in SCHEMES:
        return scheme, Path(path)
    out = Path(text)
    if out.suffix not in SUFFIXES:
        raise ValueError(
            f"{text}: what is it to be? Write slippy:, mbtiles: or pmtiles: before the path"
        )
    return SUFFIXES[out.suffix], out


def _run(args: argparse.Namespace, target: tuple[str, Path]) -> int:
    scheme, out = target
    count = convert_store(args.store, scheme, out)
    size = sum(f.stat().st_size for f in (out.rglob("*") if out.is_dir() else [out]) if f.is_file())
    print(f"{out}: {count} tiles as {scheme}, {size / 1e6:.1f} MB")
    return 0
