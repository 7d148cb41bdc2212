# SPDX-License-Identifier: Apache-2.0
"""Fixes, headings, velocities and poses in messages, live or recorded, as numbers in SI units.

Messages are read by the names of their fields alone, whether rclpy or rosbags made them. What a
message cannot be turned into raises Unusable, a ValueError that names the field, the value and
the likely cause.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from g2s_localizer.geometry import LatLon, Pose2D
from g2s_localizer.geometry.mounting import ENU_FROM

FloatArray = NDArray[np.float64]

NO_FIX = -1
"""NavSatStatus.STATUS_NO_FIX. Jazzy's -2 is what a driver leaves that fills in no status."""

NULL_ISLAND_DEG = 1e-6
"""Degrees around (0, 0) that are no fix: a receiver without one writes (0, 0)."""

MAX_SPEED = 100.0
"""A vehicle faster than this (m/s) does not measure its speed in m/s."""

SPEED_SIGMA = (0.1, 0.05)
"""Standard deviation of a speed that brings none: m/s, and share of the speed."""

YAW_RATE_SIGMA = 0.05
"""Standard deviation (rad/s) of a yaw rate that brings none."""


class Unusable(ValueError):
    """A message that says nothing the package can use."""


def checked_stamp_ns(header: Any) -> int:
    """Return the stamp of a std_msgs/Header (ns). Raises Unusable for one that is no time."""
    sec, nanosec = int(header.stamp.sec), int(header.stamp.nanosec)
    if sec == 0 and nanosec == 0:
        raise Unusable("header.stamp is 0: the driver does not fill it in")
    if sec < 0 or not 0 <= nanosec < 10**9:
        raise Unusable(f"header.stamp is {sec} s and {nanosec} ns: no time")
    return sec * 10**9 + nanosec


def fix_from_message(message: Any, default_sigma_m: float) -> tuple[LatLon, FloatArray]:
    """Return the antenna of a NavSatFix and its covariance (2, 2) (m^2, east and north).

    `default_sigma_m` stands in where the receiver does not know or claims to be perfect. Raises
    ValueError where it claims no fix, or gives a place or covariance that is none.
    """
    if message.status.status == NO_FIX:
        raise Unusable(f"NavSatFix.status is {NO_FIX}: the receiver claims no fix")
    covariance = np.reshape(message.position_covariance, (3, 3))[:2, :2].astype(np.float64)
    known = message.position_covariance_type != 0
    if known and not np.isfinite(covariance).all():
        raise Unusable(f"NavSatFix.position_covariance is {covariance.tolist()}")
    if not known or np.linalg.eigvalsh(covariance)[0] <= 0:
        covariance = default_sigma_m**2 * np.eye(2)
    try:
        place = LatLon(message.latitude, message.longitude)
    except ValueError as error:
        raise Unusable(f"NavSatFix: {error}") from None
    if max(abs(place.lat), abs(place.lon)) < NULL_ISLAND_DEG:
        raise Unusable("NavSatFix is at (0, 0): the receiver has no fix and does not say so")
    return place, covariance


def heading_from_imu(
    message: Any,
    R_base_imu: FloatArray,
    default_sigma: float,
    offset: float = 0.0,
    convention: str = "enu",
) -> tuple[float, float]:
    """Return the yaw of base_link (rad, counter-clockwise from east) and its variance (rad^2).

    R_base_imu     (3, 3) how the IMU is mounted: takes its axes to base_link's
    default_sigma  where the message gives no variance (rad)
    offset         added to the yaw: what the IMU's zero is from east
    convention     a key of ENU_FROM: the axes of the world that the orientation is in

    Raises Unusable for a message without an orientation, and for a vehicle that stands upright.
    """
    if message.orientation_covariance[0] == -1:
        raise Unusable("Imu.orientation_covariance[0] is -1: this IMU has no orientation")
    R_world_imu = matrix_from_quaternion(message.orientation)
    R_map_base = ENU_FROM[convention] @ R_world_imu @ R_base_imu.T
    # The vehicle drives upright, so that what was measured about the map's z axis counts.
    return _heading(R_map_base, float(message.orientation_covariance[8]), default_sigma, offset)


