# SPDX-License-Identifier: Apache-2.0
import contextlib
import math

import numpy as np
import pytest

from g2s_localizer.geometry import Camera
from g2s_localizer.geometry.mounting import (
    OPTICAL_FROM_BODY,
    check_mounting,
    check_view,
    extrinsic_from_parameters,
    ground_share,
    matrix_from_rpy,
)

QUARTER = math.pi / 2


def place(x=1.0, y=0.0, z=1.5, roll=0.0, pitch=0.0, yaw=0.0):
    return extrinsic_from_parameters((x, y, z), (roll, pitch, yaw))


@pytest.mark.parametrize("rpy", [(0, 0, 0), (0.3, -0.2, 1.1), (-2.0, 1.2, 3.0)])
def test_angles_turn_by_roll_then_pitch_then_yaw_about_fixed_axes(rpy):
    def turn(axis, angle):
        c, s, i, j = math.cos(angle), math.sin(angle), (axis + 1) % 3, (axis + 2) % 3
        R = np.eye(3)
        R[i, i], R[i, j], R[j, i], R[j, j] = c, -s, s, c
        return R

    expected = turn(2, rpy[2]) @ turn(1, rpy[1]) @ turn(0, rpy[0])
    np.testing.assert_allclose(matrix_from_rpy(*rpy), expected, atol=1e-12)


def test_zero_angles_look_ahead_pitch_looks_down_and_yaw_looks_left():
    def axis(*rpy):
        return extrinsic_from_parameters((0.0, 0.0, 0.0), rpy)[:3, 2]

    np.testing.assert_allclose(axis(0, 0, 0), [1, 0, 0], atol=1e-12)
    assert axis(0, 0.1, 0)[2] == pytest.approx(-math.sin(0.1))
    assert axis(0, 0, 0.1)[1] == pytest.approx(math.sin(0.1))


def test_a_roll_turns_about_the_axis_ahead_and_the_height_of_base_link_is_added():
    T = extrinsic_from_parameters((1.0, 0.2, 1.5), (0.1, 0.0, 0.0), base_link_height=0.3)
    np.testing.assert_allclose(T[:3, 2], [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(T[:3, 3], [1.0, 0.2, 1.8])
    assert T[2, 0] == pytest.approx(-math.sin(0.1))


@pytest.mark.parametrize(
    "T",
    [
        place(z=0.25),
        place(x=-8.0, z=9.0),
        place(yaw=math.pi, pitch=0.3),
        place(roll=0.3, pitch=-0.2),
        place(pitch=1.0),
    ],
)
def test_what_a_road_vehicle_can_have_is_taken(T):
    check_mounting(T)


@pytest.mark.parametrize(
    ("T", "said"),
    [
        (place(z=0.1), "camera is 0.1 m above the ground.*height of base_link"),
        (place(z=-1.5), "camera is -1.5 m above the ground"),
        (place(z=10.5), "camera is 10.5 m above the ground"),
        (place(z=1659.3), "camera is 1659 m above the ground.*millimetres"),
        (place(x=1080.0), r"camera is \(1080, 0\) m from base_link.*millimetres"),
        (place(roll=math.pi), "rolled by -?180 degrees.*upside down"),
        (place(roll=-QUARTER, yaw=-QUARTER), "rolled by -90 degrees.*those of the optical frame"),
        (place(roll=QUARTER), "rolled by 90 degrees"),
        (place(pitch=-QUARTER), "looks up by 90 degrees.*axes those of its body"),
        (place(pitch=QUARTER), "looks down by 90 degrees"),
    ],
)
def test_what_no_road_vehicle_has_is_refused_with_the_number_and_the_cause(T, said):
    with pytest.raises(ValueError, match=said):
        check_mounting(T)


def test_the_frame_of_the_body_in_place_of_the_optical_one_is_recognised():
    body = place()
    body[:3, :3] = body[:3, :3] @ OPTICAL_FROM_BODY
    with pytest.raises(ValueError, match="looks up by 90 degrees.*axes those of its body"):
        check_mounting(body)


def camera(T):
    K = np.array([[721.5, 0.0, 609.6], [0.0, 721.5, 172.9], [0.0, 0.0, 1.0]])
    return Camera(K, 1242, 375, np.zeros(5), T)


def test_the_share_of_the_ground_is_that_below_the_row_of_fifty_metres():
    row = 172.9 + 721.5 * 1.5 / 50.0
    assert ground_share(camera(place())) == pytest.approx((374.5 - row) / 375.0, abs=0.02)


def test_a_camera_without_ground_in_view_is_refused_with_its_angles():
    check_view(camera(place(pitch=-0.15)))
    with pytest.raises(ValueError, match="no ground in view: 0%.*pitched down by -23 degrees"):
        check_view(camera(place(pitch=-0.4)))


def test_of_all_the_ways_to_confuse_axes_only_looking_level_and_upright_is_taken():
    axes = [s * np.eye(3)[i] for i in range(3) for s in (1.0, -1.0)]
    frames = [np.stack([x, y, np.cross(x, y)], axis=1) for x in axes for y in axes if not x @ y]
    taken = []
    for R in frames:
        T = place()
        T[:3, :3] = R
        with contextlib.suppress(ValueError):
            check_mounting(T)
            taken.append(R)
    assert len(frames) == 24 and len(taken) == 4
    assert all(R[2].tolist() == [0.0, -1.0, 0.0] for R in taken)
