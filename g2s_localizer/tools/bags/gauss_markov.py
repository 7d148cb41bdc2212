# SPDX-License-Identifier: Apache-2.0
"""First-order Gauss-Markov noise: errors of a receiver that wander instead of jumping."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray


def gauss_markov(
    times: ArrayLike, sigma: float, time_constant: float, clip: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return noise (N,) at `times` (N,) s, rising: stationary from the first sample on.

    sigma          standard deviation before clipping
    time_constant  s after which the correlation has fallen to 1 / e
    clip           bound of the result in units of sigma

    The draws do not depend on sigma, so that one seed gives the same noise in every scale.
    Raises ValueError for a sigma that is negative or not finite.
    """
    if not (math.isfinite(sigma) and sigma >= 0.0):
        raise ValueError(f"a standard deviation must not be negative, got {sigma}")
    stamps = np.asarray(times, np.float64)
    state = rng.standard_normal(len(stamps))
    keep = np.exp(-np.diff(stamps) / time_constant)
    for index, share in enumerate(keep, start=1):
        state[index] = share * state[index - 1] + math.sqrt(1.0 - share * share) * state[index]
    noise: NDArray[np.float64] = sigma * np.clip(state, -clip, clip)
    return noise
