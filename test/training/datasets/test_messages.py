# SPDX-License-Identifier: Apache-2.0
"""What is recorded is read as the node reads it: training/ may not import ros/, tests may."""

import cv2
import numpy as np
import pytest

from g2s_localizer.ros import conversions
from g2s_localizer.tools.bag import jazzy_types
from training.datasets import messages

TYPES = jazzy_types().types
RNG = np.random.default_rng(3)


def new(kind, **fields):
    return TYPES[kind](**fields)


HEADER = new(
    "std_msgs/msg/Header",
    stamp=new("builtin_interfaces/msg/Time", sec=12, nanosec=345_678_901),
    frame_id="camera",
)


def image(encoding="bgr8", padding=0):
    channels = {"mono8": 1}.get(encoding, 3)
    step = 7 * channels + padding
    data = RNG.integers(0, 256, 5 * step, dtype=np.uint8)
    return new(
        "sensor_msgs/msg/Image", header=HEADER, height=5, width=7, encoding=encoding,
        is_bigendian=0, step=step, data=data,
    )  # fmt: skip


def camera_info(**changes):
    roi = new(
        "sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0,
        do_rectify=False,
    )  # fmt: skip
    fields = {
        "header": HEADER, "height": 48, "width": 64, "distortion_model": "plumb_bob",
        "d": np.array([-0.3, 0.1, 0.01, -0.02, 0.0]),
        "k": np.array([50.0, 0, 31, 0, 51, 23, 0, 0, 1]), "r": np.eye(3).ravel(),
        "p": np.array([40.0, 0, 30, 0, 0, 41, 22, 0, 0, 0, 1, 0]),
        "binning_x": 0, "binning_y": 0, "roi": roi,
    }  # fmt: skip
    return new("sensor_msgs/msg/CameraInfo", **{**fields, **changes})


def imu(yaw_variance=0.01):
    x, y, z, w = np.array([0.1, -0.2, 0.6, 0.7]) / np.linalg.norm([0.1, -0.2, 0.6, 0.7])
    vector = new("geometry_msgs/msg/Vector3", x=0.0, y=0.0, z=0.0)
    covariance = np.diag([0.1, 0.1, yaw_variance]).ravel()
    return new(
        "sensor_msgs/msg/Imu", header=HEADER,
        orientation=new("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w),
        orientation_covariance=covariance, angular_velocity=vector,
        angular_velocity_covariance=covariance, linear_acceleration=vector,
        linear_acceleration_covariance=covariance,
    )  # fmt: skip


def fix(kind=2, variance=4.0, status=0):
    return new(
        "sensor_msgs/msg/NavSatFix", header=HEADER, latitude=49.0, longitude=8.4, altitude=100.0,
        status=new("sensor_msgs/msg/NavSatStatus", status=status, service=1),
        position_covariance=np.diag([variance] * 3).ravel(), position_covariance_type=kind,
    )  # fmt: skip


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "mono8"])
def test_images_are_read_as_by_the_node(encoding, padding):
    message = image(encoding, padding)
    expected = conversions.image_from_message(message)
    assert np.array_equal(messages.image_from(message), expected)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_compressed_images_are_read_as_by_the_node(suffix):
    data = cv2.imencode(suffix, RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8))[1]
    message = new(
        "sensor_msgs/msg/CompressedImage", header=HEADER, format=suffix[1:], data=data.ravel()
    )
    expected = conversions.image_from_compressed(message)
    assert np.array_equal(messages.image_from(message), expected)


@pytest.mark.parametrize("rectified", [True, False])
def test_the_camera_is_the_node_s(rectified):
    T = messages.extrinsic((1.0, 0.2, 1.5), (0.1, -0.2, 0.3))
    ours = messages.camera_from(camera_info(), T, rectified)
    node = conversions.camera_from_message(camera_info(), T, rectified)
    for name in ("K", "distortion", "T_base_camera"):
        assert np.array_equal(getattr(ours, name), getattr(node, name))


def test_the_extrinsic_is_the_node_s():
    translation, rpy = (1.0, 0.2, 1.5), (0.4, -0.7, 2.0)
    expected = conversions.extrinsic_from_parameters(translation, rpy)
    np.testing.assert_allclose(messages.extrinsic(translation, rpy), expected, atol=1e-12)


def test_the_heading_is_the_node_s():
    mounted = messages.rotation_from_rpy((0.1, 0.2, 3.0))
    for variance in (0.01, 0.0):
        ours = messages.heading_from(imu(variance), mounted, 0.05, 0.3)
        assert ours == pytest.approx(
            conversions.heading_from_imu(imu(variance), mounted, 0.05, 0.3)
        )


@pytest.mark.parametrize(("kind", "variance"), [(2, 4.0), (0, 4.0), (2, 0.0)])
def test_the_fix_is_the_node_s(kind, variance):
    place, covariance = messages.fix_from(fix(kind, variance), 7.0)
    expected_place, expected = conversions.fix_from_message(fix(kind, variance), 7.0)
    assert place == expected_place and np.array_equal(covariance, expected)


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (lambda: messages.image_from(image("bayer_rggb8")), "'bayer_rggb8' is none of rgb8"),
        (lambda: messages.image_from(new("sensor_msgs/msg/CompressedImage", header=HEADER,
            format="jpeg", data=np.zeros(9, np.uint8))), "format 'jpeg' cannot be decoded"),
        (lambda: messages.camera_from(camera_info(distortion_model="fisheye"), np.eye(4), 0),
            "distortion model 'fisheye' of 5 numbers is not plumb_bob"),
        (lambda: messages.camera_from(camera_info(binning_x=2), np.eye(4), 0), "binning 2 x 0"),
        (lambda: messages.fix_from(fix(status=-1), 7.0), "status is -1: no fix"),
        (lambda: messages.heading_from(imu(np.nan), np.eye(3), 0.05, 0.0), "variance nan"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named(read, said):
    with pytest.raises(ValueError, match=said):
        read()
