# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from g2s_localizer.geometry import Panorama
from g2s_localizer.geometry.mounting import extrinsic_from_parameters

CAMERA = Panorama(400, 200, extrinsic_from_parameters((1.0, 0.2, 2.0), (0.0, 0.0, 0.0)))


@pytest.mark.parametrize(
    ("point", "uv"),
    [
        ((5.0, 0.2, 2.0), (199.5, 99.5)),
        ((1.0, 4.0, 2.0), (99.5, 99.5)),
        ((1.0, -4.0, 2.0), (299.5, 99.5)),
        ((2.0, 0.2, 1.0), (199.5, 149.5)),
    ],
)
def test_ahead_is_the_middle_column_left_is_left_and_the_ground_is_below(point, uv):
    found, distance = CAMERA.project(point)
    assert found[0] == pytest.approx(uv)
    assert distance[0] == pytest.approx(np.linalg.norm(np.subtract(point, (1.0, 0.2, 2.0))))


def test_a_ray_meets_the_points_that_its_pixel_shows():
    points = np.random.default_rng(0).uniform(-9.0, 9.0, (50, 3))
    uv, distance = CAMERA.scaled(512, 256).project(points)
    T = CAMERA.T_base_camera
    met = CAMERA.scaled(512, 256).rays(uv) * distance[:, None] @ T[:3, :3].T + T[:3, 3]
    np.testing.assert_allclose(met, points, atol=1e-9)


def test_a_field_that_makes_no_panorama_is_refused_by_name():
    with pytest.raises(ValueError, match="Panorama size must be positive, got 0 x 200"):
        Panorama(0, 200, np.eye(4))
    with pytest.raises(ValueError, match="Panorama.T_base_camera must be finite"):
        Panorama(400, 200, np.full((4, 4), np.nan))
