# SPDX-License-Identifier: Apache-2.0
"""Recorded fixes, headings and poses, read as the node reads them.

The messages are those that `rosbags` deserialises. What one cannot be turned into raises
Unusable that names the field and the value.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from g2s_localizer.motion_messages import (
    Unusable,
    fix_from_message,
    heading_from_imu,
    heading_from_odometry,
    matrix_from_quaternion,
)

FloatArray = NDArray[np.float64]

__all__ = ["Unusable", "fix_from", "heading_from", "planar_pose"]

fix_from = fix_from_message


def heading_from(
    message: Any, R_base_imu: FloatArray, default_sigma: float, offset: float
) -> tuple[float, float]:
    """Return the yaw of base_link (rad, counter-clockwise from east) and its variance (rad^2) of
    a sensor_msgs/Imu, or of anything with a pose (Odometry).
    """
    if hasattr(message, "pose"):
        return heading_from_odometry(message, default_sigma, offset)
    return heading_from_imu(message, R_base_imu, default_sigma, offset)


def planar_pose(pose: Any) -> tuple[float, float, float]:
    """geometry_msgs/Pose -> x, y (m), yaw (rad)."""
    R = matrix_from_quaternion(pose.orientation)
    found = (float(pose.position.x), float(pose.position.y), math.atan2(R[1, 0], R[0, 0]))
    if not np.isfinite(found).all():
        raise Unusable(f"pose of x, y, yaw {found}")
    return found
