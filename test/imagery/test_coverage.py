# SPDX-License-Identifier: Apache-2.0
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from g2s_localizer.geometry.geodesy import LatLon, LocalFrame, mercator_pixel
from g2s_localizer.imagery.coverage import box_around, measure_coverage
from g2s_localizer.imagery.open import open_imagery

KARLSRUHE = LatLon(49.011212, 8.422885)
GSD = 0.2


@pytest.fixture
def imagery(tile_writer, tmp_path):
    """About 450 m by 450 m around KARLSRUHE."""
    return open_imagery(tile_writer(suffix="jpg").slippy(tmp_path, KARLSRUHE, reach=4))


def tile_of(place):
    px, py = mercator_pixel(place.lat, place.lon, 19)
    return f"19/{int(px // 256)}/{int(py // 256)}"


def test_an_area_inside_the_store_is_covered_whole(imagery):
    found = measure_coverage(imagery, box_around(KARLSRUHE, 100.0), 50.0, GSD)
    assert (found.share, found.missing) == (1.0, ())
    assert str(found) == "100 % of 20 cells of 50 m"


def test_one_missing_tile_is_found_wherever_it_lies(imagery, tmp_path):
    place = LocalFrame(KARLSRUHE).to_latlon(61.0, -37.0)
    (tmp_path / f"{tile_of(place)}.jpg").unlink()
    found = measure_coverage(imagery, box_around(KARLSRUHE, 100.0), 50.0, GSD)
    assert 0.5 < found.share < 1.0
    assert {names for _, names in found.missing} == {(tile_of(place),)}
    assert tile_of(place) in str(found)


def test_a_tile_beyond_the_area_counts_when_a_crop_in_the_area_needs_it(imagery, tmp_path):
    area = box_around(KARLSRUHE, 60.0)
    for tile in (tmp_path / "19").glob("*/*.jpg"):
        if tile.parent.name < tile_of(LocalFrame(KARLSRUHE).to_latlon(-65.0, 0.0)).split("/")[1]:
            tile.unlink()
    assert measure_coverage(imagery, area, 10.0, GSD).share == 1.0
    assert measure_coverage(imagery, area, 100.0, GSD).share < 1.0


def test_beyond_the_store_nothing_is_covered_and_the_first_places_are_named(imagery):
    elsewhere = LocalFrame(KARLSRUHE).to_latlon(2000.0, 0.0)
    found = measure_coverage(imagery, box_around(elsewhere, 100.0), 50.0, GSD)
    assert found.share == 0.0
    assert re.search(
        r"^0 % of 20 .* missing at 49\.\d{5}, 8\.\d{5} \(19/.* and 17 more$", str(found)
    )


def test_a_whole_percentage_is_never_rounded_up(imagery, tmp_path):
    corner = LocalFrame(KARLSRUHE).to_latlon(150.0, 150.0)
    (tmp_path / f"{tile_of(corner)}.jpg").unlink()
    found = measure_coverage(imagery, box_around(KARLSRUHE, 120.0), 6.0, GSD)
    assert found.share < 1.0 and not str(found).startswith("100 %")


@given(st.floats(-80.0, 80.0), st.floats(-180.0, 179.99), st.floats(10.0, 5000.0))
def test_the_area_around_a_place_holds_the_square(lat, lon, radius):
    place = LatLon(lat, lon)
    area = box_around(place, radius)
    corner = LocalFrame(place).to_latlon(radius, -radius)
    assert area.south <= corner.lat <= area.north
    width = (area.east - area.west) % 360.0
    assert (corner.lon - area.west) % 360.0 <= width + 1e-9
    assert width < 3.0 * math.degrees(radius / 6.3e6) / math.cos(math.radians(lat))


def test_an_area_may_lie_across_the_antimeridian(tile_writer, tmp_path):
    fiji = LatLon(-17.0, 180.0)
    imagery = open_imagery(tile_writer(suffix="jpg").slippy(tmp_path, fiji, reach=2))
    area = box_around(fiji, 30.0)
    assert area.west > area.east
    assert measure_coverage(imagery, area, 30.0, GSD).share == 1.0


def test_a_survey_ends_after_a_time_and_counts_what_it_looked_at(imagery, monkeypatch):
    monkeypatch.setattr("g2s_localizer.imagery.coverage.MAX_S", 0.0)
    found = measure_coverage(imagery, box_around(KARLSRUHE, 100.0), 50.0, GSD)
    assert (found.cells, found.share) == (1, 1.0)
