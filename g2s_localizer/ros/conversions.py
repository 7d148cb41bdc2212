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
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from g2s_localizer.estimator.estimate import UNKNOWN_VARIANCE, Estimate, Rejection
from g2s_localizer.geometry import Camera, LocalFrame, Panorama, Pose2D
from g2s_localizer.messages import stamp_ns as stamp_ns
from g2s_localizer.motion_messages import matrix_from_quaternion
from g2s_localizer.ros.compat import tf_transformations

FloatArray = NDArray[np.float64]

CHANNELS = {"rgb8": 3, "bgr8": 3, "mono8": 1}


def time_message(stamp: int) -> Time:
    return Time(sec=stamp // 1_000_000_000, nanosec=stamp % 1_000_000_000)


def matrix_from_transform(transform: Any) -> FloatArray:
    """Convert geometry_msgs/Transform to homogeneous (4, 4)."""
    T = np.eye(4)
    T[:3, :3] = matrix_from_quaternion(transform.rotation)
    T[:3, 3] = transform.translation.x, transform.translation.y, transform.translation.z
    return T


def pose_message(pose: Pose2D, covariance: FloatArray) -> PoseWithCovariance:
    """Return pose in the plane with covariance (3, 3); z, roll and pitch are said to be unknown."""
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
    """Return ~/pose of an accepted estimate, at the stamp of the image."""
    if not estimate.accepted or estimate.pose is None or estimate.covariance is None:
        raise ValueError(f"a rejected estimate is not published as a pose: {estimate.reason}")
    header = Header(stamp=time_message(estimate.stamp_ns), frame_id=frame_id)
    return PoseWithCovarianceStamped(
        header=header, pose=pose_message(estimate.pose, estimate.covariance)
    )


def registration_message(
    estimate: Estimate,
    camera: Camera | Panorama | None,
    frame: LocalFrame | None,
    *,
    image_size: tuple[int, int],
    frame_id: str,
    map_offset_m: tuple[float, float],
    attribution: str,
    checkpoint: str,
) -> Any:
    """Return ~/registration of any estimate; image_size is (width, height)."""
    from g2s_localizer.msg import Registration

    msg = Registration()
    msg.header = Header(stamp=time_message(estimate.stamp_ns), frame_id=frame_id)
    msg.datum_latitude = frame.datum.lat if frame else math.nan
    msg.datum_longitude = frame.datum.lon if frame else math.nan
    msg.image_width, msg.image_height = image_size
    if camera is not None and camera.K is not None:
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
    msg.presence = estimate.presence
    msg.latency_from_arrival = msg.latency_from_stamp = math.nan
    msg.warnings = list(estimate.warnings)
    msg.map_offset_east, msg.map_offset_north = map_offset_m
    msg.attribution, msg.checkpoint = attribution, checkpoint
    return msg


def rejection_code(rejection: Rejection | None) -> int:
    """Return constant of Registration.msg: 0 for none, else the place among the members from 1."""
    return 0 if rejection is None else 1 + list(Rejection).index(rejection)


def image_message(pixels: NDArray[np.uint8], header: Header, encoding: str, width: int) -> Image:
    """Convert rows of bytes to sensor_msgs/Image."""
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
