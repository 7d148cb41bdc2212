# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from g2s_localizer.geometry.geodesy import LatLon
from g2s_localizer.imagery.crop import SatelliteCrop

CENTRE = LatLon(-33.9, 18.42)


def square(side, gsd, yaw=0.0):
    return SatelliteCrop(np.zeros((side, side, 3), np.uint8), CENTRE, gsd, "", yaw)


metres = st.floats(-99.0, 99.0)


@given(st.integers(1, 600), st.floats(0.05, 5.0), metres, metres, st.floats(-4.0, 4.0))
def test_metres_to_pixels_and_back_is_the_identity(side, gsd, x, y, yaw):
    crop = square(side, gsd, yaw)
    assert crop.xy_from_uv(crop.uv_from_xy([[x, y]])) == pytest.approx(np.array([[x, y]]))


def test_the_centre_lies_between_the_middle_pixels_and_north_is_up():
    uv = square(4, 0.5).uv_from_xy([[0.0, 0.0], [0.5, 0.0], [0.0, 0.5]])
    assert uv.tolist() == [[1.5, 1.5], [2.5, 1.5], [1.5, 0.5]]


def test_the_u_axis_of_a_turned_crop_lies_its_yaw_counter_clockwise_from_east():
    uv = square(5, 0.5, np.pi / 2).uv_from_xy([[0.0, 0.5], [-0.5, 0.0]])
    assert uv == pytest.approx(np.array([[3.0, 2.0], [2.0, 1.0]]))


@pytest.mark.parametrize("gsd", [0.0, -0.2, float("nan")])
def test_a_nonsense_gsd_is_refused(gsd):
    with pytest.raises(ValueError, match=f"gsd must be positive, got {gsd}"):
        square(4, gsd)


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3))])
def test_an_image_that_is_not_rgb_bytes_is_refused(image):
    with pytest.raises(ValueError, match=r"image must be uint8 of shape \(H, W, 3\), got"):
        SatelliteCrop(image, CENTRE, 0.2, "")
