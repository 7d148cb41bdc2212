# SPDX-License-Identifier: Apache-2.0
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from g2s_localizer.geometry.geodesy import LatLon, LocalFrame, mercator_pixel
from g2s_localizer.imagery.fetch import area
from g2s_localizer.imagery.fetch.area import area_km2, box_tiles, route_tiles
from g2s_localizer.imagery.level import Box

latitudes = st.floats(-70.0, 70.0)
longitudes = st.floats(-180.0, 179.99)
shares = st.floats(0.001, 0.999)


def tile_of(place, zoom):
    px, py = mercator_pixel(place.lat, place.lon, zoom)
    return zoom, int(px // 256) % 2**zoom, int(py // 256)


@given(latitudes, longitudes, shares, shares)
def test_every_place_of_a_box_lies_in_one_of_its_tiles(lat, lon, across, up):
    east = (lon + 0.02 + 180.0) % 360.0 - 180.0
    inside = LatLon(lat + 0.01 * up, lon + 0.02 * across)
    assert tile_of(inside, 17) in box_tiles(Box(lon, lat, east, lat + 0.01), 17)


def test_a_box_that_is_exactly_a_tile_needs_that_tile_only():
    assert box_tiles(Box(0.0, 0.0, 360 / 8, 40.97), 3) == [(3, 4, 3)]


def test_a_box_across_the_antimeridian_has_both_sides_and_no_more():
    columns = {x for _, x, _ in box_tiles(Box(179.9, -17.0, -179.9, -16.9), 10)}
    assert columns == {1023, 0}


@given(latitudes, longitudes, st.floats(-800, 800), st.floats(-800, 800), st.floats(0, 2 * math.pi))
def test_every_place_near_a_route_lies_in_one_of_its_tiles(lat, lon, x, y, bearing):
    start = LatLon(lat, lon)
    frame = LocalFrame(start)
    beside = frame.to_latlon(x / 2 + 90 * math.cos(bearing), y / 2 + 90 * math.sin(bearing))
    tiles = route_tiles([[start, frame.to_latlon(x, y)]], 100.0, 18)
    assert tile_of(beside, 18) in tiles


def test_a_route_across_the_antimeridian_does_not_go_around_the_world():
    tiles = route_tiles([[LatLon(-17.0, 179.99), LatLon(-17.0, -179.99)]], 50.0, 14)
    assert {x for _, x, _ in tiles} == {2**14 - 1, 0}


def test_a_route_needs_less_than_the_box_around_it():
    line = [LatLon(49.0, 8.4), LatLon(49.05, 8.5)]
    box = box_tiles(Box(8.4, 49.0, 8.5, 49.05), 18)
    assert len(route_tiles([line], 100.0, 18)) < len(box) / 5


def test_the_area_of_tiles_is_that_of_the_ground():
    side = 0.09 * 111.2 * 0.18 * 111.32 * math.cos(math.radians(49.0))
    assert area_km2(box_tiles(Box(8.4, 48.955, 8.58, 49.045), 19)) == pytest.approx(side, rel=0.01)


def test_an_area_of_millions_of_tiles_is_refused():
    with pytest.raises(ValueError, match="more than 4000000 tiles at zoom 20"):
        box_tiles(Box(5.0, 47.0, 15.0, 55.0), 20)


def test_a_route_of_millions_of_tiles_is_refused(monkeypatch):
    monkeypatch.setattr(area, "MAX_TILES", 50)
    with pytest.raises(ValueError, match="more than 50 tiles at zoom 19"):
        route_tiles([[LatLon(49.0, 8.4), LatLon(49.1, 8.4)]], 100.0, 19)


@pytest.mark.parametrize(("lat", "buffer_m"), [(49.0, 1e6), (49.0, 1e300)])
def test_surroundings_of_millions_of_tiles_are_refused_before_they_are_counted_out(lat, buffer_m):
    started = time.monotonic()
    with pytest.raises(ValueError, match="more than 4000000 tiles at zoom 20"):
        route_tiles([[LatLon(lat, 8.4)]], buffer_m, 20)
    assert time.monotonic() - started < 5.0
