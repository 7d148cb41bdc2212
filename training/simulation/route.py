# SPDX-License-Identifier: Apache-2.0
"""Roads as centre-lines: the route that is driven, the streets that meet it, the junctions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.simulation.preset import Stream, stream
from training.simulation.style import Style

FloatArray = NDArray[np.float64]

STEP_M = 0.5
"""Distance between the points of a centre-line."""

LEAD_M = 110.0
"""Length of the route before and after the part that is driven: no road ends in sight."""

_TURN_RADIUS_M = 14.0


@dataclass(frozen=True, eq=False)
class Line:
    """A centre-line: points (N, 2) m, STEP_M apart, and heading (N,) rad at each."""

    points: FloatArray
    heading: FloatArray

    @property
    def length(self) -> float:
        return (len(self.points) - 1) * STEP_M

    def at(self, s: FloatArray | float, left: FloatArray | float = 0.0) -> FloatArray:
        """Return points (M, 2) at arc length s, `left` metres to the left of the line."""
        x, y, heading = self._interpolate(np.atleast_1d(np.asarray(s, float)))
        return np.stack([x - left * np.sin(heading), y + left * np.cos(heading)], axis=1)

    def heading_at(self, s: FloatArray | float) -> FloatArray:
        return self._interpolate(np.atleast_1d(np.asarray(s, float)))[2]

    def _interpolate(self, s: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        stations = np.arange(len(self.points)) * STEP_M
        return (
            np.interp(s, stations, self.points[:, 0]),
            np.interp(s, stations, self.points[:, 1]),
            np.interp(s, stations, self.heading),
        )


@dataclass(frozen=True, eq=False)
class Road:
    """A street: its line, half width of the carriageway (m), lanes each way, and whether the
    route is it. `clear` are the (from, to) arc lengths inside junctions, where nothing is marked.
    """

    line: Line
    half_width: float
    main: bool
    clear: tuple[tuple[float, float], ...]


@dataclass(frozen=True, eq=False)
class RoadNetwork:
    """route first; `crossings` are arc lengths of crosswalks on the route."""

    roads: tuple[Road, ...]
    crossings: tuple[float, ...]

    @property
    def route(self) -> Road:
        return self.roads[0]


def main_half_width(style: Style) -> float:
    return style.lanes * style.lane_m + style.bike_m + style.parking_m


def draw_network(seed: int, style: Style, driven: float) -> RoadNetwork:
    """Return a route with `driven` metres between its leads and with junctions (cross, T left, T
    right, turn) along it.
    """
    rng = stream(seed, Stream.ROUTE)
    length = driven + 2.0 * LEAD_M
    half = main_half_width(style)
    curvature = np.zeros(round(length / STEP_M) + 1)
    junctions: list[tuple[float, str]] = []
    heading, s = 0.0, 25.0
    while s < length - 30.0:
        kind = str(rng.choice(["cross", "left", "right", "turn"], p=[0.3, 0.25, 0.25, 0.2]))
        gap = style.junction_m * rng.uniform(0.7, 1.4)
        if kind == "turn":
            side = -np.sign(heading) if abs(heading) > 0.8 else rng.choice([-1.0, 1.0])
            arc = rng.uniform(0.8, 1.2) * math.pi / 2 * _TURN_RADIUS_M
            first = round(s / STEP_M)
            curvature[first : first + round(arc / STEP_M)] = side / _TURN_RADIUS_M
            heading += side * arc / _TURN_RADIUS_M
            gap += arc
            junctions.append((s, "turn_left" if side > 0 else "turn_right"))
        else:
            junctions.append((s, kind))
            # a bend between the junctions, drawn back towards the first direction
            bend = float(np.clip(rng.normal(-0.5 * heading, 0.5), -0.9, 0.9))
            span = max(gap - 40.0, 15.0)
            first, last = round((s + 20.0) / STEP_M), round((s + 20.0 + span) / STEP_M)
            shape = np.sin(np.linspace(0.0, math.pi, last - first)) ** 2
            stretch = curvature[first:last]
            stretch += (bend * shape / (shape.sum() * STEP_M))[: len(stretch)]
            heading += bend
        s += gap
    line = _integrate(np.zeros(2), rng.uniform(-math.pi, math.pi), curvature)
    streets, clear, crossings = [], [], []
    for s, kind in junctions:
        side_half = style.side_lane_m
        clear.append((s - side_half - 3.0, s + side_half + 3.0))
        for side, kinds in ((1.0, ("cross", "left")), (-1.0, ("cross", "right"))):
            if kind in kinds:
                streets.append(_side_street(rng, line, s, side, side_half, half))
        if kind.startswith("turn"):
            clear[-1] = (s - side_half - 3.0, s + 1.2 * math.pi / 2 * _TURN_RADIUS_M + 3.0)
            streets.append(_straight_on(rng, line, s, side_half, half))
        if rng.random() < style.crosswalk_share:
            crossings.append(s - side_half - 5.5)
    return RoadNetwork((Road(line, half, True, tuple(clear)), *streets), tuple(crossings))


def _side_street(
    rng: np.random.Generator, line: Line, s: float, side: float, half: float, main_half: float
) -> Road:
    start = line.at(s)[0]
    heading = float(line.heading_at(s)[0]) + side * (math.pi / 2 + rng.normal(0.0, 0.15))
    return _street(rng, start, heading, half, main_half)


def _straight_on(
    rng: np.random.Generator, line: Line, s: float, half: float, main_half: float
) -> Road:
    return _street(rng, line.at(s)[0], float(line.heading_at(s)[0]), half, main_half)


def _street(
    rng: np.random.Generator, start: FloatArray, heading: float, half: float, main_half: float
) -> Road:
    count = round(rng.uniform(90.0, 150.0) / STEP_M)
    bend = rng.normal(0.0, 0.004) * np.sin(np.linspace(0.0, math.pi, count))
    return Road(_integrate(start, heading, bend), half, False, ((0.0, main_half + 6.0),))


def _integrate(start: FloatArray, heading: float, curvature: FloatArray) -> Line:
    headings = heading + np.concatenate([[0.0], np.cumsum(curvature[:-1]) * STEP_M])
    middle = headings + curvature * STEP_M / 2
    steps = np.stack([np.cos(middle), np.sin(middle)], axis=1) * STEP_M
    points = start + np.concatenate([np.zeros((1, 2)), np.cumsum(steps[:-1], axis=0)])
    return Line(points, headings)
