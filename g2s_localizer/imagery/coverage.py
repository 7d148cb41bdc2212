# SPDX-License-Identifier: Apache-2.0
"""Whether a source of imagery covers the area that is planned to be driven."""

from __future__ import annotations

import math
from dataclasses import dataclass

from g2s_localizer.geometry.geodesy import LatLon, LocalFrame, wrap_longitude
from g2s_localizer.imagery.source import Imagery

MOST_CELLS = 32
"""Cells a side that an area is divided into: their sides grow with the area."""

NAMED = 3
"""Missing places and parts that are spelled out."""


@dataclass(frozen=True)
class Area:
    """A rectangle in degrees (WGS 84); west > east lies across the antimeridian.

    Raises ValueError naming the corners that are none.
    """

    west: float
    south: float
    east: float
    north: float

    def __post_init__(self) -> None:
        corners = (self.west, self.south, self.east, self.north)
        longitudes = all(-180.0 <= lon <= 180.0 for lon in (self.west, self.east))
        # A NaN compares with nothing.
        if not (longitudes and -90.0 <= self.south < self.north <= 90.0 and self.width > 0.0):
            raise ValueError(
                f"an area needs west, south, east, north in degrees, south < north, got {corners}"
            )

    @classmethod
    def around(cls, place: LatLon, radius_m: float) -> Area:
        """The rectangle that holds the square of `radius_m` to each side of `place`."""
        frame = LocalFrame(place)
        reach = (-radius_m, radius_m)
        corners = [frame.to_latlon(x, y) for x in reach for y in reach]
        # As seen from the place, so that the antimeridian is no edge.
        turns = [wrap_longitude(corner.lon - place.lon) for corner in corners]
        return cls(
            wrap_longitude(place.lon + min(turns)),
            min(corner.lat for corner in corners),
            wrap_longitude(place.lon + max(turns)),
            max(corner.lat for corner in corners),
        )

    @property
    def width(self) -> float:
        """Degrees of longitude from west to east."""
        return self.east - self.west if self.east >= self.west else self.east - self.west + 360.0


@dataclass(frozen=True)
class Coverage:
    """Of how many cells of an area a crop around every place in them has all its imagery.

    missing   (centre of the cell, names of what it lacks) of the cells that lack some, those in
              the north first
    """

    cells: int
    side_m: float
    missing: tuple[tuple[LatLon, tuple[str, ...]], ...]

    @property
    def share(self) -> float:
        """0..1"""
        return 1.0 - len(self.missing) / self.cells

    def __str__(self) -> str:
        # Rounded down: 100 % only when nothing is missing.
        percent = math.floor(1000.0 * self.share) / 10.0
        text = f"{percent:g} % of {self.cells} cells of {self.side_m:.0f} m"
        if not self.missing:
            return text
        places = [
            f"{place.lat:.5f}, {place.lon:.5f} ({', '.join(names[:NAMED])}"
            f"{f' and {len(names) - NAMED} more' if len(names) > NAMED else ''})"
            for place, names in self.missing[:NAMED]
        ]
        more = len(self.missing) - len(places)
        return f"{text}; missing at {'; '.join(places)}" + (f" and {more} more" if more else "")


def survey(imagery: Imagery, area: Area, crop_m: float, gsd: float) -> Coverage:
    """What `imagery` holds of what crops of `crop_m` at `gsd`, centred in `area`, need.

    The area is divided into at most MOST_CELLS x MOST_CELLS cells no smaller than a crop, and
    each is looked up whole with the margin of half a crop, so that no hole is overlooked.
    Raises ValueError for cells too large to be looked up.
    """
    width_m, height_m = _metres(area)
    columns, rows = (
        min(max(math.ceil(length / crop_m), 1), MOST_CELLS) for length in (width_m, height_m)
    )
    side_m = max(width_m / columns, height_m / rows)
    missing = []
    for row in range(rows):
        for column in range(columns):
            place = LatLon(
                area.north - (row + 0.5) * (area.north - area.south) / rows,
                wrap_longitude(area.west + (column + 0.5) * area.width / columns),
            )
            if names := imagery.missing(place, side_m + crop_m, gsd):
                missing.append((place, names))
    return Coverage(columns * rows, side_m, tuple(missing))


def _metres(area: Area) -> tuple[float, float]:
    """Width, where the parallels are longest, and height of an area."""
    widest = min(abs(area.south), abs(area.north)) if area.south * area.north > 0.0 else 0.0
    step = 1e-3
    east, _ = LocalFrame(LatLon(widest, 0.0)).to_xy(LatLon(widest, step))
    middle = (area.south + area.north) / 2.0
    frame = LocalFrame(LatLon(middle, 0.0))
    _, north = frame.to_xy(LatLon(area.north, 0.0))
    _, south = frame.to_xy(LatLon(area.south, 0.0))
    return east * area.width / step, north - south
