# SPDX-License-Identifier: Apache-2.0
"""Coverage of the area that is planned to be driven by a source of imagery."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from g2s_localizer.geometry.geodesy import LatLon, LocalFrame, wrap_longitude
from g2s_localizer.imagery.level import Box
from g2s_localizer.imagery.source import Imagery

CELLS = 32
"""Cells a side that an area is divided into."""

MAX_CELL_M = 1000.0
"""Longest side of a cell (m)."""

MAX_S = 60.0
"""Longest time (s) that the measurement takes."""

MAX_NAMED = 3
"""Missing places and parts that are spelled out."""


@dataclass(frozen=True)
class Coverage:
    """Count of an area's cells in which every crop has all its imagery.

    missing   (centre of the cell, names of what it lacks) of the cells that lack some, those in
              the north first
    """

    cells: int
    side_m: float
    missing: tuple[tuple[LatLon, tuple[str, ...]], ...]

    @property
    def share(self) -> float:
        """Return the share of the box that is covered, 0..1."""
        return 1.0 - len(self.missing) / self.cells

    def __str__(self) -> str:
        # Rounded down: 100 % only when nothing is missing.
        percent = math.floor(1000.0 * self.share) / 10.0
        text = f"{percent:g} % of {self.cells} cells of {self.side_m:.0f} m"
        if not self.missing:
            return text
        places = [
            f"{place.lat:.5f}, {place.lon:.5f} ({', '.join(names[:MAX_NAMED])}"
            f"{f' and {len(names) - MAX_NAMED} more' if len(names) > MAX_NAMED else ''})"
            for place, names in self.missing[:MAX_NAMED]
        ]
        more = len(self.missing) - len(places)
        return f"{text}; missing at {'; '.join(places)}" + (f" and {more} more" if more else "")


def box_around(place: LatLon, radius_m: float) -> Box:
    """Return the box that holds the square of `radius_m` to each side of `place`."""
    frame = LocalFrame(place)
    corners = [frame.to_latlon(x, y) for x in (-radius_m, radius_m) for y in (-radius_m, radius_m)]
    # As seen from the place, so that the antimeridian is no edge.
    turns = [wrap_longitude(corner.lon - place.lon) for corner in corners]
    latitudes = [corner.lat for corner in corners]
    return Box(
        wrap_longitude(place.lon + min(turns)),
        min(latitudes),
        wrap_longitude(place.lon + max(turns)),
        max(latitudes),
    )


def measure_coverage(imagery: Imagery, box: Box, crop_m: float, gsd: float) -> Coverage:
    """Return how much of `box` has all imagery that crops of `crop_m` at `gsd` centred there need.

    The box is divided into CELLS x CELLS cells, fewer where they would be smaller than a crop,
    more where they would be larger than MAX_CELL_M. Each is looked up whole with the margin of
    half a crop, so that no hole is overlooked. Those that MAX_S leaves no time for do not count.
    """
    turn = (box.east - box.west) % 360.0 or 360.0
    width_m, height_m = _metres(box, turn)
    columns, rows = (
        max(min(math.ceil(length / crop_m), CELLS), math.ceil(length / MAX_CELL_M))
        for length in (width_m, height_m)
    )
    side_m = max(width_m / columns, height_m / rows)
    missing, looked_at, ends = [], 0, time.monotonic() + MAX_S
    for row in range(rows):
        for column in range(columns):
            if looked_at and time.monotonic() > ends:
                break
            looked_at += 1
            place = LatLon(
                box.north - (row + 0.5) * (box.north - box.south) / rows,
                wrap_longitude(box.west + (column + 0.5) * turn / columns),
            )
            if names := imagery.missing(place, side_m + crop_m, gsd):
                missing.append((place, names))
    return Coverage(looked_at, side_m, tuple(missing))


def _metres(box: Box, turn: float) -> tuple[float, float]:
    """Return width, where the parallels are longest, and height of a box `turn` degrees wide."""
    widest = min(abs(box.south), abs(box.north)) if box.south * box.north > 0.0 else 0.0
    step = 1e-3
    east, _ = LocalFrame(LatLon(widest, 0.0)).to_xy(LatLon(widest, step))
    frame = LocalFrame(LatLon((box.south + box.north) / 2.0, 0.0))
    _, north = frame.to_xy(LatLon(box.north, 0.0))
    _, south = frame.to_xy(LatLon(box.south, 0.0))
    return east * turn / step, north - south
