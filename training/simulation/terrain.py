# SPDX-License-Identifier: Apache-2.0
"""Terrain: a gentle height field, a sum of plane waves with a bounded slope."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from training.simulation.preset import Stream, stream

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Terrain:
    """h(x, y) = sum of amplitude * sin(k . (x, y) + phase), all in metres.

    wave_vectors (N, 2) rad/m, amplitudes (N,) m, phases (N,) rad
    """

    wave_vectors: FloatArray
    amplitudes: FloatArray
    phases: FloatArray

    def height(self, x: ArrayLike, y: ArrayLike) -> FloatArray:
        """Return the height of the ground (m) at x, y of any one shape."""
        angle = self._angles(x, y)
        return np.asarray((self.amplitudes * np.sin(angle)).sum(axis=-1))

    def slope(self, x: ArrayLike, y: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return dh/dx and dh/dy."""
        rise = self.amplitudes * np.cos(self._angles(x, y))
        return (
            np.asarray((rise * self.wave_vectors[:, 0]).sum(axis=-1)),
            np.asarray((rise * self.wave_vectors[:, 1]).sum(axis=-1)),
        )

    def _angles(self, x: ArrayLike, y: ArrayLike) -> FloatArray:
        xy = np.stack(np.broadcast_arrays(np.asarray(x, float), np.asarray(y, float)), axis=-1)
        return np.asarray(xy @ self.wave_vectors.T + self.phases)


def draw_terrain(seed: int, grade: float) -> Terrain:
    """Return the terrain of world `seed` whose slope never exceeds `grade` (rise over run)."""
    rng = stream(seed, Stream.TERRAIN)
    count = 4
    wave_length = rng.uniform(150.0, 450.0, count)
    bearing = rng.uniform(0.0, 2.0 * np.pi, count)
    k = 2.0 * np.pi / wave_length
    share = rng.dirichlet(np.ones(count))
    return Terrain(
        wave_vectors=(np.stack([np.cos(bearing), np.sin(bearing)], axis=1) * k[:, None]),
        amplitudes=grade * share / k,
        phases=rng.uniform(0.0, 2.0 * np.pi, count),
    )
