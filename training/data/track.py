# SPDX-License-Identifier: Apache-2.0
"""Poses along time: the truth that a bag may hold beside its sensors, and its odometry."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from g2s_localizer.geometry import LatLon, LocalFrame, Pose2D


class Track:
    """Poses (N, 3) x, y (m), yaw (rad) at rising stamps (N,) in ns, linear in between."""

    def __init__(self, stamps: NDArray[np.int64], poses: NDArray[np.float64]) -> None:
        self._stamps = stamps
        self.xy, self._yaw = poses[:, :2], np.unwrap(poses[:, 2])

    def covers(self, stamp: int, max_gap_s: float = math.inf) -> bool:
        """Return whether two poses no farther apart in time than that enclose the stamp."""
        if not self._stamps[0] <= stamp <= self._stamps[-1]:
            return False
        after = max(int(np.searchsorted(self._stamps, stamp)), 1)
        return int(self._stamps[after] - self._stamps[after - 1]) <= max_gap_s * 1e9

    def at(self, stamp: int) -> Pose2D:
        since = (self._stamps - self._stamps[0]).astype(np.float64)
        now = float(stamp - self._stamps[0])
        columns = (self.xy[:, 0], self.xy[:, 1], self._yaw)
        return Pose2D(*(float(np.interp(now, since, values)) for values in columns))


Stamped = tuple[int, tuple[float, float, float]]
"""Stamp (ns) and x, y (m), yaw (rad)."""


def truth_track(poses: Sequence[Stamped], fix: tuple[int, LatLon], frame: LocalFrame) -> Track:
    """Return the true poses of base_link in `frame`, from poses in another ENU map.

    fix  stamp and place of the same point: tells where that map lies
    """
    stamps, first = np.unique([stamp for stamp, _ in poses], return_index=True)
    given = np.array([pose for _, pose in poses])[first]
    stamp = int(np.clip(fix[0], stamps[0], stamps[-1]))
    seen = Track(stamps, given).at(stamp)
    moved = LocalFrame(_datum(fix[1], seen.x, seen.y))
    lat, lon = moved.to_latlon_array(given[:, 0], given[:, 1])
    xy = np.stack(frame.to_xy_array(lat, lon), axis=1)
    return Track(stamps, np.column_stack([xy, given[:, 2]]))


def _datum(place: LatLon, x: float, y: float) -> LatLon:
    """Return the origin of the ENU map in which `place` lies at x, y (m)."""
    datum = place
    for _ in range(4):  # each leaves some 1e-7 of what is still wrong per metre of x and y
        found = LocalFrame(datum).to_xy(place)
        datum = LocalFrame(datum).to_latlon(found[0] - x, found[1] - y)
    return datum


def odometry_track(recorded: Sequence[Stamped]) -> Track:
    """Make a track of stamps (ns) and poses of odometry; of a repeated stamp the first counts."""
    stamps, first = np.unique([stamp for stamp, _ in recorded], return_index=True)
    return Track(stamps, np.array([pose for _, pose in recorded])[first])
