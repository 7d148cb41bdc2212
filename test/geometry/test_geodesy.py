# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Geod

from g2s_localizer.geometry.geodesy import (
    LatLon,
    LocalFrame,
    ground_sample_distance,
    mercator_latlon,
    mercator_pixel,
)

latitudes = st.floats(-80.0, 80.0)
longitudes = st.floats(-180.0, 179.999)
offsets = st.floats(-2000.0, 2000.0)
FOUR_HEMISPHERES = [(49.0, 8.42), (-33.9, 18.42), (40.7, -74.0), (-22.9, -43.2)]
BORDERS = [(49.0, 11.9999999), (10.0, -180.0), (10.0, 179.9999999), (0.0, 0.0)]


@given(latitudes, longitudes, offsets, offsets)
def test_metres_to_degrees_to_tile_pixels_and_back_is_the_identity(lat, lon, x, y):
    frame = LocalFrame(LatLon(lat, lon))
    place = frame.to_latlon(x, y)
    px, py = mercator_pixel(place.lat, place.lon, 19)
    back = LatLon(*(float(v) for v in mercator_latlon(px, py, 19)))
    assert frame.to_xy(back) == pytest.approx((x, y), abs=1e-4)


@pytest.mark.parametrize(("lat", "lon"), FOUR_HEMISPHERES + BORDERS)
@pytest.mark.parametrize(("x", "y"), [(0.0, 300.0), (300.0, 0.0), (-200.0, -250.0)])
def test_local_metres_are_geodesic_metres_and_directions(lat, lon, x, y):
    place = LocalFrame(LatLon(lat, lon)).to_latlon(x, y)
    azimuth, _, distance = Geod(ellps="WGS84").inv(lon, lat, place.lon, place.lat)
    assert distance == pytest.approx(np.hypot(x, y), abs=1e-3)
    assert np.exp(1j * np.radians(azimuth)) == pytest.approx(
        (y + 1j * x) / np.hypot(x, y), abs=1e-5
    )


@pytest.mark.parametrize(("lat", "lon"), FOUR_HEMISPHERES)
def test_a_pixel_spans_the_metres_it_claims(lat, lon):
    px, py = mercator_pixel(lat, lon, 19)
    east = LatLon(*map(float, mercator_latlon(px + 50, py, 19)))
    south = LatLon(*map(float, mercator_latlon(px, py + 50, 19)))
    frame = LocalFrame(LatLon(lat, lon))
    sides = np.hypot(*frame.to_xy(east)) * np.hypot(*frame.to_xy(south)) / 50**2
    assert ground_sample_distance(lat, 19) == pytest.approx(np.sqrt(sides), rel=1e-4)


def test_tile_numbers_are_the_hand_computed_ones_of_karlsruhe():
    px, py = mercator_pixel(49.0112128, 8.4228850, 18)
    assert (int(px // 256), int(py // 256)) == (137205, 90013)


def test_the_datum_is_the_origin_to_the_bit():
    assert LocalFrame(LatLon(-33.9, 18.42)).to_xy(LatLon(-33.9, 18.42)) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("lat", "lon", "message"),
    [(91.0, 0.0, "got 91.0"), (0.0, float("nan"), "finite"), (float("inf"), 0.0, "finite")],
)
def test_a_place_off_the_globe_is_refused(lat, lon, message):
    with pytest.raises(ValueError, match=message):
        LatLon(lat, lon)


def test_the_other_side_of_the_earth_has_no_local_metres():
    with pytest.raises(ValueError, match="cannot be seen from the datum"):
        LocalFrame(LatLon(49.0, 8.4)).to_xy(LatLon(-49.0, -171.6))
