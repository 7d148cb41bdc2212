# SPDX-License-Identifier: Apache-2.0
"""Colour of the ground: palettes, and noise that depends on place and seed alone."""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

from training.simulation.paint import Ground

FloatArray = NDArray[np.float64]

_BASE = {
    Ground.GRASS: (88, 108, 58),
    Ground.SOIL: (128, 108, 84),
    Ground.GRAVEL: (150, 144, 132),
    Ground.SIDEWALK: (152, 148, 142),
    Ground.CURB: (182, 180, 174),
    Ground.ASPHALT: (98, 98, 100),
    Ground.PARKING: (122, 118, 114),
    Ground.MARKING: (226, 226, 220),
    Ground.DRIVEWAY: (136, 126, 118),
    Ground.BIKE: (136, 82, 72),
}
_ROUGHNESS = {Ground.GRASS: 0.5, Ground.SOIL: 0.4, Ground.GRAVEL: 0.35, Ground.MARKING: 0.12}


def draw_palette(rng: np.random.Generator, spread: float) -> FloatArray:
    """Draw RGB of 255 and roughness of each class, (classes, 4); `spread` varies tone, season."""
    rows = []
    for kind in Ground:
        colour = np.array(_BASE[kind], float) * math.exp(rng.normal(0.0, 0.12))
        colour *= np.exp(rng.normal(0.0, 0.03, 3))
        if kind is Ground.GRASS:
            dry = spread * rng.uniform(0.0, 1.0)
            colour = (1 - dry) * colour + dry * np.array([142.0, 128.0, 88.0])
        rows.append([*colour, _ROUGHNESS.get(kind, 0.22)])
    return np.array(rows)


@numba.njit(cache=True, inline="always")
def hash_unit(ix: int, iy: int, seed: int) -> float:
    """Return a number in [0, 1] for each pair of integers and seed."""
    h = (ix * 374761393 + iy * 668265263 + seed * 1274126177) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    h = ((h ^ (h >> 16)) * 2246822519) & 0xFFFFFFFF
    return ((h >> 8) & 0xFFFF) / 65535.0


@numba.njit(cache=True)
def value_noise(x: float, y: float, seed: int) -> float:
    """Smooth noise in [0, 1] with a grain of one unit."""
    fx, fy = math.floor(x), math.floor(y)
    ix, iy = int(fx), int(fy)
    tx, ty = x - fx, y - fy
    tx = tx * tx * (3 - 2 * tx)
    ty = ty * ty * (3 - 2 * ty)
    a = hash_unit(ix, iy, seed)
    b = hash_unit(ix + 1, iy, seed)
    c = hash_unit(ix, iy + 1, seed)
    d = hash_unit(ix + 1, iy + 1, seed)
    return (a * (1 - tx) + b * tx) * (1 - ty) + (c * (1 - tx) + d * tx) * ty


@numba.njit(cache=True)
def ground_tone(kind: int, x: float, y: float, seed: int, roughness: float, fine: bool) -> float:
    """Return the factor on a class's colour at (x, y) m: grain, patches and stains."""
    patch = value_noise(x / 5.0, y / 5.0, seed + 17) - 0.5
    blot = value_noise(x / 0.9, y / 0.9, seed + 31) - 0.5
    grain = value_noise(x / 0.13, y / 0.13, seed + 47 + kind) - 0.5 if fine else 0.0
    tone = 1.0 + roughness * (0.7 * patch + 0.5 * blot + 0.6 * grain)
    if kind == 5 or kind == 6:
        stain = value_noise(x / 2.2, y / 2.2, seed + 63)
        if stain > 0.78:
            tone *= 1.0 - 1.2 * (stain - 0.78)
    return tone
