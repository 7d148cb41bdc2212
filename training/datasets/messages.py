# SPDX-License-Identifier: Apache-2.0
"""Recorded fixes and headings to the package's types, as the node reads them, without ROS.

The messages are those that `rosbags` deserialises. What one cannot be turned into raises
Unusable that names the field and the value.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from g2s_localizer.geometry import LatLon

FloatArray = NDArray[np.float64]


class Unusable(ValueError):
    """A message that says nothing the package can use."""


def fix_from(message: Any, default_sigma_m: float) -> tuple[LatLon, FloatArray]:
    """NavSatFix -> place of the antenna and its covariance (2, 2) (m^2, east and north).

    `default_sigma_m` stands in where the receiver does not know or claims to be perfect.
    """
    if message.status.status < 0:
        raise Unusable(f"NavSatFix.status is {message.status.status}: no fix")
    covariance = np.reshape(message.position_covariance, (3, 3))[:2, :2].astype(np.float64)
    if not np.isfinite(covariance).all():
        raise Unusable(f"NavSatFix.position_covariance is {covariance.tolist()}")
    if message.position_covariance_type == 0 or np.linalg.eigvalsh(covariance)[0] <= 0:
        covariance = default_sigma_m**2 * np.eye(2)
    try:
        return LatLon(message.latitude, message.longitude), covariance
    except ValueError as error:
        raise Unusable(f"NavSatFix: {error}") from None


def heading_from(
    message: Any, R_base_imu: FloatArray, default_sigma: float, offset: float
) -> tuple[float, float]:
    """sensor_msgs/Imu, or anything with a pose (Odometry), -> yaw of base_link and its variance.

    rad, counter-clockwise from east. R_base_imu (3, 3) takes the IMU's axes to base_link's;
    `offset` is added to the yaw; `default_sigma` stands in where there is no variance.
    """
    if hasattr(message, "pose"):
        R = rotation_from(message.pose.pose.orientation)
        variance = float(message.pose.covariance[35])
    else:
        if message.orientation_covariance[0] == -1:
            raise Unusable("Imu.orientation_covariance[0] is -1: this IMU has no orientation")
        R = rotation_from(message.orientation) @ R_base_imu.T
        variance = float(message.orientation_covariance[8])
    if not math.isfinite(variance) or math.hypot(R[0, 0], R[1, 0]) < 0.5:
        raise Unusable(f"heading of variance {variance}, x axis {R[:, 0].tolist()}")
    yaw = math.atan2(R[1, 0], R[0, 0]) + offset
    return yaw, variance if variance > 0 else default_sigma**2


def planar_pose(pose: Any) -> tuple[float, float, float]:
    """geometry_msgs/Pose -> x, y (m), yaw (rad)."""
    R = rotation_from(pose.orientation)
    found = (float(pose.position.x), float(pose.position.y), math.atan2(R[1, 0], R[0, 0]))
    if not np.isfinite(found).all():
        raise Unusable(f"pose of x, y, yaw {found}")
    return found


def rotation_from(q: Any) -> FloatArray:
    """geometry_msgs/Quaternion -> rotation (3, 3)."""
    values = np.array([q.x, q.y, q.z, q.w])
    length = float(np.linalg.norm(values))
    if not 0.9 < length < 1.1:
        raise Unusable(f"quaternion {values.tolist()} has length {length:.3g}, not 1")
    x, y, z, w = values / length
    angle = 2.0 * math.atan2(math.hypot(x, y, z), w)
    axis = np.array([x, y, z]) / max(math.hypot(x, y, z), 1e-300)
    return np.asarray(cv2.Rodrigues(axis * angle)[0])


def rotation_from_rpy(rpy: tuple[float, float, float]) -> FloatArray:
    """Rz(yaw) Ry(pitch) Rx(roll) (3, 3), angles in rad."""
    turns = [cv2.Rodrigues(angle * axis)[0] for angle, axis in zip(rpy, np.eye(3), strict=True)]
    return np.asarray(turns[2] @ turns[1] @ turns[0])
