# SPDX-License-Identifier: Apache-2.0
import math
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from geometry_msgs.msg import Quaternion, Transform, Vector3
from nav_msgs.msg import Odometry
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, Imu, NavSatFix
from std_msgs.msg import Header

from g2s_localizer.estimator.estimate import Estimate, Prior, Rejection
from g2s_localizer.geometry import Camera, LatLon, LocalFrame, Pose2D
from g2s_localizer.ros import conversions as c

PIXELS = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
T = c.extrinsic_from_parameters(np.array([1.0, 0.0, 1.5]), np.zeros(3))
PRIOR = Prior(7, Pose2D(3, 4, 1.0), np.diag([4.0, 9.0, 0.01]), LocalFrame(LatLon(49.0, 8.4)))
COVARIANCE = np.array([[2.0, 0.5, 0.01], [0.5, 1.0, 0.02], [0.01, 0.02, 0.03]])


def encoded(pixels, encoding, padding=0):
    rows = pixels.reshape(pixels.shape[0], -1)
    rows = np.hstack([rows, np.full((rows.shape[0], padding), 255, np.uint8)])
    message = c.image_message(rows, Header(), encoding, pixels.shape[1])
    message.step = rows.shape[1]
    return message


@pytest.mark.parametrize("padding", [0, 5])
def test_every_encoding_gives_the_same_rgb_with_and_without_padding(padding):
    for message in (encoded(PIXELS, "rgb8", padding), encoded(PIXELS[..., ::-1], "bgr8", padding)):
        np.testing.assert_array_equal(c.image_from_message(message), PIXELS)
    grey = c.image_from_message(encoded(PIXELS[..., 0], "mono8", padding))
    np.testing.assert_array_equal(grey, np.repeat(PIXELS[..., :1], 3, axis=2))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"encoding": "bayer_rggb8"}, "'bayer_rggb8' is none of rgb8, bgr8, mono8"),
        ({"width": 0}, "0 x 2"),
        ({"step": 8}, "step 8 is less than a row of 9"),
        ({"height": 3}, "18 bytes, 9 x 3 = 27 expected"),
    ],
)
def test_an_image_that_cannot_be_read_says_what_it_has(change, said):
    message = encoded(PIXELS, "rgb8")
    for field, value in change.items():
        setattr(message, field, value)
    with pytest.raises(ValueError, match=said):
        c.image_from_message(message)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_compressed_image_is_decoded_to_rgb(suffix):
    pixels = np.full((16, 16, 3), (200, 100, 30), np.uint8)
    data = cv2.imencode(f".{suffix}", pixels[..., ::-1])[1].tobytes()
    decoded = c.image_from_compressed(CompressedImage(format=suffix, data=data))
    np.testing.assert_allclose(decoded.astype(int), pixels, atol=3)


@pytest.mark.parametrize("data", [b"", b"not an image"])
def test_a_compressed_image_that_is_none_says_its_format_and_size(data):
    with pytest.raises(ValueError, match=f"'jpeg', {len(data)} bytes"):
        c.image_from_compressed(CompressedImage(format="jpeg", data=data))


def info(**changes):
    fields = {
        "width": 128,
        "height": 96,
        "distortion_model": "plumb_bob",
        "k": [80.0, 0.0, 63.5, 0.0, 81.0, 30.0, 0.0, 0.0, 1.0],
        "d": [-0.3, 0.1, 0.001, 0.002, 0.01],
        "p": [70.0, 0.0, 60.0, 5.0, 0.0, 71.0, 31.0, 0.0, 0.0, 0.0, 1.0, 0.0],
    }
    return CameraInfo(**(fields | changes))


def test_raw_images_take_k_and_d_rectified_ones_p_without_distortion():
    raw = c.camera_from_message(info(), T, rectified=False)
    assert (raw.K[1, 1], raw.distortion[0], raw.width) == (81.0, -0.3, 128)
    rectified = c.camera_from_message(info(), T, rectified=True)
    assert (rectified.K[1, 1], rectified.K[0, 2], rectified.is_distorted) == (71.0, 60.0, False)


def test_no_distortion_coefficients_mean_no_distortion():
    assert not c.camera_from_message(info(d=[], distortion_model=""), T, False).is_distorted


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"k": [0.0] * 9}, "fx 0.0"),
        ({"k": [math.nan] * 9}, "Camera.K must be finite"),
        ({"width": 0}, "0 x 96"),
        ({"distortion_model": "equidistant"}, "'equidistant' is not plumb_bob"),
        ({"d": [0.1] * 8}, "CameraInfo.d has 8"),
        ({"binning_x": 2}, "binning 2 x 0"),
    ],
)
def test_a_camera_info_that_is_no_camera_says_why(changes, said):
    with pytest.raises(ValueError, match=said):
        c.camera_from_message(info(**changes), T, rectified=False)


def test_zero_angles_look_ahead_pitch_looks_down_and_yaw_looks_left():
    def axis(*rpy):
        return c.extrinsic_from_parameters(np.zeros(3), np.array(rpy))[:3, 2]

    np.testing.assert_allclose(axis(0, 0, 0), [1, 0, 0], atol=1e-12)
    assert axis(0, 0.1, 0)[2] == pytest.approx(-math.sin(0.1))
    assert axis(0, 0, 0.1)[1] == pytest.approx(math.sin(0.1))


def test_a_point_ahead_is_seen_below_the_horizon_in_the_middle():
    camera = c.camera_from_message(info(d=[]), T, rectified=False)
    uv, depth = camera.project([[11.0, 0.0, 0.0]])
    assert depth[0] == pytest.approx(10.0)
    assert tuple(uv[0]) == pytest.approx((63.5, 30.0 + 81.0 * 0.15))


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
    camera = Camera(np.reshape(info().k, (3, 3)), 128, 96, np.zeros(5), T)
    estimate = Estimate(7, PRIOR, Pose2D(5, 6, 1), COVARIANCE, innovation=1.5, latency_s=0.2)
    message = registration(estimate, camera)
    assert (message.accepted, message.rejection, message.rejection_reason) == (True, 0, "")
    assert (message.datum_latitude, message.datum_longitude) == (49.0, 8.4)
    assert (message.image_width, message.image_height) == (128, 96)
    np.testing.assert_array_equal(message.camera_matrix, info().k)
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
