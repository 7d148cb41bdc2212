# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseWithCovariance, Quaternion, TwistWithCovariance
from nav_msgs.msg import Odometry
from sensor_msgs.msg import Imu, NavSatFix
from std_msgs.msg import Header

from g2s_localizer import motion_messages as m
from g2s_localizer.geometry import LatLon, Pose2D
from g2s_localizer.geometry.mounting import matrix_from_rpy
from g2s_localizer.ros.conversions import pose_message


def fix(**changes):
    fields = {"latitude": -33.9, "longitude": 18.4, "position_covariance_type": 3}
    message = NavSatFix(**(fields | changes))
    message.status.status = 0
    if "position_covariance" not in changes:
        message.position_covariance = np.array([4.0, 1.0, 0, 1.0, 9.0, 0, 0, 0, 16.0])
    return message


def test_a_fix_keeps_its_place_and_covariance():
    place, covariance = m.fix_from_message(fix(), 10.0)
    assert place == LatLon(-33.9, 18.4)
    np.testing.assert_array_equal(covariance, [[4, 1], [1, 9]])


@pytest.mark.parametrize(
    "changes", [{"position_covariance_type": 0}, {"position_covariance": np.zeros(9)}]
)
def test_a_fix_of_unknown_or_no_error_gets_the_default(changes):
    np.testing.assert_array_equal(m.fix_from_message(fix(**changes), 5.0)[1], 25 * np.eye(2))


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
        m.fix_from_message(fix(**{field: value}), 10.0)


def test_a_receiver_without_a_fix_says_its_status():
    message = fix()
    message.status.status = -1
    with pytest.raises(ValueError, match="status is -1: the receiver claims no fix"):
        m.fix_from_message(message, 10.0)


def test_a_status_that_no_driver_filled_in_is_taken():
    message = fix()
    message.status.status = NavSatFix().status.status
    assert message.status.status == -2
    assert m.fix_from_message(message, 10.0)[0] == LatLon(-33.9, 18.4)


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_an_unknown_covariance_may_hold_anything(value):
    message = fix(position_covariance_type=0, position_covariance=np.full(9, value))
    np.testing.assert_array_equal(m.fix_from_message(message, 5.0)[1], 25 * np.eye(2))


@pytest.mark.parametrize("place", [(0.0, 0.0), (-0.0, 1e-9)])
def test_null_island_is_no_fix(place):
    with pytest.raises(ValueError, match=r"NavSatFix is at \(0, 0\)"):
        m.fix_from_message(fix(latitude=place[0], longitude=place[1]), 10.0)


@pytest.mark.parametrize(
    ("sec", "nanosec", "said"),
    [(0, 0, "is 0: the driver"), (-5, 0, "-5 s"), (5, 10**9, "1000000000 ns: no time")],
)
def test_a_stamp_that_is_no_time_says_so(sec, nanosec, said):
    with pytest.raises(ValueError, match=f"header.stamp is .*{said}|header.stamp {said}"):
        m.checked_stamp_ns(Header(stamp=Time(sec=sec, nanosec=nanosec)))


def imu(roll=0.0, pitch=0.0, yaw=0.0, variance=0.02):
    x, y, z, w = quaternion_of(matrix_from_rpy(roll, pitch, yaw))
    message = Imu(orientation=Quaternion(x=x, y=y, z=z, w=w))
    message.orientation_covariance = np.diag([0.5, 0.5, variance]).ravel()
    return message


NORTH_EAST_DOWN = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])


@pytest.mark.parametrize("yaw", [-3.0, -1.0, 0.0, 2.5])
@pytest.mark.parametrize(
    ("convention", "axes"), [("enu", np.eye(3)), ("ned", NORTH_EAST_DOWN)], ids=["enu", "ned"]
)
def test_a_heading_is_the_yaw_of_the_base_however_the_imu_is_mounted(yaw, convention, axes):
    mounting = matrix_from_rpy(math.pi / 2, 0.0, -math.pi / 2)
    R = axes @ matrix_from_rpy(0.02, -0.03, yaw) @ mounting
    q = quaternion_of(R)
    message = imu()
    message.orientation = Quaternion(x=q[0], y=q[1], z=q[2], w=q[3])
    heading = m.heading_from_imu(message, mounting, 0.1, convention=convention)
    assert heading == pytest.approx((yaw, 0.02), abs=1e-9)


def test_a_yaw_that_is_said_to_be_clockwise_from_north_is_read_so():
    heading = m.heading_from_imu(imu(yaw=0.3), np.eye(3), 0.1, 0.1, "ned")
    assert heading[0] == pytest.approx(math.pi / 2 - 0.3 + 0.1)


def quaternion_of(R):
    w = math.sqrt(max(0.0, 1 + np.trace(R))) / 2
    axis = np.array([R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1]])
    return [*(axis / (4 * w)), w]


def test_the_offset_is_added_and_a_zero_variance_gets_the_default():
    heading = m.heading_from_imu(imu(yaw=1.0, variance=0.0), np.eye(3), 0.1, offset=0.25)
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
        m.heading_from_imu(message, np.eye(3), 0.1)


def test_the_heading_of_an_odometry_is_its_yaw():
    message = Odometry()
    message.pose.pose.orientation = imu(yaw=-2.0).orientation
    message.pose.covariance[35] = 0.04
    assert m.heading_from_odometry(message, 0.1, 0.5) == pytest.approx((-1.5, 0.04))


def twist(forward=8.0, yaw_rate=0.2, variance=0.0):
    message = TwistWithCovariance()
    message.twist.linear.x, message.twist.angular.z = forward, yaw_rate
    message.covariance = (np.eye(6) * variance).ravel()
    return message


def test_a_twist_keeps_its_variances_and_gets_defaults_where_it_has_none():
    assert m.motion_from_twist(twist(variance=0.04)) == (8.0, 0.0, 0.2, 0.04, 0.04)
    for unknown in (0.0, -1.0, math.nan):
        found = m.motion_from_twist(twist(variance=unknown))
        assert found[3:] == pytest.approx((0.5**2, 0.05**2))


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"forward": math.nan}, "nan"), ({"forward": 130.0}, "km/h"), ({"yaw_rate": 20.0}, "degrees")],
)
def test_a_twist_that_is_none_says_the_value(changes, said):
    with pytest.raises(ValueError, match=said):
        m.motion_from_twist(twist(**changes))


def test_a_pose_is_read_as_it_is_written():
    pose, covariance = Pose2D(3.0, -4.0, 2.5), np.diag([4.0, 1.0, 0.01])
    read = m.pose_from_message(pose_message(pose, covariance))
    assert (read[0].x, read[0].y, read[0].yaw) == pytest.approx((3.0, -4.0, 2.5))
    np.testing.assert_array_equal(read[1], covariance)


def test_a_pose_without_an_error_is_no_prior():
    message = PoseWithCovariance()
    message.pose.orientation.w = 1.0
    with pytest.raises(ValueError, match="does not know its error"):
        m.pose_from_message(message)
