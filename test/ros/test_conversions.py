# SPDX-License-Identifier: Apache-2.0
import math
from types import SimpleNamespace

import numpy as np
import pytest
from geometry_msgs.msg import Quaternion, Transform, Vector3
from nav_msgs.msg import Odometry
from sensor_msgs.msg import Image, Imu, NavSatFix
from std_msgs.msg import Header

from g2s_localizer.estimator.estimate import Estimate, Prior, Rejection
from g2s_localizer.geometry import Camera, LatLon, LocalFrame, Pose2D
from g2s_localizer.geometry.mounting import extrinsic_from_parameters
from g2s_localizer.ros import conversions as c

PIXELS = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
T = extrinsic_from_parameters((1.0, 0.0, 1.5), (0.0, 0.0, 0.0))
PRIOR = Prior(7, Pose2D(3, 4, 1.0), np.diag([4.0, 9.0, 0.01]), LocalFrame(LatLon(49.0, 8.4)))
COVARIANCE = np.array([[2.0, 0.5, 0.01], [0.5, 1.0, 0.02], [0.01, 0.02, 0.03]])


def test_a_transform_message_and_the_parameters_mean_the_same_extrinsic():
    rotation = Quaternion(x=-0.5, y=0.5, z=-0.5, w=0.5)
    message = Transform(translation=Vector3(x=1.0, z=1.5), rotation=rotation)
    np.testing.assert_allclose(c.matrix_from_transform(message), T, atol=1e-12)


def fix(**changes):
    fields = {"latitude": -33.9, "longitude": 18.4, "position_covariance_type": 3}
    message = NavSatFix(**(fields | changes))
    message.status.status = 0
    if "position_covariance" not in changes:
        message.position_covariance = np.array([4.0, 1.0, 0, 1.0, 9.0, 0, 0, 0, 16.0])
    return message


def test_a_fix_keeps_its_place_and_covariance():
    place, covariance = c.fix_from_message(fix(), 10.0)
    assert place == LatLon(-33.9, 18.4)
    np.testing.assert_array_equal(covariance, [[4, 1], [1, 9]])


@pytest.mark.parametrize(
    "changes", [{"position_covariance_type": 0}, {"position_covariance": np.zeros(9)}]
)
def test_a_fix_of_unknown_or_no_error_gets_the_default(changes):
    np.testing.assert_array_equal(c.fix_from_message(fix(**changes), 5.0)[1], 25 * np.eye(2))


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("latitude", math.nan, "nan"),
        ("longitude", math.inf, "inf"),
        ("latitude", 91.0, "91.0"),
        ("position_covariance", np.full(9, np.nan), "position_covariance is"),
    ],
)
def test_a_fix_that_is_none_says_the_value(field, value, said):
    with pytest.raises(ValueError, match=f"NavSatFix.*{said}"):
        c.fix_from_message(fix(**{field: value}), 10.0)


@pytest.mark.parametrize("status", [-1, -2])
def test_a_receiver_without_a_fix_says_its_status(status):
    message = fix()
    message.status.status = status
    with pytest.raises(ValueError, match=f"status is {status}"):
        c.fix_from_message(message, 10.0)


def imu(roll=0.0, pitch=0.0, yaw=0.0, variance=0.02):
    x, y, z, w = c.tf_transformations.quaternion_from_euler(roll, pitch, yaw)
    message = Imu(orientation=Quaternion(x=x, y=y, z=z, w=w))
    message.orientation_covariance = np.diag([0.5, 0.5, variance]).ravel()
    return message


@pytest.mark.parametrize("yaw", [-3.0, -1.0, 0.0, 2.5])
def test_a_heading_is_the_yaw_of_the_base_however_the_imu_is_mounted(yaw):
    mounting = c.matrix_from_rpy(math.pi / 2, 0.0, -math.pi / 2)
    R = c.matrix_from_rpy(0.02, -0.03, yaw) @ mounting
    q = quaternion_of(R)
    message = imu()
    message.orientation = Quaternion(x=q[0], y=q[1], z=q[2], w=q[3])
    assert c.heading_from_imu(message, mounting, 0.1) == pytest.approx((yaw, 0.02), abs=1e-9)


def quaternion_of(R):
    w = math.sqrt(max(0.0, 1 + np.trace(R))) / 2
    axis = np.array([R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1]])
    return [*(axis / (4 * w)), w]


