# SPDX-License-Identifier: Apache-2.0
"""Watch whether the camera's pictures change while the vehicle moves."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from g2s_localizer.estimator.estimate import Observation, Rejection
from g2s_localizer.estimator.finding import Finding

_STRIDE = 8
"""Every eighth pixel of every eighth row: enough to tell two pictures apart."""

MIN_IMAGES = 3
"""So many pictures in a row that look the same are no accident."""

MIN_CHANGE = 0.25
"""Mean absolute difference (of 255) below which two pictures are the same one: sensor noise alone
makes a larger one."""

MIN_WAY_M, MIN_IDENTICAL_WAY_M = 3.0, 1.0
"""A standing camera sees the same for ever; so far driven, it must not. The second is for a way
that odometry measured and pictures that are the same in every pixel looked at."""

IDENTICAL_LIMIT, SIMILAR_LIMIT = 1.0, 3.0
"""Standard deviations of the priors' noise that the way between them must exceed where nobody
measured the motion, for pictures that are the same in every pixel looked at, and for those that
only look the same."""


class PictureWatch:
    """Compares each picture with the first of those that looked the same. Not thread-safe."""

    def __init__(self) -> None:
        self._first: Observation | None = None
        self._pixels: NDArray[np.uint8] | None = None
        self._images = 0
        self._identical = True

    def reset(self) -> None:
        """Forget everything: time was set back."""
        self._first = self._pixels = None

    @property
    def since_ns(self) -> int | None:
        """Stamp of the first of the pictures that look the same, None before the first."""
        return None if self._first is None else self._first.stamp_ns

    def look(self, observation: Observation, driven_m: float | None = None) -> Finding | None:
        """Return what is wrong with the picture of an observation, None while nothing shows.

        driven_m: way since `since_ns` by odometry; None: nobody measured it, the priors tell.
        """
        pixels = observation.image[::_STRIDE, ::_STRIDE].copy()
        if self._first is None or self._pixels is None or not self._is_same(pixels):
            self._first, self._pixels = observation, pixels
            self._images, self._identical = 1, True
            return None
        self._images += 1
        start, here = self._first.prior, observation.prior
        if start.frame.datum != here.frame.datum or self._images < MIN_IMAGES:
            return None
        way_m, least_m = driven_m, MIN_IDENTICAL_WAY_M if self._identical else MIN_WAY_M
        if way_m is None:
            way_m = math.hypot(here.pose.x - start.pose.x, here.pose.y - start.pose.y)
            variance = np.trace(start.covariance[:2, :2] + here.covariance[:2, :2]) / 2.0
            limit = IDENTICAL_LIMIT if self._identical else SIMILAR_LIMIT
            least_m = max(MIN_WAY_M, limit * math.sqrt(float(variance)))
        if way_m <= least_m:
            return None
        seconds = (observation.stamp_ns - self._first.stamp_ns) * 1e-9
        return Finding(
            Rejection.FROZEN_IMAGE,
            f"{self._images} images in {seconds:.1f} s show the same picture while the vehicle "
            f"moved {way_m:.0f} m; likely a camera driver that repeats its last frame",
        )

    def _is_same(self, pixels: NDArray[np.uint8]) -> bool:
        before = self._pixels
        if before is None or before.shape != pixels.shape:
            return False
        if np.array_equal(before, pixels):
            return True
        change = float(np.abs(before.astype(np.int16) - pixels).mean())
        self._identical = False
        return change < MIN_CHANGE
