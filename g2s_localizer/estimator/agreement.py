# SPDX-License-Identifier: Apache-2.0
"""Agreement: whether the poses found lately lie to each other as a vehicle moves."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from g2s_localizer.estimator.estimate import Prior
from g2s_localizer.geometry import LocalFrame, Pose2D
from g2s_localizer.geometry.pose import wrap_angle

FloatArray = NDArray[np.float64]

WAY_M = (5.0, 25.0)
"""Poses so far apart along the way are compared. Nearer ones show nearly the same image, which
finds the same wrong place again; farther ones add up the errors of the motion."""

WINDOW_S = 4.0

TOLERANCE_M, TOLERANCE_SHARE = 1.5, 0.03
"""Poses agree within so much, and such a share of the way between them."""

MAX_SPEED_M_S, SPEED_STEP_M_S = 60.0, 0.5

SPEED_SLACK_M_S, SPEED_SLACK_SHARE = 1.0, 0.25
"""The speed of the last seconds is that of the window within so much, and such a share of it."""

MIN_COMPARISONS = 3
"""So many comparisons tell something."""

AGREEING, DISAGREEING = 2.5, -1.5
"""Log-odds of being here when all comparisons agree, and when none does. On simulated drives (904
to 906 of preset kitti; poses 10 m apart, exact motion) 75 to 90 % of the comparisons of right poses
agree, and 1 to 8 % of those of poses found in mirrored images or under turned headings."""


class Agreement:
    """Compares each pose found with those before it, published or not.

    A vehicle that drives at the speed v along its heading stands v t ahead of where it was t
    seconds ago. Nobody measures v here: each pair of poses that lie ahead of each other gives one,
    and the speed that most pairs of the window give is that of the vehicle. Not thread-safe.
    """

    def __init__(self) -> None:
        self._found: deque[tuple[float, float, float, float, float]] = deque()
        self._speeds: deque[tuple[float, FloatArray]] = deque()
        self._frame: LocalFrame | None = None

    def evidence(self, prior: Prior, pose: Pose2D) -> float:
        """Return the log-odds that a pose found brings by how it lies to those before, 0 while
        there are too few; and remember it. prior: where it was looked for, and when; only changes
        of its heading count.
        """
        now = prior.stamp_ns * 1e-9
        if self._frame is not prior.frame or (
            self._found and not 0.0 < now - self._found[-1][0] < WINDOW_S
        ):
            self._found.clear()
            self._speeds.clear()
            self._frame = prior.frame
        for kept in (self._found, self._speeds):
            while kept and now - kept[0][0] > WINDOW_S:
                kept.popleft()
        share = None
        if self._found:
            share = self._share(now, pose, prior.pose.yaw)
        self._found.append((now, pose.x, pose.y, pose.yaw, prior.pose.yaw))
        return 0.0 if share is None else DISAGREEING + (AGREEING - DISAGREEING) * share

    def _share(self, now: float, pose: Pose2D, prior_yaw: float) -> float | None:
        """Return the share of comparisons that agree, None where there are too few."""
        stamps, x, y, yaws, prior_yaws = np.array(self._found).T
        ahead = yaws + 0.5 * np.array([wrap_angle(prior_yaw - before) for before in prior_yaws])
        along = (pose.x - x) * np.cos(ahead) + (pose.y - y) * np.sin(ahead)
        across = (pose.y - y) * np.cos(ahead) - (pose.x - x) * np.sin(ahead)
        seconds = now - stamps
        leads = (along >= WAY_M[0]) & (along <= WAY_M[1])
        leads &= np.abs(across) <= TOLERANCE_M + TOLERANCE_SHARE * along
        speed = self._speed()
        given = along[leads] / seconds[leads]
        self._speeds.append((now, given))
        if speed is None:
            return None
        slack = SPEED_SLACK_M_S + SPEED_SLACK_SHARE * speed
        shares = [0.0]
        for tried in given[np.abs(given - speed) <= slack]:
            way = tried * seconds
            compared = (way >= WAY_M[0]) & (way <= WAY_M[1])
            agree = np.hypot(along - way, across) <= TOLERANCE_M + TOLERANCE_SHARE * way
            # Without the one that has given the speed and so agrees by construction.
            count = int(compared.sum()) - 1
            if count >= MIN_COMPARISONS:
                shares.append(max(int((agree & compared).sum()) - 1, 0) / count)
        way = speed * seconds
        enough = ((way >= WAY_M[0]) & (way <= WAY_M[1])).sum() > MIN_COMPARISONS
        return max(shares) if enough else None

    def _speed(self) -> float | None:
        """Return the speed (m/s) that most pairs of the window give, None where few give any."""
        if sum(len(given) for _, given in self._speeds) < MIN_COMPARISONS:
            return None
        speeds = np.concatenate([given for _, given in self._speeds])
        bins = np.arange(0.0, MAX_SPEED_M_S + SPEED_STEP_M_S, SPEED_STEP_M_S)
        counts = np.convolve(np.histogram(speeds, bins)[0], np.ones(5), mode="same")
        return float(bins[int(counts.argmax())] + SPEED_STEP_M_S / 2.0)
