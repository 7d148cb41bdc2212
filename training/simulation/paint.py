# SPDX-License-Identifier: Apache-2.0
"""The map: what lies on the ground, as a class per cell. Common to both views."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from training.simulation.preset import Stream, stream
from training.simulation.route import Line, Road, RoadNetwork
from training.simulation.style import Style

FloatArray = NDArray[np.float64]

CELL_M = 0.1
_SHIFT = 4
_LINE_M = 0.14
_CROSSWALK_M = 3.0


class Ground(IntEnum):
    """Cover of a cell of the ground."""

    GRASS = 0
    SOIL = 1
    GRAVEL = 2
    SIDEWALK = 3
    CURB = 4
    ASPHALT = 5
    PARKING = 6
    MARKING = 7
    DRIVEWAY = 8
    BIKE = 9


@dataclass(frozen=True, eq=False)
class GroundMap:
    """classes (H, W) uint8, row 0 = south; `origin` (2,) is the outer corner of cell (0, 0) (m)."""

    classes: NDArray[np.uint8]
    origin: FloatArray

    def cells(self, points: FloatArray) -> NDArray[np.int32]:
        """Convert points (N, 2) m to fixed-point cell coordinates for OpenCV's `shift`."""
        cells = (points - self.origin) / CELL_M - 0.5
        return np.round(cells * (1 << _SHIFT)).astype(np.int32)

    def fill(self, points: FloatArray, value: int) -> None:
        """Paint a polygon (N, 2) m."""
        cv2.fillPoly(self.classes, [self.cells(points)], int(value), shift=_SHIFT)

    def stroke(self, points: FloatArray, width: float, value: int) -> None:
        """Paint a line (N, 2) m of `width` metres."""
        thickness = max(1, round(width / CELL_M))
        cv2.polylines(
            self.classes, [self.cells(points)], False, int(value), thickness, shift=_SHIFT
        )

    def at(self, points: FloatArray) -> NDArray[np.uint8]:
        """Return classes (N,) at points (N, 2) m; grass outside the map."""
        column, row = np.floor((points - self.origin) / CELL_M).astype(int).T
        height, width = self.classes.shape
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        found = self.classes[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
        return np.where(inside, found, Ground.GRASS).astype(np.uint8)


def paint_roads(ground: GroundMap, network: RoadNetwork, style: Style, seed: int) -> None:
    """Paint sidewalks, verges, curbs, carriageways, parking, then markings with worn gaps."""
    for road in network.roads:
        walk = road.half_width + (style.verge_m if road.main else 0.0) + style.sidewalk_m
        ground.stroke(road.line.points, 2 * walk, Ground.SIDEWALK)
    if style.verge_m > 0:
        route = network.route
        ground.stroke(route.line.points, 2 * (route.half_width + style.verge_m), Ground.GRASS)
    for road in network.roads:
        ground.stroke(road.line.points, 2 * road.half_width + 0.36, Ground.CURB)
    for road in network.roads:
        ground.stroke(road.line.points, 2 * road.half_width, Ground.ASPHALT)
    _paint_lanes_aside(ground, network.route, style)
    rng = stream(seed, Stream.MARKINGS)
    for road in network.roads:
        _mark(ground, road, style, rng)
    for s in network.crossings:
        _crosswalk(ground, network.route, s)
    for road in network.roads[1:]:
        start = network.route.half_width + 1.5
        lefts = np.array([0.2, road.half_width - 0.1])
        ground.fill(_quad(road.line, start, start + 0.4, -lefts[1], -lefts[0]), Ground.MARKING)


def _paint_lanes_aside(ground: GroundMap, route: Road, style: Style) -> None:
    inner = style.lanes * style.lane_m
    for first, last in open_stretches(route):
        s = np.arange(first, last, 1.0)
        for side in (1.0, -1.0):
            if style.parking_m > 0:
                middle = side * (route.half_width - style.parking_m / 2)
                ground.stroke(route.line.at(s, middle), style.parking_m, Ground.PARKING)
            if style.bike_m > 0:
                middle = side * (inner + style.bike_m / 2)
                ground.stroke(route.line.at(s, middle), style.bike_m, Ground.BIKE)


def _mark(ground: GroundMap, road: Road, style: Style, rng: np.random.Generator) -> None:
    lines: list[tuple[float, bool]] = []
    if road.main:
        if style.centre_marking != "none":
            lines.append((0.0, style.centre_marking == "dashed"))
        for lane in range(1, style.lanes):
            lines += [(lane * style.lane_m, True), (-lane * style.lane_m, True)]
        if style.edge_line or style.bike_m > 0:
            edge = style.lanes * style.lane_m - 0.15
            lines += [(edge, False), (-edge, False)]
    elif style.centre_marking == "dashed":
        lines.append((0.0, True))
    for left, dashed in lines:
        for first, last in open_stretches(road):
            pitch = style.dash_m + style.gap_m if dashed else 1.0
            drawn = style.dash_m if dashed else 1.0
            for s in np.arange(first, last - drawn, pitch):
                if rng.random() < 0.3 * style.wear:
                    continue
                worn = rng.uniform(0.0, 0.6) * style.wear * drawn
                quad = _quad(road.line, s, s + drawn - worn, left - _LINE_M / 2, left + _LINE_M / 2)
                ground.fill(quad, Ground.MARKING)


def _crosswalk(ground: GroundMap, road: Road, s: float) -> None:
    for left in np.arange(-road.half_width + 0.3, road.half_width - 0.6, 1.0):
        ground.fill(_quad(road.line, s - _CROSSWALK_M, s, left, left + 0.5), Ground.MARKING)


def open_stretches(road: Road) -> list[tuple[float, float]]:
    """Return (from, to) arc lengths of the road outside its junctions."""
    stretches, s = [], 0.0
    for first, last in sorted(road.clear):
        if first > s + 4.0:
            stretches.append((s, first))
        s = max(s, last)
    if road.line.length > s + 4.0:
        stretches.append((s, road.line.length))
    return stretches


def _quad(line: Line, s0: float, s1: float, left0: float, left1: float) -> FloatArray:
    # OpenCV also paints the cells that a border touches: half a cell less on each side
    half = CELL_M / 2
    lefts = np.array([left0 + half, left1 - half])
    near, far = line.at(s0 + half, lefts), line.at(s1 - half, lefts[::-1])
    return np.concatenate([near, far])
