# SPDX-License-Identifier: Apache-2.0
"""Relate the errors of neighbouring fixes, and carry a vehicle from one stamp to another."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from g2s_localizer.estimator.series import Fix, Heading, Motion, Series, seconds_between
from g2s_localizer.geometry.pose import wrap_angle

FloatArray = NDArray[np.float64]

ACCELERATION_SIGMA = 2.0
"""Acceleration of a road vehicle (m/s^2, one sigma): the error of a straight line."""

TURN_RATE_SIGMA = 0.3
"""Turn rate of a road vehicle (rad/s, one sigma): the error of a heading that is held."""

ERROR_TIME_S = 120.0
"""A fix's error (multipath, troposphere, orbits) has become another one after so long."""

INDEPENDENT_SHARE = 0.01
"""Share of a fix's variance that no neighbour shares, however near: the receiver's noise."""

MAX_VARIANCE = 1e12
"""A fix of a million metres of sigma (m^2) says nothing, and its arithmetic would overflow."""

MOTION_HOLD_S = 0.5
"""Speed and turn rate are taken as constant for so long where no sample says otherwise."""

COURSE_MIN_SPEED = 2.0
"""Below this (m/s) the way driven between two fixes does not tell the heading."""

COURSE_MAX_SIGMA = 0.35
"""A course less sure than this (rad) is none."""


def combined_covariance(a: Fix, b: Fix, share: float) -> FloatArray:
    """Return the covariance (2, 2) of (1 - share) a + share b: between the fixes (0..1), or past a
    (< 0).

    Each error is a slow one, shared but for exp(-t / ERROR_TIME_S), and a small independent one.
    What that model lets averaging gain between two fixes, and a better fix win from a worse one
    before it, is not claimed: the result is never less than the nearest fixes say of themselves.
    """
    mean = (1.0 - share) * a.covariance + share * b.covariance
    if share >= 0:
        return mean
    # Weights that sum to 1: variance = weighted mean - share (1 - share) variance of difference.
    past = mean - share * (1.0 - share) * difference_covariance(a, b)
    lacking, axes = np.linalg.eigh(a.covariance - past)
    result: FloatArray = past + (axes * np.maximum(lacking, 0.0)) @ axes.T
    return result


def difference_covariance(a: Fix, b: Fix) -> FloatArray:
    """Return the covariance (2, 2) (m^2) of the error of b - a, small for near ones."""
    seconds = abs(seconds_between(a, b))
    correlation = (1.0 - INDEPENDENT_SHARE) * math.exp(-seconds / ERROR_TIME_S)
    shared = _square_root(a.covariance) @ _square_root(b.covariance)
    difference: FloatArray = a.covariance + b.covariance - correlation * (shared + shared.T)
    return difference


def _square_root(covariance: FloatArray) -> FloatArray:
    """Return the symmetric root of a positive (2, 2)."""
    root = math.sqrt(max(float(np.linalg.det(covariance)), 0.0))
    total: FloatArray = (covariance + root * np.eye(2)) / math.sqrt(
        float(np.trace(covariance)) + 2.0 * root
    )
    return total


def positive(covariance: ArrayLike) -> FloatArray:
    """Return a covariance (2, 2) (m^2) made symmetric. Raises ValueError for one that is none."""
    given = np.array(covariance, dtype=np.float64)
    if given.shape != (2, 2) or not np.isfinite(given).all():
        raise ValueError(f"fix covariance must be finite (2, 2), got {given.tolist()}")
    symmetric: FloatArray = 0.5 * given + 0.5 * given.T
    if np.abs(given).max() > MAX_VARIANCE or np.linalg.eigvalsh(symmetric)[0] <= 0:
        raise ValueError(
            f"fix covariance must be positive and below {MAX_VARIANCE:g} m^2, got {given.tolist()}"
        )
    return symmetric


@dataclass(frozen=True, eq=False)
class Travelled:
    """Motion of base_link: (2,) m in its axes at the end and its covariance, turn (rad), variance
    of the turn.
    """

    xy: FloatArray
    covariance: FloatArray
    turn: float
    turn_variance: float


