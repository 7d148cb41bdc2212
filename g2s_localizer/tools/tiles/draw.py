# SPDX-License-Identifier: Apache-2.0
"""g2s-tiles draw: an OpenStreetMap or Lanelet2 map rendered as tiles that stand in for imagery."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from g2s_localizer.geometry.geodesy import (
    TILE_SIZE,
    ground_sample_distance,
    mercator_latlon,
    mercator_pixel,
)
from g2s_localizer.imagery.level import Box, tile_box
from g2s_localizer.imagery.sidecar import Sidecar, read_sidecar
from g2s_localizer.imagery.tiles.writer import Contents, new_store
from g2s_localizer.tools.tiles.convert import scheme_and_new_path
from g2s_localizer.tools.tiles.fetch import parse_box
from g2s_localizer.tools.tiles.map_style import GROUND, Shape, map_shapes
from g2s_localizer.tools.tiles.osm import OsmMap, read_osm

FloatArray = NDArray[np.float64]
Commands = argparse._SubParsersAction

MAX_TILES = 100_000
"""Tiles that one map may need: about 250 km2 at zoom 19 in central Europe."""

ZOOMS = (14, 22)

AROUND_M = 100.0
"""Beside the outermost thing drawn: a vehicle there needs a crop too."""

_OVERSAMPLING = 4
_SHIFT = 4
"""Binary digits of a pixel that OpenCV's drawing keeps."""

_MARGIN = 16 * TILE_SIZE
"""Pixels beyond a tile from which on shapes are cut off: OpenCV counts in 32 bits."""


def draw_map(
    file: Path,
    scheme: str,
    out: Path,
    *,
    zoom: int | None = None,
    gsd: float = 0.2,
    box: Box | None = None,
    sidecar: Sidecar | None = None,
) -> int:
    """Draw the map `file` into a new store of tiles at `out`; returns their number.

    zoom     of the tiles; None: the coarsest whose pixels are no larger than `gsd` (m)
    box      area to draw; None: what the file says it covers, else AROUND_M around all of it
    sidecar  rights and georeferencing; what it leaves open of the rights the file states

    The store says that it is a rendered map. Raises ValueError naming the file and why it cannot
    be drawn, otherwise as `read_osm` and `new_store` do.
    """
    drawn = read_osm(file)
    try:
        zoom = _zoom(drawn, gsd) if zoom is None else zoom
        shapes = map_shapes(drawn, zoom)
        if not shapes:
            raise ValueError(
                f"nothing of it is drawn: {len(drawn.ways)} ways and {len(drawn.relations)} "
                "relations, none a road, path, building, area or marking that draw knows"
            )
        boxes = np.array([_extent(shape) for shape in shapes])
        columns, rows = _tiles(box or drawn.bounds, boxes, zoom)
        met = _meets(boxes[:, [0, 2]], columns) & _meets(boxes[:, [1, 3]], rows)
        if not met.any():
            raise ValueError("nothing of it is drawn in the area asked for, or its own bounds")
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    contents = Contents(
        _named(sidecar or Sidecar(), drawn, file), (zoom,),
        tile_box(zoom, (columns[0], columns[-1]), (rows[0], rows[-1])), out.stem,
    )  # fmt: skip
    blank = _png(draw_tile([], 0, 0))
    with new_store(scheme, out, contents) as put:
        for y in tqdm(rows, unit="row", mininterval=1.0, file=sys.stderr):
            in_row = np.flatnonzero(_meets(boxes[:, [1, 3]], range(y, y + 1)))
            for x in columns:
                near = in_row[_meets(boxes[in_row][:, [0, 2]], range(x, x + 1))]
                tile = draw_tile([shapes[i] for i in near], x, y) if near.size else None
                put(zoom, x, y, blank if tile is None else _png(tile))
    return len(columns) * len(rows)


