# SPDX-License-Identifier: Apache-2.0
"""The gate: silence is an answer when the score map cannot be trusted."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from g2s_localizer.estimator.estimate import Prior, Rejection
from g2s_localizer.geometry import Pose2D
from g2s_localizer.model.score_map import Region

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class GateConfig:
    """Limits beyond which an estimate is refused.

    max_ellipse_m   one-sigma length of the long axis of the position ellipse (m)
    max_innovation  Mahalanobis distance between pose and prior. Its square follows a chi-square
                    law of two degrees of freedom when both covariances are honest, so that a
                    limit d refuses exp(-d^2 / 2) of good estimates: 2.45 5 %, 3.03 1 %, 3.72 0.1 %
    max_entropy     of the score map, as a share of a flat one's, 0..1
    max_peak_ratio  probability of the second mode over the first, 0..1
    """

    max_ellipse_m: float = 8.0
    max_innovation: float = 3.72
    max_entropy: float = 0.8
    max_peak_ratio: float = 0.7

    def __post_init__(self) -> None:
        for name in ("max_ellipse_m", "max_innovation"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"GateConfig.{name} must be positive, got {getattr(self, name)}")
        for name in ("max_entropy", "max_peak_ratio"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"GateConfig.{name} must lie in (0, 1], got {getattr(self, name)}")


def gate(
    pose: Pose2D,
    covariance: FloatArray,
    prior: Prior,
    entropy: float,
    peak_ratio: float,
    config: GateConfig,
) -> tuple[Rejection, str] | None:
    """None when the estimate may be published, else the first limit it breaks, in words.

    covariance: (3, 3) of (x, y, yaw). A NaN breaks the limit it is compared with.
    """
    checks = (
        (Rejection.FLAT_SCORE, "entropy", entropy, config.max_entropy, ""),
        (Rejection.AMBIGUOUS, "peak ratio", peak_ratio, config.max_peak_ratio, ""),
        (Rejection.WIDE_ELLIPSE, "sigma", long_axis(covariance), config.max_ellipse_m, " m"),
        (
            Rejection.INNOVATION,
            "Mahalanobis distance",
            innovation(pose, covariance, prior),
            config.max_innovation,
            "",
        ),
    )
    for rejection, name, value, limit, unit in checks:
        if not value <= limit:
            return rejection, f"{name} {value:.3g}{unit}, limit {limit:g}{unit}"
    return None


def within_reach(
    prior: Prior, centre: tuple[float, float], spread: FloatArray, config: GateConfig
) -> Region:
    """The places that `max_innovation` leaves to an estimate, from the crop's `centre` in the
    prior's frame: what it would refuse is no rival of the place found.

    spread: (2, 2) least covariance of an estimate (m^2).
    """
    x, y = prior.pose.x - centre[0], prior.pose.y - centre[1]
    return Region((x, y), prior.covariance[:2, :2] + spread, config.max_innovation)


def innovation(pose: Pose2D, covariance: FloatArray, prior: Prior) -> float:
    """Mahalanobis distance of (pose - prior) in position under the sum of their covariances."""
    difference = np.array([pose.x - prior.pose.x, pose.y - prior.pose.y])
    total = np.asarray(covariance)[:2, :2] + prior.covariance[:2, :2]
    return math.sqrt(float(difference @ np.linalg.solve(total, difference)))


def long_axis(covariance: FloatArray) -> float:
    """One-sigma length (m) of the long axis of the position ellipse of `covariance` (3, 3)."""
    position = np.asarray(covariance)[:2, :2]
    if not np.isfinite(position).all():
        return math.nan
    return math.sqrt(max(float(np.linalg.eigvalsh(position)[-1]), 0.0))