def travelled(motions: Series[Motion], begin_ns: int, end_ns: int) -> Travelled | None:
    """Integrate speed and turn rate from begin to end; None where a part of it has no sample
    within MOTION_HOLD_S.

    The errors of speed and turn rate are taken as constant over the time: the worst case.
    """
    hold_ns = int(MOTION_HOLD_S * 1e9)
    samples = motions.between(begin_ns - hold_ns, end_ns + hold_ns)
    if not samples:
        return None
    stamps = np.array([one.stamp_ns for one in samples])
    if max(stamps[0] - begin_ns, end_ns - stamps[-1], *np.diff(stamps)) > hold_ns:
        return None
    knots = np.array([begin_ns, *stamps[(stamps > begin_ns) & (stamps < end_ns)], end_ns])
    seconds = np.diff(knots) * 1e-9
    forward, left, yaw_rate = (
        _middles(knots, stamps, [getattr(one, name) for one in samples])
        for name in ("forward", "left", "yaw_rate")
    )
    turned = np.cumsum(yaw_rate * seconds)
    # Yaw in the middle of each step, from that at the end.
    yaw = turned - 0.5 * yaw_rate * seconds - turned[-1]
    c, s = np.cos(yaw), np.sin(yaw)
    xy = np.array(
        [((c * forward - s * left) * seconds).sum(), ((s * forward + c * left) * seconds).sum()]
    )
    age_s = (end_ns - begin_ns) * 1e-9
    held_s = max(0.0, (end_ns - max(int(stamps[-1]), begin_ns)) * 1e-9)
    newest = samples[-1]
    turn_variance = newest.yaw_rate_variance * age_s**2 + (TURN_RATE_SIGMA * held_s) ** 2
    along = newest.speed_variance * age_s**2 + (0.5 * ACCELERATION_SIGMA * held_s**2) ** 2
    # A turn rate that is wrong bends the way: half of the turn's error, across it.
    across = np.array([-xy[1], xy[0]])
    covariance = along * np.eye(2) + 0.25 * turn_variance * np.outer(across, across)
    return Travelled(xy, covariance, float(turned[-1]), turn_variance)


def course(
    fixes: Series[Fix], motions: Series[Motion], max_gap_s: float, antenna_forward: float
) -> Heading | None:
    """Return the heading at the newest fix: the way driven to it. None when slow or unsure.

    base_link is taken to drive forward, unless `motions` says that it backs up. Yaw in map. A
    chord has the heading of its middle: the turn since then is that of `motions`, else unknown.
    """
    end = fixes[-1]
    begin = fixes.baseline(True, 1.0, max_gap_s)
    if begin is None:
        return None
    step = end.xy - begin.xy
    seconds, length = seconds_between(begin, end), float(np.linalg.norm(step))
    if length < COURSE_MIN_SPEED * seconds:
        return None
    across = np.array([-step[1], step[0]]) / length**2
    variance = float(across @ difference_covariance(begin, end) @ across)
    # An antenna before the rear axle is swept sideways in a turn.
    variance += (antenna_forward * TURN_RATE_SIGMA * seconds / length) ** 2
    yaw = math.atan2(step[1], step[0])
    moved = travelled(motions, end.stamp_ns - int(0.5e9 * seconds), end.stamp_ns)
    if moved is None:
        variance += (0.5 * TURN_RATE_SIGMA * seconds) ** 2
    else:
        backs_up = moved.xy[0] < 0
        yaw += moved.turn + (math.pi if backs_up else 0.0)
        variance += moved.turn_variance
    if variance > COURSE_MAX_SIGMA**2:
        return None
    return Heading(end.stamp_ns, wrap_angle(yaw), variance)


def _middles(
    knots: NDArray[np.int64], stamps: NDArray[np.int64], values: list[float]
) -> FloatArray:
    at = np.interp((knots - knots[0]) * 1e-9, (stamps - knots[0]) * 1e-9, values)
    middles: FloatArray = 0.5 * (at[1:] + at[:-1])
    return middles
