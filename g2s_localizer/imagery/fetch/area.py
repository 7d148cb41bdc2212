# SPDX-License-Identifier: Apache-2.0
"""Web-Mercator tiles of an area: a box in degrees, or the surroundings of a route."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from g2s_localizer.geometry.geodesy import (
    TILE_SIZE,
    LatLon,
    ground_sample_distance,
    mercator_pixel,
)
from g2s_localizer.imagery.level import Box
from g2s_localizer.imagery.tiles.index import TileId

MAX_TILES = 4_000_000
"""Tiles that one area may need: about 2,500 km2 at zoom 20 in central Europe."""

_METRES_PER_DEGREE = 111_132.0


def box_tiles(box: Box, zoom: int) -> list[TileId]:
    """Return the tiles of `zoom` that share some area with the box, row by row from the north-west.

    Raises ValueError when they are more than MAX_TILES.
    """
    parts = [(box.west, box.east)]
    if box.west > box.east:
        parts = [(box.west, 180.0), (-180.0, box.east)]
    columns: list[int] = []
    for west, east in parts:
        (left, right), (bottom, top) = mercator_pixel([box.south, box.north], [west, east], zoom)
        columns += range(math.floor(left / TILE_SIZE), math.ceil(right / TILE_SIZE))
        rows = range(math.floor(top / TILE_SIZE), math.ceil(bottom / TILE_SIZE))
    columns = sorted({column % 2**zoom for column in columns})
    _refuse_too_many(len(columns) * len(rows), zoom)
    return [(zoom, x, y) for y in rows if 0 <= y < 2**zoom for x in columns]


def route_tiles(lines: Iterable[Sequence[LatLon]], buffer_m: float, zoom: int) -> list[TileId]:
    """Return the tiles of `zoom` within `buffer_m` (m) of lines from place to place, row by row.

    Nearness is taken by squares, so that a few tiles beyond come along. Raises ValueError for
    a negative buffer, and when the tiles are more than MAX_TILES.
    """
    if not (math.isfinite(buffer_m) and buffer_m >= 0.0):
        raise ValueError(f"the buffer must not be negative, got {buffer_m} m")
    found: set[tuple[int, int]] = set()
    for line in lines:
        for place in _along(line, spacing_m=max(buffer_m / 4.0, 10.0)):
            column, row = (
                float(pixel) / TILE_SIZE for pixel in mercator_pixel(place[0], place[1], zoom)
            )
            reach = buffer_m / (ground_sample_distance(place[0], zoom) * TILE_SIZE)
            # Before they are counted out: around one place alone they can be millions.
            _refuse_too_many(max(len(found), min(math.floor(2.0 * reach), 2**zoom) ** 2), zoom)
            for y in range(math.floor(row - reach), math.floor(row + reach) + 1):
                for x in range(math.floor(column - reach), math.floor(column + reach) + 1):
                    if 0 <= y < 2**zoom:
                        found.add((y, x % 2**zoom))
    _refuse_too_many(len(found), zoom)
    return [(zoom, x, y) for y, x in sorted(found)]


def area_km2(tiles: Sequence[TileId]) -> float:
    """Return the ground that the tiles cover, in square kilometres."""
    rows, counts = np.unique([(zoom, y) for zoom, _, y in tiles], axis=0, return_counts=True)
    total = 0.0
    for (zoom, y), count in zip(rows.tolist(), counts.tolist(), strict=True):
        lat = math.degrees(math.atan(math.sinh(math.pi * (1.0 - 2.0 * (y + 0.5) / 2**zoom))))
        total += count * (ground_sample_distance(lat, zoom) * TILE_SIZE / 1000.0) ** 2
    return total


def _along(line: Sequence[LatLon], spacing_m: float) -> NDArray[np.float64]:
    """Return latitude and longitude (N, 2) of places no more than `spacing_m` apart on the line."""
    places = np.array([[place.lat, place.lon] for place in line], np.float64).reshape(-1, 2)
    if len(places) < 2:
        return places
    # Across the antimeridian the line goes on beyond 180 degrees.
    places[:, 1] = np.unwrap(places[:, 1], period=360.0)
    steps = np.diff(places, axis=0) * _METRES_PER_DEGREE
    steps[:, 1] *= np.cos(np.radians((places[1:, 0] + places[:-1, 0]) / 2.0))
    travelled = np.concatenate([[0.0], np.cumsum(np.hypot(steps[:, 0], steps[:, 1]))])
    count = math.ceil(travelled[-1] / spacing_m) + 1
    at = np.linspace(0.0, travelled[-1], count)
    return np.stack([np.interp(at, travelled, places[:, axis]) for axis in (0, 1)], axis=1)


def _refuse_too_many(count: int, zoom: int) -> None:
    if count > MAX_TILES:
        raise ValueError(
            f"the area needs more than {MAX_TILES} tiles at zoom {zoom}: take a smaller one, or "
            "a coarser zoom"
        )
