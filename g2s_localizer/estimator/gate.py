# SPDX-License-Identifier: Apache-2.0
"""The gate: silence is an answer when the score map cannot be trusted."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from g2s_localizer.estimator.estimate import Prior, Rejection
from g2s_localizer.geometry import Pose2D
from g2s_localizer.geometry.pose import wrap_angle
from g2s_localizer.model import Registration

FloatArray = NDArray[np.float64]


UNCONFIRMED = 0.97
"""Presence that is wanted while the heading of the prior is not confirmed: under a heading that is
far off an image finds a place that looks alike now and then, but not for long."""


@dataclass(frozen=True)
class GateConfig:
    """Limits beyond which an estimate is refused.

    max_ellipse_m   one-sigma length of the long axis of the position ellipse (m)
    max_innovation  Mahalanobis distance between pose and prior in x, y and yaw. Its square follows
                    a chi-square law of three degrees of freedom when both covariances are honest:
                    2.80 refuses 5 % of good estimates, 3.37 1 %, 4.03 0.1 %
    max_entropy     of the score map, as a share of a flat one's, 0..1
    max_peak_ratio  probability of the second mode over the first, 0..1
    min_correlation of image and imagery at the place found, -1..1; NaN: the floor that calibration
                    stored with the checkpoint
    min_presence    probability that the image, with those before it, belongs to the imagery, 0..1
    """

    max_ellipse_m: float = 8.0
    max_innovation: float = 4.03
    max_entropy: float = 0.8
    max_peak_ratio: float = 0.7
    min_correlation: float = math.nan
    min_presence: float = 0.8

    def __post_init__(self) -> None:
        for name in ("max_ellipse_m", "max_innovation"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"GateConfig.{name} must be positive, got {getattr(self, name)}")
        for name in ("max_entropy", "max_peak_ratio", "min_presence"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"GateConfig.{name} must lie in (0, 1], got {getattr(self, name)}")
        if not (math.isnan(self.min_correlation) or -1 <= self.min_correlation <= 1):
            raise ValueError(
                f"GateConfig.min_correlation must lie in [-1, 1], got {self.min_correlation}"
            )

    def with_floor(self, correlation_floor: float) -> GateConfig:
        """Return these limits with the checkpoint's floor where `min_correlation` is NaN."""
        if math.isnan(self.min_correlation):
            return replace(self, min_correlation=correlation_floor)
        return self


def gate(
    pose: Pose2D,
    covariance: FloatArray,
    prior: Prior,
    entropy: float,
    peak_ratio: float,
    correlation: float,
    presence: float,
    config: GateConfig,
) -> tuple[Rejection, str] | None:
    """Return None when the estimate may be published, else the first limit it breaks, in words.

    covariance: (3, 3) of (x, y, yaw). A NaN breaks the limit it is compared with; a limit that is
    NaN (no floor calibrated) refuses everything, see `GateConfig.with_floor`.
    """
    least = config.min_presence if prior.confirmed else max(config.min_presence, UNCONFIRMED)
    for name, value, limit in (
        ("correlation", correlation, config.min_correlation),
        ("presence", presence, least),
    ):
        if not value >= limit:
            return Rejection.NOT_HERE, f"{name} {value:.3g}, at least {limit:.3g} wanted"
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


def at_border(
    registration: Registration, prior_yaw: float, searched: float
) -> tuple[Rejection, str] | None:
    """Return the rejection of a peak at the edge of the search in position or heading: what lies
    beyond it was not looked at. prior_yaw in the crop; searched: largest residual heading looked
    at (rad), 0: none was.
    """
    if registration.modes[0].border_cells == 0:
        at = f"at ({registration.x:.1f}, {registration.y:.1f}) m from the crop's centre"
        return Rejection.AT_BORDER, at
    turn = wrap_angle(registration.yaw - prior_yaw)
    if abs(turn) > searched > 0.0:
        return (
            Rejection.AT_BORDER,
            f"heading {math.degrees(turn):+.1f} degrees from the prior's, "
            f"searched {math.degrees(searched):.1f}",
        )
    return None


@dataclass(frozen=True)
class Region:
    """The places that are possible at all: those within a Mahalanobis distance of a centre."""

    centre: tuple[float, float]
    """metres east and north of the crop's centre"""
    covariance: FloatArray
    """(2, 2) (m^2)"""
    limit: float

    def holds(self, xy: Tensor) -> Tensor:
        """Return (H, W), whether each of the places xy (H, W, 2) is possible."""
        precision = np.linalg.inv(self.covariance)
        apart = xy - xy.new_tensor(self.centre)
        squared = torch.einsum("hwi,ij,hwj->hw", apart, xy.new_tensor(precision), apart)
        return squared <= self.limit**2


def within_reach(
    prior: Prior, centre: tuple[float, float], spread: FloatArray, config: GateConfig
) -> Region:
    """Return the places that `max_innovation` leaves to an estimate, from the crop's `centre` in
    the prior's frame: what it would refuse is no rival of the place found.

    spread: (2, 2) least covariance of an estimate (m^2).
    """
    x, y = prior.pose.x - centre[0], prior.pose.y - centre[1]
    return Region((x, y), prior.covariance[:2, :2] + spread, config.max_innovation)


def innovation(pose: Pose2D, covariance: FloatArray, prior: Prior) -> float:
    """Return the Mahalanobis distance of (pose - prior) in x, y and yaw under the sum of their
    covariances (3, 3).
    """
    turn = wrap_angle(pose.yaw - prior.pose.yaw)
    difference = np.array([pose.x - prior.pose.x, pose.y - prior.pose.y, turn])
    total = np.asarray(covariance) + prior.covariance
    return math.sqrt(float(difference @ np.linalg.solve(total, difference)))


def long_axis(covariance: FloatArray) -> float:
    """Return the one-sigma length (m) of the long axis of `covariance` (3, 3) in position."""
    position = np.asarray(covariance)[:2, :2]
    if not np.isfinite(position).all():
        return math.nan
    return math.sqrt(max(float(np.linalg.eigvalsh(position)[-1]), 0.0))
