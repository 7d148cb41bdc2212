# SPDX-License-Identifier: Apache-2.0
"""Boxes in degrees, and what a source of imagery holds of one resolution."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np

from g2s_localizer.geometry.geodesy import (
    MERCATOR_MAX_LATITUDE,
    TILE_SIZE,
    mercator_latlon,
    wrap_longitude,
)

MAX_TILES = 20_000_000
"""Tiles of a zoom that are counted: a small PMTiles file may claim more than anybody can list."""


@dataclass(frozen=True)
class Box:
    """west, south, east, north in degrees; west > east where the antimeridian lies inside.

    Raises ValueError naming the values that make no box among Web-Mercator's tiles.
    """

    west: float
    south: float
    east: float
    north: float

    def __post_init__(self) -> None:
        values = (self.west, self.south, self.east, self.north)
        if not all(map(math.isfinite, values)):
            raise ValueError(f"a box needs four finite numbers, got {values}")
        if max(abs(self.west), abs(self.east)) > 180.0:
            raise ValueError(f"longitudes must lie in [-180, 180] degrees, got {values}")
        most = MERCATOR_MAX_LATITUDE
        if not -most <= self.south < self.north <= most:
            raise ValueError(
                f"latitudes must rise from south to north within {most:.2f} degrees, got {values}"
            )
        if self.west == self.east:
            raise ValueError(f"a box needs some width, got {values}")


@dataclass(frozen=True)
class Level:
    """One zoom of a store, or a raster or one of its overviews.

    name    as people call it
    parts   tiles or images that it consists of
    gsd     metres per pixel in the middle of the box
    box     around all of it
    """

    name: str
    parts: int
    gsd: float
    box: Box


def columns_in_order(columns: Collection[int], world: int) -> list[int]:
    """Return columns of tiles from the west to the east, the widest gap between two lying outside.

    Those beyond the antimeridian go on counting: 0 becomes `world`.
    """
    ordered = np.unique(np.fromiter(columns, np.int64, len(columns)))
    gaps = np.diff(ordered, append=ordered[0] + world)
    # Of equal gaps that of the antimeridian.
    first = len(ordered) - int(np.argmax(gaps[::-1]))
    first %= len(ordered)
    in_order: list[int] = np.concatenate([ordered[first:], ordered[:first] + world]).tolist()
    return in_order


def tiles_extent(tiles: Iterable[tuple[int, int]], zoom: int) -> tuple[int, Box]:
    """Return the number of some tiles (column, row), and the box around them. Raises ValueError for
    none, and for more than MAX_TILES.
    """
    count, columns, rows = 0, set[int](), set[int]()
    for x, y in tiles:
        count += 1
        columns.add(x)
        rows.add(y)
        if count > MAX_TILES:
            raise ValueError(f"more than {MAX_TILES} tiles of zoom {zoom}")
    if not count:
        raise ValueError(f"no tiles of zoom {zoom}")
    across = columns_in_order(columns, 1 << zoom)
    return count, tile_box(zoom, (across[0], across[-1]), (min(rows), max(rows)))


def tile_box(zoom: int, columns: tuple[int, int], rows: tuple[int, int]) -> Box:
    """Return the box of tiles from the first to the last column and row, counted as above."""
    lat, lon = mercator_latlon(
        np.array([columns[0], columns[1] + 1]) * TILE_SIZE,
        np.array([rows[0], rows[1] + 1]) * TILE_SIZE,
        zoom,
    )
    west, east = (wrap_longitude(float(value)) for value in lon)
    return Box(west, float(lat[1]), 180.0 if east == -180.0 else east, float(lat[0]))
