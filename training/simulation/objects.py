# SPDX-License-Identifier: Apache-2.0
"""Objects on the ground: buildings, trees, poles, hedges, vehicles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from training.simulation.paint import CELL_M, Ground, GroundMap, open_stretches
from training.simulation.preset import Preset, Stream, stream
from training.simulation.route import Road, RoadNetwork
from training.simulation.style import Style

FloatArray = NDArray[np.float64]


class Kind(IntEnum):
    """Material of a box."""

    BUILDING = 0
    ROOF = 1
    HEDGE = 2
    WALL = 3
    CAR = 4
    CABIN = 5
    POST = 6


_BESIDE_TRAFFIC = (
    Ground.GRASS, Ground.SOIL, Ground.GRAVEL, Ground.SIDEWALK, Ground.CURB, Ground.DRIVEWAY,
)  # fmt: skip

BOX_FIELDS = ("x", "y", "z0", "z1", "half_length", "half_width", "yaw", "kind", "r", "g", "b", "id")
CROWN_FIELDS = ("x", "y", "z", "radius", "half_height", "r", "g", "b", "id")


@dataclass(frozen=True, eq=False)
class Objects:
    """boxes (N, 12) with BOX_FIELDS, crowns of trees (M, 9) with CROWN_FIELDS; heights (m) are
    above the terrain at the object's place, colours RGB of 255.
    """

    boxes: FloatArray
    crowns: FloatArray

    @classmethod
    def of(cls, boxes: list[list[float]], crowns: list[list[float]]) -> Objects:
        return cls(
            np.array(boxes, float).reshape(-1, len(BOX_FIELDS)),
            np.array(crowns, float).reshape(-1, len(CROWN_FIELDS)),
        )

    def plus(self, other: Objects) -> Objects:
        return Objects(
            np.concatenate([self.boxes, other.boxes]), np.concatenate([self.crowns, other.crowns])
        )


def footprint(x: float, y: float, half_l: float, half_w: float, yaw: float) -> FloatArray:
    """Return corners (4, 2) of a rectangle, counter-clockwise."""
    c, s = math.cos(yaw), math.sin(yaw)
    signs = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]], float)
    local = signs * (half_l, half_w)
    return local @ np.array([[c, s], [-s, c]]) + (x, y)


def build_plots(ground: GroundMap, network: RoadNetwork, style: Style, seed: int) -> Objects:
    """Build houses with roofs, hedges, garden trees, and paint gardens and driveways."""
    rng = stream(seed, Stream.PLOTS)
    boxes: list[list[float]] = []
    crowns: list[list[float]] = []
    reserved = GroundMap(np.zeros_like(ground.classes), ground.origin)
    for road in network.roads:
        verge = style.verge_m if road.main else 0.0
        edge = road.half_width + verge + style.sidewalk_m
        for side in (1.0, -1.0):
            s = rng.uniform(0.0, 10.0)
            while s < road.line.length:
                front = style.frontage_m * rng.uniform(0.7, 1.5)
                if rng.random() < style.building_share:
                    _plot(ground, reserved, road, style, rng, s, side, edge, front, boxes, crowns)
                s += front + rng.uniform(0.5, 6.0)
    _back_gardens(ground, reserved, style, rng, boxes, crowns)
    return Objects.of(boxes, crowns)


def _plot(
    ground: GroundMap, reserved: GroundMap, road: Road, style: Style, rng: np.random.Generator,
    s: float, side: float, edge: float, front: float,
    boxes: list[list[float]], crowns: list[list[float]],
) -> None:  # fmt: skip
    depth = rng.uniform(8.0, 14.0)
    setback = style.setback_m * rng.uniform(0.8, 1.3)
    middle = s + front / 2
    left = side * (edge + setback + depth / 2)
    x, y = road.line.at(middle, left)[0]
    yaw = float(road.line.heading_at(middle)[0])
    corners = footprint(x, y, front / 2 + 0.6, depth / 2 + 0.6, yaw)
    border = np.concatenate(
        [np.linspace(a, b, 9) for a, b in zip(corners, np.roll(corners, -1, 0), strict=True)]
    )
    soft = ground.at(border)
    if np.isin(soft, (Ground.GRASS, Ground.SOIL, Ground.GRAVEL)).mean() < 1.0:
        return
    if reserved.at(border).any() or reserved.at(np.array([[x, y]])).any():
        return
    reserved.fill(corners, 1)
    garden = footprint(*road.line.at(middle, side * (edge + setback / 2))[0],
                       front / 2, setback / 2, yaw)  # fmt: skip
    ground.fill(
        garden, int(rng.choice([Ground.GRASS, Ground.SOIL, Ground.GRAVEL], p=[0.6, 0.2, 0.2]))
    )
    if rng.random() < 0.7:
        at = s + rng.uniform(1.0, max(front - 3.0, 1.5))
        drive = [
            road.line.at(at + ds, side * left)[0]
            for ds, left in (
                (0.0, road.half_width), (3.0, road.half_width),
                (3.0, edge + setback), (0.0, edge + setback),
            )
        ]  # fmt: skip
        ground.fill(np.array(drive), Ground.DRIVEWAY)
    floors = max(1, style.floors + int(rng.integers(-1, 2)))
    height = 3.0 * floors + rng.uniform(0.3, 1.0)
    wall = style.wall_colours[rng.integers(len(style.wall_colours))]
    roof = style.roof_colours[rng.integers(len(style.roof_colours))]
    identity = float(rng.integers(1, 1 << 20))
    boxes.append([x, y, 0.0, height, front / 2, depth / 2, yaw, Kind.BUILDING, *wall, identity])
    overhang = 0.0 if rng.random() < style.flat_roofs else 0.5
    rise = 0.3 if overhang == 0.0 else rng.uniform(1.5, 3.0)
    boxes.append(
        [x, y, height, height + rise, front / 2 + overhang, depth / 2 + overhang, yaw,
         Kind.ROOF, *roof, identity]
    )  # fmt: skip
    if setback > 1.5 and rng.random() < style.hedge_share:
        hx, hy = road.line.at(middle, side * (edge + 0.4))[0]
        kind = Kind.HEDGE if rng.random() < 0.6 else Kind.WALL
        colour = (58, 84, 40) if kind is Kind.HEDGE else tuple(wall)
        top = rng.uniform(0.8, 1.8) if kind is Kind.HEDGE else rng.uniform(0.5, 1.2)
        boxes.append([hx, hy, 0.0, top, front * 0.3, 0.35, yaw, kind, *colour, identity])
    if rng.random() < style.garden_trees and setback > 3.0:
        at = s + rng.uniform(0.0, front)
        _tree(rng, *road.line.at(at, side * (edge + setback * 0.5))[0], 0.6, boxes, crowns)


def _back_gardens(
    ground: GroundMap, reserved: GroundMap, style: Style, rng: np.random.Generator,
    boxes: list[list[float]], crowns: list[list[float]],
) -> None:  # fmt: skip
    """Put sheds, beds, gravel and trees on the land behind the houses."""
    extent = np.array(ground.classes.shape[::-1]) * CELL_M
    for _ in range(round(float(extent.prod()) / 150.0)):
        x, y = ground.origin + rng.uniform(0.0, 1.0, 2) * extent
        half_l, half_w = rng.uniform(1.5, 6.0, 2)
        yaw, what = rng.uniform(0.0, math.pi), rng.random()
        corners = footprint(x, y, half_l, half_w, yaw)
        border = np.concatenate(
            [np.linspace(a, b, 9) for a, b in zip(corners, np.roll(corners, -1, 0), strict=True)]
        )
        if reserved.at(border).any() or (ground.at(border) != Ground.GRASS).any():
            continue
        if what < 0.15 + 0.25 * style.building_share:
            reserved.fill(corners, 1)
            roof = style.roof_colours[rng.integers(len(style.roof_colours))]
            wall = style.wall_colours[rng.integers(len(style.wall_colours))]
            top, identity = rng.uniform(2.2, 5.0), float(rng.integers(1, 1 << 20))
            boxes.append([x, y, 0.0, top, half_l, half_w, yaw, Kind.WALL, *wall, identity])
            boxes.append([x, y, top, top + 0.3, half_l + 0.2, half_w + 0.2, yaw, Kind.ROOF,
                          *roof, identity])  # fmt: skip
        elif what < 0.7:
            ground.fill(corners, int(rng.choice([Ground.SOIL, Ground.GRAVEL, Ground.DRIVEWAY])))
        elif rng.random() < style.garden_trees:
            _tree(rng, x, y, rng.uniform(0.5, 1.4), boxes, crowns)


def _stands_free(ground: GroundMap, x: float, y: float) -> bool:
    """Return whether no carriageway lies within half a metre."""
    near = np.array([x, y]) + 0.5 * np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]])
    return bool(np.isin(ground.at(near), _BESIDE_TRAFFIC).all())


def plant_street(
    ground: GroundMap, network: RoadNetwork, style: Style, preset: Preset, seed: int
) -> Objects:
    """Return street trees and lamp posts along the sidewalks."""
    rng = stream(seed, Stream.OBJECTS)
    boxes: list[list[float]] = []
    crowns: list[list[float]] = []
    for road in network.roads:
        beside = road.half_width + (style.verge_m / 2 if road.main and style.verge_m else 0.7)
        for first, last in open_stretches(road):
            for side in (1.0, -1.0):
                for s in np.arange(first + rng.uniform(0, 8), last, preset.street_tree_m):
                    x, y = road.line.at(s + rng.uniform(-6.0, 6.0), side * beside)[0]
                    if _stands_free(ground, x, y):
                        _tree(rng, x, y, 1.0, boxes, crowns)
            for s in np.arange(first + rng.uniform(0, 15), last, style.pole_m):
                x, y = road.line.at(s, -(road.half_width + 0.7))[0]
                if not _stands_free(ground, x, y):
                    continue
                boxes.append([x, y, 0.0, 7.0, 0.09, 0.09, 0.0, Kind.POST, 120, 124, 124, 1.0])
    return Objects.of(boxes, crowns)


def _tree(
    rng: np.random.Generator, x: float, y: float, size: float,
    boxes: list[list[float]], crowns: list[list[float]],
) -> None:  # fmt: skip
    radius = size * rng.uniform(1.5, 3.2)
    half_height = radius * rng.uniform(0.8, 1.3)
    trunk = size * rng.uniform(1.8, 3.0)
    green = np.array([62.0, 88.0, 42.0]) * np.exp(rng.normal(0.0, 0.15)) + rng.normal(0, 5, 3)
    identity = float(rng.integers(1, 1 << 20))
    thick = 0.06 * radius + 0.05
    boxes.append(
        [x, y, 0.0, trunk + half_height, thick, thick, 0.3, Kind.POST, 84, 70, 56, identity]
    )
    crowns.append([x, y, trunk + half_height, radius, half_height, *green, identity])


def park_cars(
    network: RoadNetwork, style: Style, preset: Preset, rng: np.random.Generator
) -> Objects:
    """Return parked vehicles of one view, along the curbs of every road."""
    boxes: list[list[float]] = []
    for road in network.roads:
        inside = style.parking_m / 2 if road.main and style.parking_m > 0 else 1.0
        share = preset.parked_cars * (1.0 if inside > 1.0 - 1e-9 and style.parking_m > 0 else 0.35)
        for first, last in open_stretches(road):
            for side in (1.0, -1.0):
                for s in np.arange(first + 3.0, last - 3.0, 5.8):
                    if rng.random() > share:
                        continue
                    left = side * (road.half_width - inside)
                    x, y = road.line.at(s + rng.uniform(-0.5, 0.5), left)[0]
                    boxes += car(rng, x, y, float(road.line.heading_at(s)[0]))
    return Objects.of(boxes, [])


def car(rng: np.random.Generator, x: float, y: float, yaw: float) -> list[list[float]]:
    """Return the body and cabin of one car of about 4.4 m."""
    half_l, half_w = rng.uniform(1.9, 2.4), rng.uniform(0.82, 0.92)
    tone = rng.choice([30.0, 60.0, 120.0, 180.0, 225.0])
    colour = np.clip(np.full(3, tone) + rng.normal(0, 6, 3), 8, 250)
    if rng.random() < 0.25:
        colour = np.array([rng.uniform(60, 180), rng.uniform(20, 70), rng.uniform(20, 120)])
    c, s = math.cos(yaw), math.sin(yaw)
    back = -0.12 * half_l
    identity = float(rng.integers(1, 1 << 20))
    return [
        [x, y, 0.18, 0.85, half_l, half_w, yaw, Kind.CAR, *colour, identity],
        [x + back * c, y + back * s, 0.85, 1.45, half_l * 0.55, half_w * 0.88, yaw, Kind.CABIN,
         *(0.6 * colour), identity],
    ]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Traffic:
    """Vehicles that drive along the route in the other direction: arc length and lane at time 0,
    and one car each, drawn around the origin.
    """

    road: Road
    start: FloatArray
    left: FloatArray
    speed: FloatArray
    cars: list[list[list[float]]]

    def at(self, t: float) -> Objects:
        """Return the vehicles t seconds later."""
        boxes = []
        for s0, left, speed, parts in zip(
            self.start, self.left, self.speed, self.cars, strict=True
        ):
            s = (s0 - speed * t) % self.road.line.length
            x, y = self.road.line.at(s, left)[0]
            yaw = float(self.road.line.heading_at(s)[0]) + math.pi
            c, sn = math.cos(yaw), math.sin(yaw)
            for part in parts:
                moved = list(part)
                moved[0], moved[1] = x + c * part[0] - sn * part[1], y + sn * part[0] + c * part[1]
                moved[6] = yaw
                boxes.append(moved)
        return Objects.of(boxes, [])


def draw_traffic(
    network: RoadNetwork, style: Style, preset: Preset, rng: np.random.Generator
) -> Traffic:
    """Return oncoming traffic of one view."""
    road = network.route
    count = int(rng.poisson(preset.moving_cars * road.line.length / 100.0))
    return Traffic(
        road,
        rng.uniform(0.0, road.line.length, count),
        style.lane_m * (rng.integers(0, style.lanes, count) + 0.5),
        rng.uniform(7.0, 12.0, count),
        [car(rng, 0.0, 0.0, 0.0) for _ in range(count)],
    )