def draw_tile(shapes: list[Shape], x: int, y: int) -> NDArray[np.uint8]:
    """Return the tile (256, 256, 3) RGB of column x and row y: shapes in their order, the edges
    smoothed by drawing four times as large.
    """
    origin = np.array([x, y]) * TILE_SIZE
    canvas = np.empty((TILE_SIZE * _OVERSAMPLING,) * 2 + (3,), np.uint8)
    canvas[:] = GROUND
    for shape in shapes:
        parts = [part - origin for part in shape.parts]
        if shape.width_px:
            width = max(1, round(shape.width_px * _OVERSAMPLING))
            corners = [_fixed(segment) for part in parts for segment in _cut_line(part)]
            cv2.polylines(canvas, corners, False, shape.colour, width, cv2.LINE_8, _SHIFT)
        else:
            corners = [_fixed(ring) for part in parts if len(ring := _cut_ring(part)) > 2]
            cv2.fillPoly(canvas, corners, shape.colour, cv2.LINE_8, _SHIFT)
    size = (TILE_SIZE, TILE_SIZE)
    return np.asarray(cv2.resize(canvas, size, interpolation=cv2.INTER_AREA), np.uint8)


def _png(tile: NDArray[np.uint8]) -> bytes:
    return bytes(cv2.imencode(".png", tile[:, :, ::-1])[1])


def _fixed(points: FloatArray) -> NDArray[np.int32]:
    """Return pixels of a tile, whose first one reaches from 0 to 1, as OpenCV counts its own."""
    return np.asarray(np.rint((points * _OVERSAMPLING - 0.5) * 2**_SHIFT), np.int32)


def _cut_ring(ring: FloatArray) -> FloatArray:
    """Return the part of a ring within _MARGIN of the tile, its edge being the cut."""
    for axis in (0, 1):
        for sign, limit in ((1.0, -_MARGIN), (-1.0, TILE_SIZE + _MARGIN)):
            depth = sign * (ring[:, axis] - limit)
            if len(ring) == 0 or depth.min() >= 0.0:
                continue
            onward, depth_onward = np.roll(ring, -1, axis=0), np.roll(depth, -1)
            crosses = (depth >= 0.0) != (depth_onward >= 0.0)
            share = depth / np.where(crosses, depth - depth_onward, 1.0)
            cuts = ring + np.where(crosses, share, 0.0)[:, None] * (onward - ring)
            keep = np.stack([depth >= 0.0, crosses], axis=1)
            ring = np.stack([ring, cuts], axis=1)[keep]
    return ring


def _cut_line(line: FloatArray) -> list[FloatArray]:
    """Return the line, or where it reaches beyond _MARGIN its segments, cut off there."""
    if (line >= -_MARGIN).all() and (line <= TILE_SIZE + _MARGIN).all():
        return [line]
    start, step = line[:-1], np.diff(line, axis=0)
    # Too short a step to divide by leaves the segment where it is.
    divisor = np.where(np.abs(step) < 1e-9, 1e-9, step)
    sides = np.stack([(-_MARGIN - start) / divisor, (TILE_SIZE + _MARGIN - start) / divisor])
    enters = np.maximum(sides.min(axis=0).max(axis=1), 0.0)
    leaves = np.minimum(sides.max(axis=0).min(axis=1), 1.0)
    inside = enters < leaves
    ends = np.stack([enters, leaves], axis=1)[inside][:, :, None]
    return list(start[inside][:, None] + ends * step[inside][:, None])


