# SPDX-License-Identifier: Apache-2.0
"""Poses along time: the truth that a bag may hold beside its sensors, and its odometry."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from g2s_localizer.geometry import LatLon, LocalFrame, Pose2D
from g2s_localizer.messages import stamp_ns
from training.datasets import messages


class Track:
    """Poses (N, 3) x, y (m), yaw (rad) at rising stamps (N,) in ns, linear in between."""

    def __init__(self, stamps: NDArray[np.int64], poses: NDArray[np.float64]) -> None:
        self._stamps = stamps
        self.xy, self._yaw = poses[:, :2], np.unwrap(poses[:, 2])

    def covers(self, stamp: int, max_gap_s: float = math.inf) -> bool:
        """Whether two poses no farther apart in time than that enclose the stamp."""
        if not self._stamps[0] <= stamp <= self._stamps[-1]:
            return False
        after = max(int(np.searchsorted(self._stamps, stamp)), 1)
        return int(self._stamps[after] - self._stamps[after - 1]) <= max_gap_s * 1e9

    def at(self, stamp: int) -> Pose2D:
        since = (self._stamps - self._stamps[0]).astype(np.float64)
        now = float(stamp - self._stamps[0])
        columns = (self.xy[:, 0], self.xy[:, 1], self._yaw)
        return Pose2D(*(float(np.interp(now, since, values)) for values in columns))


def truth_track(poses: Sequence[Any], datum: LatLon, frame: LocalFrame) -> Track:
    """True poses of base_link in `frame`, from PoseStamped messages in the ENU map at `datum`."""
    given = np.array([messages.planar_pose(message.pose) for message in poses])
    lat, lon = LocalFrame(datum).to_latlon_array(given[:, 0], given[:, 1])
    given[:, :2] = np.stack(frame.to_xy_array(lat, lon), axis=1)
    return Track(np.array([stamp_ns(message.header) for message in poses]), given)


def odometry_track(recorded: Sequence[tuple[int, tuple[float, float, float]]]) -> Track:
    """Of stamps (ns) and poses in the frame of odometry; of a repeated stamp the first counts."""
    stamps, first = np.unique([stamp for stamp, _ in recorded], return_index=True)
    return Track(stamps, np.array([pose for _, pose in recorded])[first])