def heading_from_odometry(
    message: Any, default_sigma: float, offset: float = 0.0
) -> tuple[float, float]:
    """Return yaw and variance as `heading_from_imu`, from the pose of a nav_msgs/Odometry."""
    R = matrix_from_quaternion(message.pose.pose.orientation)
    return _heading(R, float(message.pose.covariance[35]), default_sigma, offset)


def _heading(
    R: FloatArray, variance: float, default_sigma: float, offset: float
) -> tuple[float, float]:
    if not math.isfinite(variance):
        raise Unusable(f"variance of yaw is {variance}")
    if math.hypot(R[0, 0], R[1, 0]) < 0.5:
        pitch = math.degrees(math.asin(max(-1.0, min(1.0, -R[2, 0]))))
        raise Unusable(f"base_link is pitched by {pitch:.0f} degrees: is the IMU's mounting set?")
    yaw = math.atan2(R[1, 0], R[0, 0]) + offset
    return yaw, variance if variance > 0 else default_sigma**2


def motion_from_twist(message: Any) -> tuple[float, float, float, float, float]:
    """Return a geometry_msgs/TwistWithCovariance of base_link in its own axes: forward and left
    (m/s), yaw rate (rad/s), variances of speed and of yaw rate.

    Raises Unusable for a velocity that is not finite, or too fast to be in m/s.
    """
    linear = float(message.twist.linear.x), float(message.twist.linear.y)
    yaw_rate = float(message.twist.angular.z)
    if not (np.isfinite(linear).all() and math.isfinite(yaw_rate)):
        raise Unusable(f"twist is {linear[0]}, {linear[1]} m/s and {yaw_rate} rad/s")
    speed = math.hypot(*linear)
    if speed > MAX_SPEED or abs(yaw_rate) > 2.0 * math.pi:
        raise Unusable(f"twist is {speed:g} m/s and {yaw_rate:g} rad/s: is it in km/h or degrees?")
    fixed, share = SPEED_SIGMA
    return (
        *linear,
        yaw_rate,
        _known(message.covariance[0], (fixed + share * speed) ** 2),
        _known(message.covariance[35], YAW_RATE_SIGMA**2),
    )


def pose_from_message(message: Any) -> tuple[Pose2D, FloatArray]:
    """Return a geometry_msgs/PoseWithCovariance in the plane: pose, covariance (3, 3) of
    (x, y, yaw).

    Raises Unusable for a pose that is not finite, and for a covariance that is none.
    """
    pose = Pose2D(*planar_pose(message.pose))
    planar = [0, 1, 5]
    full = np.reshape(message.covariance, (6, 6))[np.ix_(planar, planar)].astype(np.float64)
    if not np.isfinite(full).all() or np.linalg.eigvalsh(full)[0] <= 0:
        raise Unusable(
            f"covariance of x, y, yaw is {full.tolist()}: a pose that does not know its error is "
            "no prior"
        )
    return pose, full


def planar_pose(pose: Any) -> tuple[float, float, float]:
    """Return x, y (m) and yaw (rad) of a geometry_msgs/Pose. Raises Unusable for one that is not
    finite.
    """
    R = matrix_from_quaternion(pose.orientation)
    found = (float(pose.position.x), float(pose.position.y), math.atan2(R[1, 0], R[0, 0]))
    if not np.isfinite(found).all():
        raise Unusable(f"pose of x, y, yaw must be finite, got {found}")
    return found


def _known(variance: Any, otherwise: float) -> float:
    value = float(variance)
    return value if math.isfinite(value) and value > 0 else otherwise


def matrix_from_quaternion(q: Any) -> FloatArray:
    """Return the rotation (3, 3) of a geometry_msgs/Quaternion. Raises Unusable for none."""
    values = np.array([q.x, q.y, q.z, q.w], dtype=np.float64)
    length = float(np.linalg.norm(values))
    if not 0.9 < length < 1.1:
        raise Unusable(f"quaternion {values.tolist()} has length {length:.3g}, not 1")
    x, y, z, w = values / length
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