def test_the_offset_is_added_and_a_zero_variance_gets_the_default():
    heading = c.heading_from_imu(imu(yaw=1.0, variance=0.0), np.eye(3), 0.1, offset=0.25)
    assert heading == pytest.approx((1.25, 0.01))


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (imu(pitch=math.pi / 2), "pitched by 90 degrees: is the IMU's mounting set"),
        (imu(variance=math.nan), "variance of yaw is nan"),
        (Imu(orientation=Quaternion(w=0.0)), r"\[0.0, 0.0, 0.0, 0.0\] has length 0"),
        (Imu(orientation=Quaternion(w=math.nan)), "has length nan"),
        (Imu(orientation_covariance=[-1.0, *[0.0] * 8]), "this IMU has no orientation"),
    ],
)
def test_an_imu_without_a_heading_says_why(message, said):
    with pytest.raises(ValueError, match=said):
        c.heading_from_imu(message, np.eye(3), 0.1)


def test_the_heading_of_an_odometry_is_its_yaw():
    message = Odometry()
    message.pose.pose.orientation = imu(yaw=-2.0).orientation
    message.pose.covariance[35] = 0.04
    assert c.heading_from_odometry(message, 0.1, 0.5) == pytest.approx((-1.5, 0.04))


def test_a_pose_message_never_says_zero_of_what_it_does_not_know():
    message = c.pose_message(Pose2D(1, 2, 0.5), COVARIANCE)
    full = np.reshape(message.covariance, (6, 6))
    np.testing.assert_array_equal(full[np.ix_([0, 1, 5], [0, 1, 5])], COVARIANCE)
    assert [full[i, i] for i in (2, 3, 4)] == [1e6] * 3
    assert 2 * math.atan2(message.pose.orientation.z, message.pose.orientation.w) == pytest.approx(
        0.5
    )


def test_the_stamp_is_kept_to_the_nanosecond():
    stamp = 1_317_046_245_123_456_789
    assert c.stamp_ns(SimpleNamespace(stamp=c.time_message(stamp))) == stamp


def test_a_pose_is_published_in_map_at_the_images_stamp():
    message = c.pose_stamped_message(Estimate(7, PRIOR, PRIOR.pose, COVARIANCE), "map")
    assert (message.header.frame_id, c.stamp_ns(message.header)) == ("map", 7)


def test_a_rejected_estimate_is_never_made_a_pose():
    estimate = Estimate(7, PRIOR, PRIOR.pose, COVARIANCE, Rejection.WIDE_ELLIPSE)
    with pytest.raises(ValueError, match="error ellipse is too long"):
        c.pose_stamped_message(estimate, "map")


def registration(estimate, camera=None):
    return c.registration_message(
        estimate, camera, PRIOR.frame, image_size=(128, 96), frame_id="map",
        map_offset_m=(1.5, -0.7), attribution="city", checkpoint="net@1",
    )  # fmt: skip


def test_a_registration_says_all_of_an_estimate(registration_type):
    K = np.array([[80.0, 0.0, 63.5], [0.0, 81.0, 30.0], [0.0, 0.0, 1.0]])
    camera = Camera(K, 128, 96, np.zeros(5), T)
    estimate = Estimate(7, PRIOR, Pose2D(5, 6, 1), COVARIANCE, innovation=1.5, latency_s=0.2)
    message = registration(estimate, camera)
    assert (message.accepted, message.rejection, message.rejection_reason) == (True, 0, "")
    assert (message.datum_latitude, message.datum_longitude) == (49.0, 8.4)
    assert (message.image_width, message.image_height) == (128, 96)
    np.testing.assert_array_equal(message.camera_matrix, K.ravel())
    assert message.has_prior and message.prior.pose.position.y == 4.0
    assert message.has_pose and message.pose.pose.position.x == 5.0
    assert message.innovation == 1.5 and math.isnan(message.entropy)
    assert (message.map_offset_east, message.map_offset_north) == (1.5, -0.7)
    assert (message.attribution, message.checkpoint) == ("city", "net@1")


@pytest.mark.parametrize("rejection", list(Rejection))
def test_every_rejection_has_its_constant(registration_type, rejection):
    message = registration(Estimate(7, rejection=rejection, detail="seen 3, limit 2"))
    assert message.rejection == getattr(registration_type, rejection.name)
    assert message.rejection_reason == f"{rejection.value} (seen 3, limit 2)"
    assert not (message.accepted or message.has_pose or message.has_prior)


def test_image_messages_are_filled_without_a_copy_per_value():
    message = c.image_message(PIXELS, Header(frame_id="map"), "rgb8", 3)
    assert isinstance(message, Image) and message.step == 9
    assert bytes(message.data) == PIXELS.tobytes()
