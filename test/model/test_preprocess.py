# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest
import torch

from g2s_localizer.geometry import Camera
from g2s_localizer.model.preprocess import (
    ground_band,
    prepare_ground,
    standardise,
    undistortion_maps,
)

K = np.array([[721.5, 0.0, 609.6], [0.0, 721.5, 172.9], [0.0, 0.0, 1.0]])
LOOKING_FORWARD = np.array([[0, 0, 1, 1.1], [-1, 0, 0, 0.3], [0, -1, 0, 1.65], [0, 0, 0, 1.0]])
PLAIN = Camera(K, 1242, 375, np.zeros(5), LOOKING_FORWARD)


def lens(model, *coefficients):
    return Camera(K, 1242, 375, np.array(coefficients), LOOKING_FORWARD, model)


DISTORTED = lens("plumb_bob", -0.3, 0.1, 1e-3, 1e-3, 0.0)
RATIONAL = lens("rational_polynomial", -0.2, 0.1, 1e-3, 1e-3, 0.02, 0.1, 0.01, 0.001)
PRISM = lens("rational_polynomial", -0.2, 0.1, 0, 0, 0, 0, 0, 0, 0.02, -0.01, 0.01, 0.02)
TILTED = lens("rational_polynomial", -0.2, 0.1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.03, -0.05)
FISHEYE = lens("equidistant", 0.05, -0.02, 0.003, -0.001)
LENSES = {
    "pinhole": PLAIN,
    "plumb_bob": DISTORTED,
    "rational": RATIONAL,
    "thin prism": PRISM,
    "tilted": TILTED,
    "fisheye": FISHEYE,
}


@pytest.mark.parametrize("camera", LENSES.values(), ids=list(LENSES))
def test_a_dot_on_the_ground_lands_where_the_prepared_camera_projects_it(camera):
    ground_point = np.array([[9.0, 1.5, 0.0]])
    uv, _ = camera.project(ground_point)
    image = np.zeros((375, 1242, 3), np.uint8)
    cv2.circle(image, tuple(np.round(uv[0] * 16).astype(int)), 6 * 16, (255,) * 3, -1, shift=4)
    tensor, prepared = prepare_ground(image, camera, (128, 512))
    weight = tensor[0].double()
    v, u = torch.meshgrid(torch.arange(128.0), torch.arange(512.0), indexing="ij")
    centre = [float((weight * axis).sum() / weight.sum()) for axis in (u, v)]
    assert centre == pytest.approx(prepared.project(ground_point)[0][0].tolist(), abs=0.15)


def test_the_band_keeps_the_horizon_and_the_bottom_row():
    top, rows = ground_band(PLAIN)
    assert top < 172.9 and top + rows == 375


def test_the_maps_of_a_camera_are_kept_and_those_of_its_band_alone():
    top, rows = ground_band(DISTORTED)
    maps = undistortion_maps(DISTORTED, top, rows)
    assert undistortion_maps(DISTORTED, top, rows) is maps
    assert maps[0].shape == (rows, 1242, 2) and rows < 375


def test_a_standardised_image_forgets_exposure_and_contrast():
    image = torch.randint(40, 120, (2, 3, 16, 16), dtype=torch.uint8)
    torch.testing.assert_close(standardise(image), standardise(image * 2 + 10))


def test_a_flat_image_becomes_zeros():
    assert not standardise(torch.full((1, 3, 8, 8), 77, dtype=torch.uint8)).any()


@pytest.mark.parametrize("image", [np.zeros((375, 1241, 3), np.uint8), np.zeros((375, 1242, 3))])
def test_an_image_that_is_not_the_cameras_is_refused_with_both_sizes(image):
    with pytest.raises(ValueError, match=r"uint8 \(375, 1242, 3\) .* got"):
        prepare_ground(image, PLAIN, (128, 512))
