# SPDX-License-Identifier: Apache-2.0
"""The exact poses that a bag may hold beside its sensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from g2s_localizer.geometry import LatLon, LocalFrame, Pose2D
from training.datasets import messages


class TruthTrack:
    """True pose of base_link at any stamp between the first and the last, in `frame`.

    poses  PoseStamped messages in the ENU map at `datum`
    """

    def __init__(self, poses: Sequence[Any], datum: LatLon, frame: LocalFrame) -> None:
        given = np.array([(m.pose.position.x, m.pose.position.y) for m in poses])
        lat, lon = LocalFrame(datum).to_latlon_array(given[:, 0], given[:, 1])
        self.xy = np.stack(frame.to_xy_array(lat, lon), axis=1)
        self._stamps = np.array([messages.stamp_ns(m) for m in poses], dtype=np.int64)
        axes = [messages.rotation_from(m.pose.orientation)[:, 0] for m in poses]
        self._yaw = np.unwrap([math.atan2(axis[1], axis[0]) for axis in axes])

    def covers(self, stamp: int) -> bool:
        return bool(self._stamps[0] <= stamp <= self._stamps[-1])

    def at(self, stamp: int) -> Pose2D:
        since = (self._stamps - self._stamps[0]).astype(np.float64)
        now = float(stamp - self._stamps[0])
        x, y, yaw = (
            float(np.interp(now, since, values))
            for values in (self.xy[:, 0], self.xy[:, 1], self._yaw)
        )
        return Pose2D(x, y, yaw)
