# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest
import torch

from g2s_localizer.geometry import Camera
from g2s_localizer.model.preprocess import ground_band, prepare_ground, standardise

K = np.array([[721.5, 0.0, 609.6], [0.0, 721.5, 172.9], [0.0, 0.0, 1.0]])
LOOKING_FORWARD = np.array([[0, 0, 1, 1.1], [-1, 0, 0, 0.3], [0, -1, 0, 1.65], [0, 0, 0, 1.0]])
PLAIN = Camera(K, 1242, 375, np.zeros(5), LOOKING_FORWARD)
DISTORTED = Camera(K, 1242, 375, np.array([-0.3, 0.1, 1e-3, 1e-3, 0.0]), LOOKING_FORWARD)


@pytest.mark.parametrize("camera", [PLAIN, DISTORTED], ids=["pinhole", "distorted"])
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


def test_a_standardised_image_forgets_exposure_and_contrast():
    image = torch.randint(40, 120, (2, 3, 16, 16), dtype=torch.uint8)
    torch.testing.assert_close(standardise(image), standardise(image * 2 + 10))


def test_a_flat_image_becomes_zeros():
    assert not standardise(torch.full((1, 3, 8, 8), 77, dtype=torch.uint8)).any()


@pytest.mark.parametrize("image", [np.zeros((375, 1241, 3), np.uint8), np.zeros((375, 1242, 3))])
def test_an_image_that_is_not_the_cameras_is_refused_with_both_sizes(image):
    with pytest.raises(ValueError, match=r"uint8 \(375, 1242, 3\) .* got"):
        prepare_ground(image, PLAIN, (128, 512))
