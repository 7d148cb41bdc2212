# SPDX-License-Identifier: Apache-2.0
"""A procedural world: map, objects, terrain, and how each of the two views looks at them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from g2s_localizer.geometry import LatLon
from training.simulation.objects import (
    Kind,
    Objects,
    build_plots,
    draw_traffic,
    footprint,
    park_cars,
    plant_street,
)
from training.simulation.paint import CELL_M, GroundMap, paint_roads
from training.simulation.preset import PRESETS, Preset, Stream, stream
from training.simulation.route import LEAD_M, RoadNetwork, draw_network
from training.simulation.shading import draw_palette
from training.simulation.style import Style, draw_style
from training.simulation.terrain import Terrain, draw_terrain

FloatArray = NDArray[np.float64]

MARGIN_M = 100.0
"""Imagery beyond the outermost point of the driven part of the route (m)."""

_KARLSRUHE = LatLon(49.01, 8.41)
SHADOW_CELL_M = 0.2


@dataclass(frozen=True, eq=False)
class Look:
    """Look of the world in one view: its colours, texture, light and the cars of its day."""

    palette: FloatArray
    texture_seed: int
    sun: FloatArray
    """(3,) unit vector towards the sun"""
    cars: Objects
    shadow: NDArray[np.uint8]
    """(H, W) 0 lit .. 255 shaded, row 0 = south, cells of SHADOW_CELL_M from the map's origin"""


@dataclass(frozen=True, eq=False)
class World:
    """Everything of a seed. Positions are metres in the LocalFrame of `datum`."""

    seed: int
    preset: Preset
    style: Style
    datum: LatLon
    network: RoadNetwork
    ground: GroundMap
    terrain: Terrain
    objects: Objects
    street_look: Look
    sky_look: Look


def build_world(seed: int, difficulty: str, route_m: float) -> World:
    """Return the world of `seed` with `route_m` metres of route to drive.

    Raises ValueError for an unknown difficulty.
    """
    if difficulty not in PRESETS:
        raise ValueError(f"difficulty must be one of {', '.join(PRESETS)}, got '{difficulty}'")
    preset = PRESETS[difficulty]
    style = draw_style(seed)
    place = stream(seed, Stream.PLACE).uniform(-0.04, 0.04, 2)
    network = draw_network(seed, style, route_m)
    line = network.route.line
    points = line.at(np.arange(LEAD_M, line.length - LEAD_M + 1.0))
    low, high = points.min(axis=0) - MARGIN_M, points.max(axis=0) + MARGIN_M
    columns, rows = np.ceil((high - low) / CELL_M).astype(int)
    ground = GroundMap(np.zeros((rows, columns), np.uint8), low)
    paint_roads(ground, network, style, seed)
    objects = build_plots(ground, network, style, seed)
    objects = objects.plus(plant_street(ground, network, style, preset, seed))
    street_rng, sky_rng = (
        stream(seed, Stream.GROUND_TEXTURE),
        stream(seed, Stream.SATELLITE_TEXTURE),
    )
    if preset.shared_ground:
        sky_rng = stream(seed, Stream.GROUND_TEXTURE)
    street_cars = park_cars(network, style, preset, stream(seed, Stream.GROUND_CARS))
    sky_cars_rng = stream(seed, Stream.SATELLITE_CARS)
    sky_cars = park_cars(network, style, preset, sky_cars_rng)
    sky_cars = sky_cars.plus(draw_traffic(network, style, preset, sky_cars_rng).at(0.0))
    return World(
        seed,
        preset,
        style,
        LatLon(_KARLSRUHE.lat + place[0], _KARLSRUHE.lon + place[1]),
        network,
        ground,
        draw_terrain(seed, preset.grade),
        objects,
        _look(street_rng, ground, objects, street_cars, 0.0),
        _look(sky_rng, ground, objects, sky_cars, preset.season_spread),
    )


def _look(
    rng: np.random.Generator, ground: GroundMap, objects: Objects, cars: Objects, season: float
) -> Look:
    texture_seed = int(rng.integers(1, 1 << 20))
    elevation, azimuth = rng.uniform(0.45, 1.1), rng.uniform(-math.pi, math.pi)
    sun = np.array(
        [
            math.cos(elevation) * math.cos(azimuth),
            math.cos(elevation) * math.sin(azimuth),
            math.sin(elevation),
        ]
    )
    palette = draw_palette(rng, season)
    return Look(palette, texture_seed, sun, cars, _shadows(ground, objects.plus(cars), sun))


def _shadows(ground: GroundMap, objects: Objects, sun: FloatArray) -> NDArray[np.uint8]:
    height, width = ground.classes.shape
    scale = CELL_M / SHADOW_CELL_M
    shade = np.zeros((math.ceil(height * scale), math.ceil(width * scale)), np.uint8)
    per_metre = -sun[:2] / sun[2]

    def cells(points: FloatArray) -> NDArray[np.int32]:
        return np.round((points - ground.origin) / SHADOW_CELL_M * 16).astype(np.int32)

    for x, y, z0, z1, half_l, half_w, yaw, kind, *_ in objects.boxes:
        if kind == Kind.CABIN:
            continue
        low = footprint(x, y, half_l, half_w, yaw)
        both = np.concatenate([low + per_metre * z0, low + per_metre * z1])
        hull = cv2.convexHull(both.astype(np.float32))[:, 0]
        cv2.fillPoly(shade, [cells(hull)], 255, shift=4)
    for x, y, z, radius, _, *_ in objects.crowns:
        centre = cells(np.array([[x, y]]) + per_metre * z)[0]
        cv2.circle(shade, tuple(int(v) for v in centre), round(radius / SHADOW_CELL_M * 16), 210,
                   -1, shift=4)  # fmt: skip
    return np.asarray(cv2.GaussianBlur(shade, (3, 3), 0), np.uint8)
