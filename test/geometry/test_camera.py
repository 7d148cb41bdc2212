# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest

from g2s_localizer.geometry import Camera

K = np.array([[721.5, 0.0, 609.6], [0.0, 721.5, 172.9], [0.0, 0.0, 1.0]])
LOOKING_FORWARD = np.array([[0, 0, 1, 1.1], [-1, 0, 0, 0.3], [0, -1, 0, 1.65], [0, 0, 0, 1.0]])
POINTS = np.array([[10.0, 0.0, 0.0], [15.0, 3.0, 0.5], [30.0, -6.0, 2.0]])


def camera(**changes) -> Camera:
    fields = {"K": K, "width": 1242, "height": 375, "distortion": np.zeros(5)}
    return Camera(**{**fields, "T_base_camera": LOOKING_FORWARD, **changes})


def test_a_point_to_the_left_lies_left_and_a_low_one_below_the_horizon():
    uv, depth = camera().project([[10.0, 2.0, 0.0]])
    assert depth[0] == pytest.approx(8.9)
    assert uv[0, 0] == pytest.approx(609.6 - 721.5 * 1.7 / 8.9)
    assert uv[0, 1] == pytest.approx(172.9 + 721.5 * 1.65 / 8.9)


def test_distortion_is_opencvs():
    distortion = np.array([-0.37, 0.2, 0.002, 0.0014, -0.07])
    uv, _ = camera(distortion=distortion).project(POINTS)
    R, t = LOOKING_FORWARD[:3, :3], LOOKING_FORWARD[:3, 3]
    expected, _ = cv2.projectPoints(POINTS, cv2.Rodrigues(R.T)[0], -R.T @ t, K, distortion)
    np.testing.assert_allclose(uv, expected[:, 0], atol=1e-6)


def test_scaling_moves_projections_as_resizing_moves_pixels():
    uv, _ = camera().project(POINTS)
    small, _ = camera().scaled(621, 125).project(POINTS)
    np.testing.assert_allclose((small + 0.5) * [2.0, 3.0], uv + 0.5)


def test_cropping_shifts_projections_by_the_windows_corner():
    uv, _ = camera().project(POINTS)
    cropped, _ = camera().cropped(100, 50, 800, 300).project(POINTS)
    np.testing.assert_allclose(cropped, uv - [100, 50])


def test_points_behind_the_camera_have_no_pixel():
    uv, depth = camera().project([[-5.0, 0.0, 0.0]])
    assert depth[0] < 0 and np.isnan(uv).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"K": np.zeros((3, 3))}, "positive focal lengths, got fx 0.0"),
        ({"K": np.full((3, 3), np.nan)}, "Camera.K must be finite"),
        ({"width": 0}, "size must be positive, got 0 x 375"),
        ({"distortion": np.zeros(4)}, "Camera.distortion must be finite of shape"),
        ({"T_base_camera": 2.0 * np.eye(4)}, "must hold a rotation"),
        ({"distortion_model": "mei"}, "must be one of plumb_bob, .* got 'mei'"),
        ({"distortion_model": "equidistant"}, "must be finite of shape .4,.*"),
    ],
)
def test_a_field_that_makes_no_camera_is_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=message):
        camera(**changes)


@pytest.mark.parametrize("count", [8, 12, 14])
def test_a_rational_polynomial_with_thin_prism_and_tilt_is_opencvs(count):
    distortion = np.array(
        [0.1, -0.2, 1e-3, 2e-3, 0.03, 0.05, -0.04, 0.01, 3e-3, -2e-3, 1e-3, 2e-3, 0.03, -0.05]
    )[:count]
    ours = camera(distortion=distortion, distortion_model="rational_polynomial")
    R, t = LOOKING_FORWARD[:3, :3], LOOKING_FORWARD[:3, 3]
    expected, _ = cv2.projectPoints(POINTS, cv2.Rodrigues(R.T)[0], -R.T @ t, K, distortion)
    np.testing.assert_allclose(ours.project(POINTS)[0], expected[:, 0], atol=1e-6)


def test_an_equidistant_lens_is_opencvs_fisheye():
    distortion = np.array([0.1, -0.02, 0.003, -0.001])
    ours = camera(distortion=distortion, distortion_model="equidistant")
    R, t = LOOKING_FORWARD[:3, :3], LOOKING_FORWARD[:3, 3]
    rotation = cv2.Rodrigues(R.T)[0]
    expected, _ = cv2.fisheye.projectPoints(POINTS[:, None], rotation, -R.T @ t, K, distortion)
    np.testing.assert_allclose(ours.project(POINTS)[0], expected[:, 0], atol=1e-6)