def _extent(shape: Shape) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom in pixels."""
    points, reach = np.concatenate(shape.parts), shape.width_px / 2.0 + 1.0
    return (*(points.min(axis=0) - reach), *(points.max(axis=0) + reach))


def _meets(spans: FloatArray, tiles: range) -> NDArray[np.bool_]:
    """Return which of the spans (N, 2) of pixels reach into columns or rows."""
    return (spans[:, 0] < tiles.stop * TILE_SIZE) & (spans[:, 1] > tiles.start * TILE_SIZE)


def _tiles(box: Box | None, extents: FloatArray, zoom: int) -> tuple[range, range]:
    """Return the columns and rows of a box, else of all shapes and AROUND_M around them."""
    if box is None:
        low, high = extents[:, :2].min(axis=0), extents[:, 2:].max(axis=0)
        lat = float(mercator_latlon(low[0], (low[1] + high[1]) / 2.0, zoom)[0])
        around = AROUND_M / ground_sample_distance(lat, zoom)
        (left, top), (right, bottom) = low - around, high + around
    else:
        if box.west > box.east:
            raise ValueError("the antimeridian lies in the box, across which nothing is drawn")
        (left, right), (bottom, top) = mercator_pixel(
            [box.south, box.north], [box.west, box.east], zoom
        )
    world = 2**zoom
    columns, rows = (
        range(max(math.floor(low / TILE_SIZE), 0), min(math.ceil(high / TILE_SIZE), world))
        for low, high in ((left, right), (top, bottom))
    )
    if len(columns) * len(rows) > MAX_TILES:
        (south, north), (west, east) = mercator_latlon([left, right], [bottom, top], zoom)
        raise ValueError(
            f"{len(columns) * len(rows)} tiles at zoom {zoom} from latitude {south:.4f} to "
            f"{north:.4f} and longitude {west:.4f} to {east:.4f}, the limit is {MAX_TILES}: give "
            "--bbox or a coarser zoom, or look for a node that lies far off"
        )
    return columns, rows


def _zoom(drawn: OsmMap, gsd: float) -> int:
    lat = float(np.mean([way.places[0, 0] for way in drawn.ways])) if drawn.ways else 0.0
    for zoom in range(ZOOMS[0], ZOOMS[1] + 1):
        if ground_sample_distance(lat, zoom) <= gsd:
            return zoom
    raise ValueError(f"no zoom up to {ZOOMS[1]} has pixels of {gsd} m or less")


def _named(sidecar: Sidecar, drawn: OsmMap, file: Path) -> Sidecar:
    """Return the sidecar with rights: its own, those that the file states, or the file's name."""
    rights, licence = drawn.rights
    whose = sidecar.attribution or rights or file.name
    return Sidecar(
        f"Rendered map, no photograph: {whose}", sidecar.licence or licence, "g2s-tiles draw",
        sidecar.offset_east_m, sidecar.offset_north_m, sidecar.georeferencing_sigma_m,
        rendered=True,
    )  # fmt: skip


def add_draw_command(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add `draw` to the commands of g2s-tiles."""
    parser = commands.add_parser(
        "draw", help="render an OpenStreetMap or Lanelet2 map to a store",
        description="Draws an OpenStreetMap or Lanelet2 file (XML) as tiles that localizer and "
        "node read like imagery. OUT is slippy:DIR, mbtiles:FILE, pmtiles:FILE, or a path whose "
        "suffix says so: .mbtiles, .pmtiles, none for a folder.",
    )  # fmt: skip
    parser.add_argument("--osm", type=Path, required=True, metavar="FILE", help="a map in XML")
    parser.add_argument("--out", required=True, metavar="OUT", help="a new file or folder")
    parser.add_argument(
        "--bbox", type=parse_box, metavar="WEST,SOUTH,EAST,NORTH",
        help="area to draw, in degrees; without it all of the map",
    )  # fmt: skip
    scale = parser.add_mutually_exclusive_group()
    scale.add_argument("--zoom", type=int, choices=range(ZOOMS[0], ZOOMS[1] + 1), metavar="Z")
    scale.add_argument(
        "--gsd", type=float, default=0.2, metavar="M",
        help="without a zoom: the coarsest that has so many metres per pixel or less; 0.2",
    )  # fmt: skip
    parser.add_argument("--attribution", default="", help="whose map it is; as the file states")
    parser.add_argument("--licence", default="", help="of the map; as the file states")
    parser.add_argument(
        "--offset", type=float, nargs=2, default=(0.0, 0.0), metavar=("EAST", "NORTH"),
        help="the map shows things so far (m) east and north of where they are",
    )  # fmt: skip
    parser.add_argument("--sigma", type=float, metavar="M", help="of the map's places, per axis")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    scheme, out = scheme_and_new_path(args.out)
    east, north = args.offset
    count = draw_map(
        args.osm, scheme, out, zoom=args.zoom, gsd=args.gsd, box=args.bbox,
        sidecar=Sidecar(args.attribution, args.licence, "", east, north, args.sigma),
    )  # fmt: skip
    made = read_sidecar(out)
    print(f"{out}: {count} tiles as {scheme}; {made.attribution} ({made.licence or 'no licence'})")
    return 0
