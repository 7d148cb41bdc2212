# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from g2s_localizer.geometry.pose import Pose2D, move_covariance, rotate_covariance, wrap_angle

metres = st.floats(-1e4, 1e4)
angles = st.floats(-10.0, 10.0)
poses = st.builds(Pose2D, metres, metres, angles)


def assert_same(a: Pose2D, b: Pose2D) -> None:
    assert (a.x, a.y) == pytest.approx((b.x, b.y), abs=1e-6)
    assert wrap_angle(a.yaw - b.yaw) == pytest.approx(0.0, abs=1e-9)


@given(poses)
def test_a_pose_times_its_inverse_is_the_identity(pose):
    assert_same(pose @ pose.inverse(), Pose2D(0, 0, 0))


@given(poses, poses, poses)
def test_composition_is_associative_and_moves_points_as_one_after_the_other(a, b, c):
    assert_same((a @ b) @ c, a @ (b @ c))
    np.testing.assert_allclose(
        (a @ b).transform([3, -2]), a.transform(b.transform([3, -2])), atol=1e-6
    )


@given(poses, poses)
def test_between_composed_onto_the_first_gives_the_second(a, b):
    assert_same(a @ a.between(b), b)


@given(angles)
def test_wrapped_angles_lie_in_the_half_open_circle_and_keep_their_direction(angle):
    wrapped = wrap_angle(angle)
    assert -math.pi < wrapped <= math.pi
    assert math.cos(wrapped) == pytest.approx(math.cos(angle), abs=1e-9)


def test_forward_of_a_vehicle_facing_north_is_north():
    np.testing.assert_allclose(
        Pose2D(1, 2, math.pi / 2).transform([[3, 0], [0, 1]]), [[1, 5], [0, 2]], atol=1e-12
    )


@given(angles)
def test_turning_the_frame_turns_the_ellipse(yaw):
    long_axis = rotate_covariance(np.diag([9.0, 1.0, 0.1]), yaw)[:2, :2] @ [
        math.cos(yaw),
        math.sin(yaw),
    ]
    np.testing.assert_allclose(long_axis, 9.0 * np.array([math.cos(yaw), math.sin(yaw)]), atol=1e-9)


def test_moved_covariance_agrees_with_sampled_poses():
    rng = np.random.default_rng(0)
    covariance, lever, yaw = np.diag([0.04, 0.01, 0.002]), np.array([1.5, -0.5]), 0.7
    noise = rng.multivariate_normal(np.zeros(3), covariance, 200_000)
    turned = yaw + noise[:, 2]
    c, s = np.cos(turned), np.sin(turned)
    x = noise[:, 0] - (c * lever[0] - s * lever[1])
    y = noise[:, 1] - (s * lever[0] + c * lever[1])
    sampled = np.cov(np.stack([x, y, turned]))
    np.testing.assert_allclose(move_covariance(covariance, yaw, lever), sampled, atol=6e-4)


def test_a_pose_that_is_not_finite_is_refused_by_name():
    with pytest.raises(ValueError, match="Pose2D.y must be finite, got nan"):
        Pose2D(0.0, math.nan, 0.0)
