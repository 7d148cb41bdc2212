# SPDX-License-Identifier: Apache-2.0
"""Displacement of the imagery, from the differences of registrations and their priors.

A registration minus its prior is, in map axes,

    d = m + R(yaw) v + noise,

m the imagery's displacement and v what is fixed to the vehicle: an antenna or a camera not where
it is said to be, a network that prefers one side. Over one heading the two cannot be told apart;
over different ones they are solved for together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

MIN_SAMPLES = 100
MIN_SECONDS = 60.0
"""Shortest driving (s), all drives together: GNSS errors wander for longer than seconds."""

MIN_BLOCKS = 12
"""Stretches of time that a standard error is taken from, at least."""

MAX_ALIKE = 0.85
"""Length of the mean unit vector of the headings, above which they are too much alike (a turn by
90 degrees after two thirds of the drive has 0.75, one street 1). It divides the information
on m by 1 - length^2.
"""

MAX_CORRELATED = 0.8
"""Correlation of neighbouring blocks that is believed, at most."""

SIGNIFICANCE = 0.01
"""Chance of an offset that looks so large where there is none: below it the offset is believed."""

MIN_SIGMA_M = 0.1
"""Added to the covariances: no pair of pose and prior agrees better than this."""

_TUKEY = 5.12
"""Width of Tukey's biweight in scales: 95 % of least squares' efficiency in two dimensions."""

_RAYLEIGH_MEDIAN = math.sqrt(2.0 * math.log(2.0))
_ITERATIONS = 50


@dataclass(frozen=True, eq=False)
class Disagreements:
    """Registrations minus priors, in map axes, of one or several drives.

    drive       (N,) index of the drive
    seconds     (N,) time within it
    xy          (N, 2) pose - prior, m east and north
    yaw         (N,) of the prior, rad
    covariance  (N, 2, 2) of xy as pose and prior claim it (m^2); only its shape and its
                proportions count, the size is found from the data
    """

    drive: NDArray[np.int64]
    seconds: FloatArray
    xy: FloatArray
    yaw: FloatArray
    covariance: FloatArray

    def __post_init__(self) -> None:
        count = len(self.seconds)
        for name, shape in (
            ("drive", (count,)),
            ("xy", (count, 2)),
            ("yaw", (count,)),
            ("covariance", (count, 2, 2)),
        ):
            seen = getattr(self, name)
            if seen.shape != shape or not np.isfinite(seen).all():
                raise ValueError(f"Disagreements.{name} must be finite {shape}, got {seen.shape}")


@dataclass(frozen=True, eq=False)
class MapOffset:
    """Result of `estimate_map_offset`.

    east, north     where the imagery shows things, seen from where they are (m)
    covariance      (2, 2) of (east, north), which pays for errors that wander
    forward, left   the part that turns with the vehicle (m)
    blocks          stretches of time with errors of their own
    inliers         mean weight of the samples, 0..1
    alikeness       length of the mean unit vector of the headings, 0..1
    """

    east: float
    north: float
    covariance: FloatArray
    forward: float
    left: float
    samples: int
    blocks: int
    inliers: float
    alikeness: float

    @property
    def sigma(self) -> tuple[float, float]:
        """Return standard errors of east and north (m)."""
        east, north = np.sqrt(np.diag(self.covariance))
        return float(east), float(north)

    def chance(self, east: float = 0.0, north: float = 0.0) -> float:
        """Return the probability of an offset at least as far from (east, north) where that is the
        true one.

        Hotelling's T^2 of two means over so many blocks; this tail of F has a closed form.
        """
        difference = np.array([self.east - east, self.north - north])
        statistic = float(difference @ np.linalg.solve(self.covariance, difference))
        chance: float = (1.0 + statistic / (self.blocks - 1)) ** (1.0 - self.blocks / 2.0)
        return chance


def estimate_map_offset(data: Disagreements) -> MapOffset:
    """Fit m of the model above by Tukey's biweight on whitened residuals, started from least
    distances.

    Raises ValueError when there are too few samples, too short a time or too uniform headings.
    """
    _require_enough(data)
    root = np.linalg.inv(np.linalg.cholesky(data.covariance + MIN_SIGMA_M**2 * np.eye(2)))
    turn = np.exp(1j * data.yaw)
    R = np.stack([turn.real, -turn.imag, turn.imag, turn.real], axis=1).reshape(-1, 2, 2)
    design = root @ np.concatenate([np.broadcast_to(np.eye(2), R.shape), R], axis=2)
    observed = np.einsum("nij,nj->ni", root, data.xy)
    solution, weights, limit = _solve(design, observed)
    alikeness = float(abs(np.average(turn, weights=weights)))
    if alikeness > MAX_ALIKE:
        raise ValueError(
            f"the headings are too much alike ({alikeness:.2f}, limit {MAX_ALIKE}): what is fixed "
            "to the vehicle cannot be told from an offset of the map; add a drive the other way"
        )
    residuals = observed - design @ solution
    covariance, blocks = _covariance(data, design, residuals, weights, limit)
    east, north, forward, left = solution.tolist()
    return MapOffset(
        east,
        north,
        covariance,
        forward,
        left,
        samples=len(weights),
        blocks=blocks,
        inliers=float(weights.mean()),
        alikeness=alikeness,
    )


def _require_enough(data: Disagreements) -> None:
    count = len(data.seconds)
    if count < MIN_SAMPLES:
        raise ValueError(f"{count} usable registrations, at least {MIN_SAMPLES} are needed")
    seconds = sum(float(np.ptp(data.seconds[data.drive == one])) for one in np.unique(data.drive))
    if seconds < MIN_SECONDS:
        raise ValueError(
            f"{seconds:.0f} s of registrations, at least {MIN_SECONDS:.0f} s are needed: "
            "an error of GNSS that wanders looks like an offset of the map for so long"
        )


def _solve(design: FloatArray, observed: FloatArray) -> tuple[FloatArray, FloatArray, float]:
    """Return solution (4,), final weights (N,), and the whitened residual where they end."""
    weights = np.ones(len(observed))
    solution, limit = np.zeros(4), math.inf
    for iteration in range(2 * _ITERATIONS):
        solution = _least_squares(design, observed, weights)
        length = np.linalg.norm(observed - design @ solution, axis=1)
        if iteration < _ITERATIONS:
            # Least sum of distances: half of the samples may be wrong in any way.
            weights = 1.0 / np.maximum(length, 1e-3)
            limit = _TUKEY * max(float(np.median(length)) / _RAYLEIGH_MEDIAN, 1e-9)
        else:
            weights = np.square(np.maximum(1.0 - np.square(length / limit), 0.0))
    return solution, weights, limit


def _least_squares(design: FloatArray, observed: FloatArray, weights: FloatArray) -> FloatArray:
    normal = np.einsum("n,nij,nik->jk", weights, design, design)
    right = np.einsum("n,nij,ni->j", weights, design, observed)
    # Of equal solutions the shortest: with one heading m and v share what they cannot tell apart.
    solution: FloatArray = np.linalg.lstsq(normal, right, rcond=1e-12)[0]
    return solution


def _covariance(
    data: Disagreements,
    design: FloatArray,
    residuals: FloatArray,
    weights: FloatArray,
    limit: float,
) -> tuple[FloatArray, int]:
    """Return covariance (2, 2) of m and the number of independent blocks that it comes from.

    Sandwich estimate over blocks of 1, 2, 4... s. Of the lengths the one that gives the largest:
    too short ones miss the errors that wander.
    """
    scores = np.einsum("n,nij,ni->nj", weights, design, residuals)
    slope = weights[:, None, None] * np.eye(2) - (4.0 / limit**2) * np.einsum(
        "n,ni,nj->nij", np.sqrt(weights), residuals, residuals
    )
    bread = np.linalg.inv(np.einsum("nij,nik,nkl->jl", design, slope, design))
    best, blocks_of_best, length = np.zeros((2, 2)), 0, 1.0
    while True:
        keys = np.stack([data.drive, np.floor(data.seconds / length)])
        blocks, block = np.unique(keys, axis=1, return_inverse=True)
        count = blocks.shape[1]
        if count < MIN_BLOCKS:
            return best, blocks_of_best
        sums = np.zeros((count, 4))
        np.add.at(sums, block.ravel(), scores)
        pulls = sums @ bread[:, :2]
        # An error that lives longer than a block pulls the next one the same way.
        follows = (np.diff(blocks, axis=1) == [[0.0], [1.0]]).all(axis=0)
        alike = np.sum((pulls[1:] * pulls[:-1])[follows]) / np.sum(np.square(pulls))
        kept = min(max(float(alike), 0.0), MAX_CORRELATED)
        growth = (1.0 + kept) / (1.0 - kept)
        covariance = pulls.T @ pulls * growth * count / (count - 4)
        if np.trace(covariance) > np.trace(best):
            best, blocks_of_best = covariance, max(int(count / growth), 4)
        length *= 2.0
