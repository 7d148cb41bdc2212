# SPDX-License-Identifier: Apache-2.0
"""Style of a world: what makes one district look unlike another."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.simulation.preset import Stream, stream

ByteArray = NDArray[np.uint8]


@dataclass(frozen=True)
class Style:
    """Choices that hold for the whole world; lengths in metres, colours RGB of 255."""

    lane_m: float
    lanes: int
    verge_m: float
    sidewalk_m: float
    bike_m: float
    parking_m: float
    side_lane_m: float
    centre_marking: str
    edge_line: bool
    dash_m: float
    gap_m: float
    wear: float
    crosswalk_share: float
    junction_m: float
    building_share: float
    setback_m: float
    frontage_m: float
    floors: int
    flat_roofs: float
    wall_colours: ByteArray
    roof_colours: ByteArray
    garden_trees: float
    hedge_share: float
    pole_m: float


def draw_style(seed: int) -> Style:
    """Return the style of world `seed`: from a village lane to a wide avenue."""
    rng = stream(seed, Stream.STYLE)
    wide = rng.random() < 0.2
    dense = float(rng.random())
    roof_hue = rng.choice([0.02, 0.04, 0.06, 0.6])
    setback = float((1.0 - dense) * rng.uniform(2.0, 8.0)) + 0.3
    return Style(
        lane_m=float(rng.uniform(2.75, 3.6)),
        lanes=2 if wide else 1,
        verge_m=float(rng.choice([0.0, 0.0, rng.uniform(1.0, 2.5)])),
        sidewalk_m=float(rng.uniform(1.4, 3.4)),
        bike_m=float(rng.choice([0.0, 0.0, 1.5])),
        parking_m=float(rng.choice([0.0, 2.0, 2.1])),
        side_lane_m=float(rng.uniform(2.4, 3.2)),
        centre_marking=str(rng.choice(["dashed", "dashed", "solid", "none"]))
        if not wide
        else "solid",
        edge_line=bool(rng.random() < 0.4),
        dash_m=3.0,
        gap_m=6.0 if rng.random() < 0.7 else 3.0,
        wear=float(rng.uniform(0.05, 0.5)),
        crosswalk_share=float(rng.uniform(0.2, 0.8)),
        junction_m=float(rng.uniform(45.0, 100.0)),
        building_share=float(0.35 + 0.6 * dense),
        setback_m=setback,
        frontage_m=float(rng.uniform(9.0, 20.0)),
        floors=int(rng.integers(1, 3) + round(2.5 * dense)),
        flat_roofs=float(rng.choice([0.05, 0.3, 0.9])),
        wall_colours=_colours(rng, 7, 0.02, 0.15, (0.05, 0.35), (0.55, 0.95)),
        roof_colours=_colours(rng, 5, roof_hue, roof_hue + 0.03, (0.1, 0.5), (0.35, 0.65)),
        garden_trees=float(rng.uniform(0.2, 1.0)),
        hedge_share=float(rng.uniform(0.1, 0.7)),
        pole_m=float(rng.uniform(22.0, 40.0)),
    )


def _colours(
    rng: np.random.Generator,
    count: int,
    hue0: float,
    hue1: float,
    saturation: tuple[float, float],
    value: tuple[float, float],
) -> ByteArray:
    drawn = [
        colorsys.hsv_to_rgb(
            rng.uniform(hue0, hue1) % 1.0, rng.uniform(*saturation), rng.uniform(*value)
        )
        for _ in range(count)
    ]
    return np.round(np.array(drawn) * 255.0).astype(np.uint8)
