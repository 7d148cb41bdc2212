# SPDX-License-Identifier: Apache-2.0
"""Accuracy and honesty of estimated poses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from g2s_localizer.geometry import Pose2D

FloatArray = NDArray[np.float64]


def vehicle_errors(estimates: Sequence[Pose2D], truths: Sequence[Pose2D]) -> FloatArray:
    """Return (N, 3) longitudinal, lateral (m) and yaw (rad) errors, along and across the TRUE
    heading.

    Positive: the estimate lies ahead, to the left, turned counter-clockwise.
    """
    pairs = zip(estimates, truths, strict=True)
    errors = [truth.between(estimate) for estimate, truth in pairs]
    return np.array([(e.x, e.y, e.yaw) for e in errors]).reshape(-1, 3)


def squared_mahalanobis(
    estimates: Sequence[Pose2D], covariances: ArrayLike, truths: Sequence[Pose2D]
) -> FloatArray:
    """Return normalised squared position errors (N,) under covariances (N, 3, 3), map axes."""
    offset = np.array(
        [(e.x - t.x, e.y - t.y) for e, t in zip(estimates, truths, strict=True)]
    ).reshape(-1, 2)
    blocks = np.asarray(covariances, dtype=np.float64).reshape(-1, 3, 3)[:, :2, :2]
    solved = np.linalg.solve(blocks, offset[:, :, None])[:, :, 0]
    return np.asarray((offset * solved).sum(axis=1))


def coverage(nees: FloatArray, share: float) -> float:
    """Return the share of squared distances inside the ellipse that should hold `share`."""
    return float(np.mean(nees <= -2.0 * math.log(1.0 - share))) if len(nees) else math.nan


def yaw_coverage(errors: FloatArray, covariances: ArrayLike, share: float) -> float:
    """Return the share of the headings' errors (column 2 of `vehicle_errors`) inside the interval
    that should hold `share`, by the variances in covariances (N, 3, 3).
    """
    if not len(errors):
        return math.nan
    deviations = NormalDist().inv_cdf((1.0 + share) / 2.0)
    variance = np.asarray(covariances)[:, 2, 2]
    return float(np.mean(errors[:, 2] ** 2 <= deviations**2 * variance))


def summarise(errors: FloatArray, nees: FloatArray) -> dict[str, float]:
    """Return the table's figures from `vehicle_errors` (N, 3) and NEES (N,); NaN when N = 0.

    offset_*   median of the signed error: what is left when the scatter is taken away
    anees      mean NEES over its two degrees of freedom: 1 when the covariance is honest
    """
    count = len(errors)
    if count == 0:
        errors = np.full((1, 3), np.nan)
    longitudinal, lateral, yaw = errors.T
    distance = np.hypot(longitudinal, lateral)
    turn = np.degrees(np.abs(yaw))
    figures = {
        "median_m": float(np.median(distance)),
        "mean_m": float(np.mean(distance)),
        "offset_lateral_m": float(np.median(lateral)),
        "offset_longitudinal_m": float(np.median(longitudinal)),
    }
    axes = {"lateral": np.abs(lateral), "longitudinal": np.abs(longitudinal)}
    for name, error in axes.items():
        for limit in (1, 3, 5):
            figures[f"{name}_within_{limit}m"] = _share(error <= limit, count)
    figures["yaw_median_deg"] = float(np.median(turn))
    figures["yaw_mean_deg"] = float(np.mean(turn))
    for limit in (1, 3, 5):
        figures[f"yaw_within_{limit}deg"] = _share(turn <= limit, count)
    figures["anees"] = float(np.mean(nees)) / 2.0 if count else math.nan
    for percent in (50, 90, 95, 99):
        figures[f"coverage_{percent}"] = coverage(nees, percent / 100.0)
    return figures


def _share(hits: NDArray[np.bool_], count: int) -> float:
    return float(np.mean(hits)) if count else math.nan
