# SPDX-License-Identifier: Apache-2.0
"""Pure functions between ROS messages and the package's types; messages.py reads the images.

What a message cannot be turned into raises ValueError that names the field and the value.
"""

from __future__ import annotations

import math
from array import array
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseWithCovariance, PoseWithCovarianceStamped, Quaternion
from numpy.typing import NDArray
from sensor_msgs.msg import Image, Imu, NavSatFix
from std_msgs.msg import Header

from g2s_localizer.estimator.estimate import Estimate, Rejection
from g2s_localizer.geometry import Camera, LatLon, LocalFrame, Pose2D
from g2s_localizer.messages import stamp_ns as stamp_ns
from g2s_localizer.ros.compat import tf_transformations

FloatArray = NDArray[np.float64]

UNKNOWN_VARIANCE = 1e6
"""Variance of z (m^2), roll and pitch (rad^2), which a planar estimate says nothing about."""

CHANNELS = {"rgb8": 3, "bgr8": 3, "mono8": 1}


def time_message(stamp: int) -> Time:
    return Time(sec=stamp // 1_000_000_000, nanosec=stamp % 1_000_000_000)


def matrix_from_transform(transform: Any) -> FloatArray:
    """geometry_msgs/Transform -> homogeneous (4, 4)."""
    T = np.eye(4)
    T[:3, :3] = matrix_from_quaternion(transform.rotation)
    T[:3, 3] = transform.translation.x, transform.translation.y, transform.translation.z
    return T


def fix_from_message(msg: NavSatFix, default_sigma_m: float) -> tuple[LatLon, FloatArray]:
    """Place of the antenna and its covariance (2, 2) (m^2, east and north).

    `default_sigma_m` stands in where the receiver does not know or claims to be perfect.
    """
    # -1 is NO_FIX, -2 (Jazzy) a status that nobody filled in.
    if msg.status.status < 0:
        raise ValueError(f"NavSatFix.status is {msg.status.status}: the receiver claims no fix")
    covariance = np.reshape(msg.position_covariance, (3, 3))[:2, :2].astype(np.float64)
    if not np.isfinite(covariance).all():
        raise ValueError(f"NavSatFix.position_covariance is {covariance.tolist()}")
    if msg.position_covariance_type == 0 or np.linalg.eigvalsh(covariance)[0] <= 0:
        covariance = default_sigma_m**2 * np.eye(2)
    try:
        return LatLon(msg.latitude, msg.longitude), covariance
    except ValueError as error:
        raise ValueError(f"NavSatFix: {error}") from None


def heading_from_imu(
    msg: Imu, R_base_imu: FloatArray, default_sigma: float, offset: float = 0.0
) -> tuple[float, float]:
    """Yaw of base_link (rad, counter-clockwise from east) and its variance (rad^2).

    R_base_imu     (3, 3) how the IMU is mounted: takes its axes to base_link's
    default_sigma  where the message gives no variance (rad)
    offset         added to the yaw: what the IMU's zero is from east
    """
    if msg.orientation_covariance[0] == -1:
        raise ValueError("Imu.orientation_covariance[0] is -1: this IMU has no orientation")
    R_map_base = matrix_from_quaternion(msg.orientation) @ R_base_imu.T
    # The vehicle drives upright, so that what was measured about the map's z axis counts.
    covariance = np.reshape(msg.orientation_covariance, (3, 3))
    return _heading(R_map_base, covariance[2, 2], default_sigma, offset)


def heading_from_odometry(
    msg: Any, default_sigma: float, offset: float = 0.0
) -> tuple[float, float]:
    """Yaw and variance as `heading_from_imu`, from the pose of a nav_msgs/Odometry."""
    variance = msg.pose.covariance[35]
    return _heading(
        matrix_from_quaternion(msg.pose.pose.orientation), variance, default_sigma, offset
    )


def _heading(
    R: FloatArray, variance: float, default_sigma: float, offset: float
) -> tuple[float, float]:
    if not math.isfinite(variance):
        raise ValueError(f"variance of yaw is {variance}")
    if math.hypot(R[0, 0], R[1, 0]) < 0.5:
        pitch = math.degrees(math.asin(max(-1.0, min(1.0, -R[2, 0]))))
        raise ValueError(f"base_link is pitched by {pitch:.0f} degrees: is the IMU's mounting set?")
    yaw = math.atan2(R[1, 0], R[0, 0]) + offset
    return yaw, variance if variance > 0 else default_sigma**2


def matrix_from_quaternion(q: Any) -> FloatArray:
    """geometry_msgs/Quaternion -> rotation (3, 3)."""
    values = np.array([q.x, q.y, q.z, q.w])
    length = np.linalg.norm(values)
    if not 0.9 < length < 1.1:
        raise ValueError(f"quaternion {values.tolist()} has length {length:.3g}, not 1")
    R: FloatArray = tf_transformations.quaternion_matrix(values)[:3, :3]
    return R


def matrix_from_rpy(roll: float, pitch: float, yaw: float) -> FloatArray:
    """Rotation (3, 3) by roll, pitch, yaw about the fixed axes x, y, z (rad)."""
    R: FloatArray = tf_transformations.euler_matrix(roll, pitch, yaw)[:3, :3]
    return R


def pose_message(pose: Pose2D, covariance: FloatArray) -> PoseWithCovariance:
    """Pose in the plane with covariance (3, 3); z, roll and pitch are said to be unknown."""
    msg = PoseWithCovariance()
    msg.pose.position.x, msg.pose.position.y = pose.x, pose.y
    x, y, z, w = tf_transformations.quaternion_from_euler(0.0, 0.0, pose.yaw)
    msg.pose.orientation = Quaternion(x=float(x), y=float(y), z=float(z), w=float(w))
    full = np.diag([0.0, 0.0, UNKNOWN_VARIANCE, UNKNOWN_VARIANCE, UNKNOWN_VARIANCE, 0.0])
    planar = [0, 1, 5]
    full[np.ix_(planar, planar)] = covariance
    msg.covariance = full.ravel()
    return msg


def pose_stamped_message(estimate: Estimate, frame_id: str) -> PoseWithCovarianceStamped:
    """~/pose of an accepted estimate, at the stamp of the image."""
    if not estimate.accepted or estimate.pose is None or estimate.covariance is None:
        raise ValueError(f"a rejected estimate is not published as a pose: {estimate.reason}")
    header = Header(stamp=time_message(estimate.stamp_ns), frame_id=frame_id)
    return PoseWithCovarianceStamped(
        header=header, pose=pose_message(estimate.pose, estimate.covariance)
    )


def registration_message(
    estimate: Estimate,
    camera: Camera | None,
    frame: LocalFrame | None,
    *,
    image_size: tuple[int, int],
    frame_id: str,
    map_offset_m: tuple[float, float],
    attribution: str,
    checkpoint: str,
) -> Any:
    """~/registration of any estimate; image_size is (width, height)."""
    from g2s_localizer.msg import Registration

    msg = Registration()
    msg.header = Header(stamp=time_message(estimate.stamp_ns), frame_id=frame_id)
    msg.datum_latitude = frame.datum.lat if frame else math.nan
    msg.datum_longitude = frame.datum.lon if frame else math.nan
    msg.image_width, msg.image_height = image_size
    if camera is not None:
        msg.camera_matrix = camera.K.ravel()
    if estimate.prior is not None:
        msg.has_prior = True
        msg.prior = pose_message(estimate.prior.pose, estimate.prior.covariance)
    if estimate.pose is not None and estimate.covariance is not None:
        msg.has_pose = True
        msg.pose = pose_message(estimate.pose, estimate.covariance)
    msg.accepted = estimate.accepted
    msg.rejection = rejection_code(estimate.rejection)
    msg.rejection_reason = estimate.reason
    msg.innovation, msg.entropy = estimate.innovation, estimate.entropy
    msg.peak_ratio, msg.latency = estimate.peak_ratio, estimate.latency_s
    msg.correlation, msg.min_correlation = estimate.correlation, estimate.min_correlation
    msg.latency_from_arrival = msg.latency_from_stamp = math.nan
    msg.warnings = list(estimate.warnings)
    msg.map_offset_east, msg.map_offset_north = map_offset_m
    msg.attribution, msg.checkpoint = attribution, checkpoint
    return msg


def rejection_code(rejection: Rejection | None) -> int:
    """The constant of Registration.msg: 0 for none, else the place among the members from 1."""
    return 0 if rejection is None else 1 + list(Rejection).index(rejection)


def image_message(pixels: NDArray[np.uint8], header: Header, encoding: str, width: int) -> Image:
    """Rows of bytes -> sensor_msgs/Image."""
    # An array.array is taken as it is; a NumPy array or bytes would be copied value by value.
    data = array("B", np.ascontiguousarray(pixels).tobytes())
    step = width * CHANNELS[encoding]
    return Image(
        header=header,
        height=pixels.shape[0],
        width=width,
        encoding=encoding,
        step=step,
        data=data,
    )
