# SPDX-License-Identifier: Apache-2.0
import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks.lanelet2_imagery import dashes, outline, render_lanelet2
from g2s_localizer.geometry import LatLon
from g2s_localizer.imagery import MissingImagery, open_imagery
from g2s_localizer.kitti import KittiDrive

DATA = Path(os.environ.get("G2S_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
OSM = DATA / "lanelet2_karlsruhe" / "mapping_example.osm"
DRIVE = "2011_09_26_drive_0005_sync"

needs_data = pytest.mark.skipif(not OSM.is_file(), reason=f"no Lanelet2 map {OSM}")


@pytest.fixture(scope="module")
def drive():
    return KittiDrive(DATA / "kitti_raw", DRIVE)


@pytest.fixture(scope="module")
def imagery(tmp_path_factory, drive):
    folder = tmp_path_factory.mktemp("rendered")
    return open_imagery(render_lanelet2(OSM, folder, drive.latlon(0), reach_m=150.0))


@needs_data
def test_the_streets_of_the_drive_can_be_cropped_and_are_not_flat(imagery, drive):
    crop = imagery.crop(drive.latlon(0), 120.0, 0.2)
    assert crop.image.std(axis=(0, 1)).min() > 5.0
    assert "Rendered map" in crop.attribution


@needs_data
def test_most_of_the_drive_lies_on_the_asphalt_of_the_map(imagery, drive):
    road = np.array([92, 92, 96])
    middles = [imagery.crop(drive.latlon(i), 1.0, 0.2).image[2, 2] for i in range(154)]
    assert np.mean(np.abs(middles - road).max(axis=1) < 12) > 0.6


@needs_data
def test_beyond_its_reach_nothing_is_rendered(imagery):
    with pytest.raises(MissingImagery):
        imagery.crop(LatLon(49.02, 8.43), 120.0, 0.2)


def test_a_ring_joins_lines_whichever_way_they_run():
    left = np.array([[0.0, 0.0], [0.0, 9.0]])
    right = np.array([[4.0, 0.0], [4.0, 9.0]])
    for parts in ([left, right], [left, right[::-1]], [left[::-1], right]):
        ring = outline(parts)
        sides = np.linalg.norm(ring - np.roll(ring, 1, axis=0), axis=1)
        assert sorted(sides) == [4.0, 4.0, 9.0, 9.0]


def test_dashes_are_three_metres_of_paint_every_nine():
    line = np.array([[7e7, 4.6e7], [7e7 + 1000, 4.6e7]])
    starts = [piece[0, 0] for piece in dashes(line)]
    lengths = [piece[-1, 0] - piece[0, 0] for piece in dashes(line)]
    assert np.diff(starts) == pytest.approx(3.0 * lengths[0])
