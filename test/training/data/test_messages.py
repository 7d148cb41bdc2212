# SPDX-License-Identifier: Apache-2.0
"""What is recorded is read as the node reads it."""

import numpy as np
import pytest

from g2s_localizer import motion_messages
from g2s_localizer.geometry.mounting import matrix_from_rpy
from g2s_localizer.tools.bag import jazzy_types
from training.data import messages

TYPES = jazzy_types().types


def new(kind, **fields):
    return TYPES[kind](**fields)


HEADER = new(
    "std_msgs/msg/Header",
    stamp=new("builtin_interfaces/msg/Time", sec=12, nanosec=345_678_901),
    frame_id="camera",
)


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


def test_the_heading_is_the_node_s():
    mounted = matrix_from_rpy(0.1, 0.2, 3.0)
    for variance in (0.01, 0.0):
        ours = messages.heading_from(imu(variance), mounted, 0.05, 0.3)
        assert ours == pytest.approx(
            motion_messages.heading_from_imu(imu(variance), mounted, 0.05, 0.3)
        )


@pytest.mark.parametrize(("kind", "variance"), [(2, 4.0), (0, 4.0), (2, 0.0)])
def test_the_fix_is_the_node_s(kind, variance):
    place, covariance = messages.fix_from(fix(kind, variance), 7.0)
    expected_place, expected = motion_messages.fix_from_message(fix(kind, variance), 7.0)
    assert place == expected_place and np.array_equal(covariance, expected)


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (lambda: messages.fix_from(fix(status=-1), 7.0), "status is -1"),
        (lambda: messages.heading_from(imu(np.nan), np.eye(3), 0.05, 0.0), "variance of yaw"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named(read, said):
    with pytest.raises(ValueError, match=said):
        read()
