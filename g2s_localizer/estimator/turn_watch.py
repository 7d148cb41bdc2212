# SPDX-License-Identifier: Apache-2.0
"""Watch whether the poses found turn the heading of the prior by the same angle image by image."""

from __future__ import annotations

import math
from collections import deque

import numpy as np
from numpy.typing import NDArray

from g2s_localizer.estimator.estimate import Estimate, Rejection
from g2s_localizer.estimator.finding import Finding
from g2s_localizer.geometry.pose import wrap_angle

IMAGES = 12
MIN_IMAGES = 8
WINDOW_S = 12.0

MIN_TURN = math.radians(8.0)
"""A smaller turn, or one within three standard deviations of the heading, is its noise."""

MAX_SCATTER = math.radians(2.0)
"""Median distance from the median: wrong places turn the heading in all directions."""

_TELLING = (None, Rejection.AT_BORDER, Rejection.INNOVATION)
"""Estimates that stand on a place that looks like the image, published or not."""


class TurnWatch:
    """Looks at pose yaw minus prior yaw of the newest estimates. Not thread-safe."""

    def __init__(self) -> None:
        self._turns: deque[tuple[int, float, float]] = deque(maxlen=IMAGES)
        self._found: Finding | None = None

    def reset(self) -> None:
        """Forget everything: time was set back."""
        self._turns.clear()
        self._found = None

    def add(self, estimate: Estimate) -> None:
        """Take an estimate; one that matched no place says nothing."""
        if estimate.rejection in _TELLING and estimate.pose and estimate.prior:
            turn = wrap_angle(estimate.pose.yaw - estimate.prior.pose.yaw)
            sigma = math.sqrt(estimate.prior.covariance[2, 2])
            self._turns.append((estimate.stamp_ns, turn, sigma))

    def finding(self, stamp_ns: int) -> Finding | None:
        """Return what the estimates before the stamp say of the heading, None for nothing.

        What was found holds until as many images turn the heading by less than half as much: a
        wrong set-up does not mend itself, but its images match now and then.
        """
        recent = [
            (turn, sigma) for at, turn, sigma in self._turns if abs(stamp_ns - at) < WINDOW_S * 1e9
        ]
        if len(recent) < MIN_IMAGES:
            return self._found
        turns, sigmas = np.array(recent).T
        middle = float(np.median(turns))
        scatter = float(np.median(np.abs(turns - middle)))
        if scatter > MAX_SCATTER:
            return self._found
        limit = max(MIN_TURN, 3.0 * float(sigmas.max()))
        if abs(middle) > limit:
            self._found = _finding(turns, middle)
        elif abs(middle) < limit / 2.0:
            self._found = None
        return self._found


def _finding(turns: NDArray[np.float64], middle: float) -> Finding:
    return Finding(
        Rejection.WRONG_HEADING,
        f"the last {len(turns)} images that match the imagery turn the heading by "
        f"{math.degrees(middle):+.1f} degrees; likely magnetic declination or the IMU's "
        f"mounting is left out (heading.offset {middle:+.3f}), or the camera's yaw is wrong",
    )
