# SPDX-License-Identifier: Apache-2.0
"""Watch whether the poses found stand off the fixes by the same way for long."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from g2s_localizer.estimator.estimate import Estimate
from g2s_localizer.estimator.finding import Finding

WINDOW_S = 180.0
BLOCK_S = 15.0
"""Errors of fixes this far apart are taken for different ones; closer ones are one error."""

MIN_BLOCKS = 4
MIN_WAY_M = 100.0
MIN_OFFSET_M = 2.0
MAX_DEVIATION = 3.0
"""Standard errors of the mean."""


class OffsetWatch:
    """Averages pose minus prior of accepted estimates, in map axes.

    A displaced imagery and a receiver whose error stands for minutes look alike from here, so the
    finding is said and no pose is withheld for it. Not thread-safe.
    """

    def __init__(self) -> None:
        self._seen: deque[tuple[float, NDArray[np.float64], NDArray[np.float64]]] = deque()

    def reset(self) -> None:
        """Forget everything: time was set back."""
        self._seen.clear()

    def add(self, estimate: Estimate) -> None:
        """Take an estimate; a rejected one says nothing."""
        if not estimate.accepted or estimate.pose is None or estimate.prior is None:
            return
        seconds = estimate.stamp_ns * 1e-9
        pose, prior = estimate.pose, estimate.prior.pose
        here = np.array([pose.x, pose.y])
        self._seen.append((seconds, here, here - (prior.x, prior.y)))
        while seconds - self._seen[0][0] > WINDOW_S:
            self._seen.popleft()

    def finding(self) -> Finding | None:
        """Return the standing offset, None while none shows."""
        if not self._seen:
            return None
        stamps, places, offsets = (np.array(column) for column in zip(*self._seen, strict=True))
        if np.ptp(places, axis=0).max() < MIN_WAY_M:
            return None
        blocks = ((stamps - stamps[0]) // BLOCK_S).astype(int)
        means = np.array([offsets[blocks == block].mean(axis=0) for block in np.unique(blocks)])
        if len(means) < MIN_BLOCKS:
            return None
        mean = means.mean(axis=0)
        error = means.std(axis=0, ddof=1) / np.sqrt(len(means))
        length = float(np.hypot(*mean))
        if length < MIN_OFFSET_M or length < MAX_DEVIATION * float(np.hypot(*error)):
            return None
        return Finding(
            None,
            f"for {stamps[-1] - stamps[0]:.0f} s the poses have stood {mean[0]:+.1f} m east and "
            f"{mean[1]:+.1f} m north of the fixes; likely the imagery is displaced (measure it "
            "with g2s-tiles offset) or the receiver's error stands",
        )
