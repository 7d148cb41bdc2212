# SPDX-License-Identifier: Apache-2.0
"""Panoramas with a tile each: where views look, where crops lie, what is refused."""

import math

import cv2
import numpy as np
import pytest

from g2s_localizer.geometry import LatLon, LocalFrame
from g2s_localizer.imagery import MissingImagery
from training.data.pairs import COLUMNS, PictureImagery, cut_view, pairs_dataset
from training.data.sample import PriorNoise, Unreadable

FRAME = LocalFrame(LatLon(0.0, 0.0))


def lit(width, height, column, row):
    image = np.zeros((height, width, 3), np.uint8)
    image[row - 2 : row + 3, np.arange(column - 2, column + 3) % width] = 255
    return image


def brightest(image):
    v, u = np.nonzero(image[:, :, 0] > 128)
    return u.mean(), v.mean()


@pytest.fixture
def folder(tmp_path):
    """folder(rows): with one panorama and a tile of 400 x 400 pixels, lit 20 m east, 10 m north."""

    def make(*rows):
        cv2.imwrite(str(tmp_path / "pano.png"), lit(720, 360, 450, 180))
        cv2.imwrite(str(tmp_path / "tile.png"), lit(400, 400, 240, 180))
        (tmp_path / "pairs.csv").write_text("\n".join([",".join(COLUMNS), *rows]) + "\n")
        return tmp_path

    return make


@pytest.mark.parametrize(("azimuth", "column"), [(90.0, 540), (-180.0, 0), (180.0, 0), (0.0, 360)])
def test_the_middle_of_a_view_is_its_azimuth_seam_or_not(azimuth, column):
    u, v = brightest(cut_view(lit(720, 360, column, 180), azimuth))
    assert (u, v) == pytest.approx((319.5, 159.5), abs=2.0)


def test_a_light_to_the_right_and_below_is_seen_there():
    # 20 degrees to the right, 10 below the horizon
    u, v = brightest(cut_view(lit(720, 360, 400, 200), 0.0))
    right, down = (
        math.tan(math.radians(20)),
        math.tan(math.radians(10)) / math.cos(math.radians(20)),
    )
    assert (u, v) == pytest.approx((320 + 320 * right, 160 + 320 * down), abs=2.0)


@pytest.mark.parametrize("yaw", [0.0, 0.7])
def test_a_crop_shows_the_tile_around_its_centre_with_its_axes(folder, yaw):
    imagery = PictureImagery(folder("") / "tile.png", 0.5)
    crop = imagery.crop(FRAME.to_latlon(5.0, -3.0), 60.0, 0.25, yaw)
    u, v = brightest(crop.image)
    east, north = 20.25 - 5.0, 9.75 + 3.0
    ahead = math.cos(yaw) * east + math.sin(yaw) * north
    up = -math.sin(yaw) * east + math.cos(yaw) * north
    assert ((u - 119.5) * 0.25, (119.5 - v) * 0.25) == pytest.approx((ahead, up), abs=0.2)
    with pytest.raises(MissingImagery, match="tile.png lacks 1 place"):
        imagery.crop(FRAME.to_latlon(75.0, 0.0), 60.0, 0.25, yaw)


def test_a_view_looks_where_heading_and_azimuth_say_and_each_seed_has_its_prior(folder, tiny):
    root = folder("pano.png,tile.png,0.5,30,2.5")
    dataset = pairs_dataset(root, [0.0, 60.0], tiny, PriorNoise(3.0, 5.0), [0, 1])
    assert [math.degrees(t.yaw) for t in dataset.truths] == pytest.approx([60, 60, 0, 0])
    assert len({label.x for label in dataset.labels}) == 4
    assert dataset[0].T_base_camera[2, 3] == 2.5
    assert dataset[0].ground.float().mean() < dataset[2].ground.float().mean()
    again = pairs_dataset(root, [0.0, 60.0], tiny, PriorNoise(3.0, 5.0), [0, 1])
    assert again.labels == dataset.labels


def test_a_tile_that_ends_within_the_crop_leaves_an_unreadable_pair(folder, tiny):
    root = folder("pano.png,tile.png,0.01,30,2.5", "pano.png,none.png,0.5,30,2.5")
    dataset = pairs_dataset(root, [0.0], tiny, PriorNoise(3.0, 5.0), [0])
    assert [type(dataset[i]) for i in (0, 1)] == [Unreadable, Unreadable]
    assert "ends within the crop" in dataset[0].reason and "none.png" in dataset[1].reason


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        ("pano.png,tile.png,0,30,2.5", "line 2: gsd and height_m must be positive"),
        ("pano.png,tile.png,0.5,north,2.5", "line 2: could not convert"),
        ("pano.png,tile.png", "line 2: could not convert"),
        ("", "has no pairs"),
    ],
)
def test_a_line_that_is_no_pair_is_named(folder, tiny, row, cause):
    with pytest.raises(ValueError, match=f"pairs.csv.*{cause}"):
        pairs_dataset(folder(row), [0.0], tiny, PriorNoise(), [0])
