# SPDX-License-Identifier: Apache-2.0
"""One vehicle, for messages that rclpy made and for those that rosbags deserialised."""

import math

import numpy as np
import pytest
from geometry_msgs.msg import Quaternion
from nav_msgs.msg import Odometry
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Imu, NavSatFix

from g2s_localizer.geometry.mounting import extrinsic_from_parameters, matrix_from_rpy
from g2s_localizer.motion_messages import fix_from_message, heading_from_imu
from g2s_localizer.ros.sensor_input import BridgeConfig
from g2s_localizer.tools.bags.new_bag import jazzy_types
from g2s_localizer.vehicle import VehicleConfig
from training.data.bag_config import BagConfig

CAR = VehicleConfig(
    camera_translation=(1.1, -0.2, 1.3),
    camera_rpy=(0.0, 0.1, 0.02),
    base_link_height=0.4,
    antenna_offset=(-0.5, 0.1),
    gnss_default_sigma_m=7.0,
    imu_rpy=(0.1, 0.2, 3.0),
    heading_offset=0.3,
)
AS_NODE = BridgeConfig(
    **vars(CAR), map_frame="map", datum=None, heading_source="imu", max_gap_s=1.0,
    max_extrapolation_s=1.0,
)  # fmt: skip
AS_BAG = BagConfig(**vars(CAR))


def recorded(message):
    """The message as rosbags reads it."""
    name = f"{type(message).__module__.split('.')[0]}/msg/{type(message).__name__}"
    return jazzy_types().deserialize_cdr(serialize_message(message), name)


def imu(yaw_variance):
    x, y, z, w = np.array([0.1, -0.2, 0.6, 0.7]) / np.linalg.norm([0.1, -0.2, 0.6, 0.7])
    covariance = np.diag([0.1, 0.1, yaw_variance]).ravel()
    return Imu(orientation=Quaternion(x=x, y=y, z=z, w=w), orientation_covariance=covariance)


def fix(kind=2, variance=4.0, status=0):
    message = NavSatFix(latitude=49.0, longitude=8.4, position_covariance_type=kind)
    message.position_covariance = np.diag([variance] * 3).ravel()
    message.status.status = status
    return message


@pytest.mark.parametrize("variance", [0.01, 0.0])
def test_a_recorded_heading_is_read_as_a_live_one(variance):
    expected = heading_from_imu(imu(variance), matrix_from_rpy(0.1, 0.2, 3.0), 0.05, 0.3)
    assert AS_NODE.heading_of(imu(variance)) == expected
    assert AS_BAG.heading_of(recorded(imu(variance))) == pytest.approx(expected, abs=1e-12)


def test_an_odometry_s_heading_has_the_offset_and_no_imu():
    odometry = Odometry()
    odometry.pose.pose.orientation = Quaternion(z=math.sin(0.2), w=math.cos(0.2))
    for message in (odometry, recorded(odometry)):
        assert CAR.heading_of(message) == pytest.approx((0.7, 0.05**2))


@pytest.mark.parametrize(("kind", "variance"), [(2, 4.0), (0, 4.0), (2, 0.0)])
def test_a_recorded_fix_is_read_as_a_live_one(kind, variance):
    place, covariance = fix_from_message(fix(kind, variance), 7.0)
    for car, message in ((AS_NODE, fix(kind, variance)), (AS_BAG, recorded(fix(kind, variance)))):
        assert car.fix_of(message)[0] == place
        np.testing.assert_array_equal(car.fix_of(message)[1], covariance)


@pytest.mark.parametrize(
    ("read", "message", "said"),
    [
        (AS_BAG.fix_of, fix(status=-1), "status is -1"),
        (AS_BAG.heading_of, imu(np.nan), "variance of yaw"),
    ],
)
def test_what_cannot_be_used_is_named(read, message, said):
    with pytest.raises(ValueError, match=said):
        read(recorded(message))


def test_the_camera_stands_on_the_road_whoever_says_where_it_is():
    expected = extrinsic_from_parameters((1.1, -0.2, 1.7), (0.0, 0.1, 0.02))
    looked_up = extrinsic_from_parameters((1.1, -0.2, 1.3), (0.0, 0.1, 0.02))
    for car in (AS_NODE, AS_BAG):
        np.testing.assert_allclose(car.T_base_camera(), expected)
        np.testing.assert_allclose(car.T_base_camera(looked_up), expected)


def test_a_camera_that_the_transforms_place_has_no_other_place():
    nan = (math.nan,) * 3
    car = VehicleConfig(nan, nan)
    assert car.T_base_camera(np.eye(4)).tolist() == np.eye(4).tolist()
    with pytest.raises(ValueError, match="camera_translation, camera_rpy must be finite, got"):
        car.T_base_camera()


@pytest.mark.parametrize("kind", [VehicleConfig, BagConfig])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"camera_rpy": (0.0, 0.1)}, r"camera_rpy needs 3 numbers, got \(0.0, 0.1\)"),
        ({"antenna_offset": (0.0, 0.1, 2.0)}, "antenna_offset needs 2 numbers"),
        ({"imu_rpy": (0.0, math.inf, 0.0)}, "imu_rpy must be finite"),
        ({"imu_convention": "nwu"}, "imu_convention must be one of enu, ned, got 'nwu'"),
        ({"heading_default_sigma": 0.0}, "heading_default_sigma must be positive, got 0.0"),
        ({"gnss_default_sigma_m": math.nan}, "gnss_default_sigma_m must be finite, got nan"),
    ],
)
def test_a_field_that_makes_no_vehicle_is_named(kind, change, said):
    with pytest.raises(ValueError, match=f"{kind.__name__}.{said}"):
        kind(**(vars(CAR) | change))
