# SPDX-License-Identifier: Apache-2.0
import math
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from g2s_localizer.geometry import LatLon, LocalFrame
from g2s_localizer.geometry.pose import wrap_angle
from training.datasets.batches import DistantBatchSampler
from training.datasets.sample import Unreadable, collate
from training.datasets.vigor import GSD, VigorDataset, read_labels, read_satellite_list

OFFSETS = {"a": (120.0, -40.0), "b": (-60.0, 90.0), "c": (10.0, 20.0)}
"""(row, column) of the cameras of three panoramas"""

WEST_COLUMN = 512 / 4
"""Of a published panorama 512 pixels wide, whose first column looks south."""


def write_city(root: Path, city: str):
    """Three panoramas with a white post in the west; a and b share a semi-positive tile."""
    for folder in (f"{city}/panorama", f"{city}/satellite", f"splits__corrected/{city}"):
        (root / folder).mkdir(parents=True)
    tiles = [f"satellite_{city}_{i}.png" for i in range(9)]
    own = {"a": [0, 1, 2, 3], "b": [4, 3, 5, 6], "c": [7, 8, 5, 6]}
    lines = []
    for name, (row, column) in OFFSETS.items():
        tile = np.zeros((640, 640, 3), np.uint8)
        centre = round((319.5 - column) * 256), round((319.5 + row) * 256)
        cv2.circle(tile, centre, 6 * 256, (255, 255, 255), -1, cv2.LINE_AA, shift=8)
        cv2.imwrite(str(root / city / "satellite" / tiles[own[name][0]]), tile)
        panorama = np.zeros((256, 512, 3), np.uint8)
        panorama[:, int(WEST_COLUMN) - 4 : int(WEST_COLUMN) + 4] = 255
        cv2.imwrite(str(root / city / "panorama" / f"{city}_{name}.jpg"), panorama)
        shown = [(tiles[k], row, column) for k in own[name]]
        words = " ".join(f"{t} {r} {c}" for t, r, c in shown)
        lines.append(f"{city}_{name}.jpg {words}\n")
    lists = root / "splits__corrected" / city
    (lists / "satellite_list.txt").write_text("\n".join(tiles))
    (lists / "pano_label_balanced__corrected.txt").write_text("".join(lines))


@pytest.fixture
def vigor(tmp_path):
    for city in ("NewYork", "Seattle"):
        write_city(tmp_path, city)
    return tmp_path


def test_the_camera_stands_where_the_tile_shows_it(vigor, find_dot):
    dataset = VigorDataset(vigor, "cross", "train")
    for sample, truth in zip(
        map(dataset.__getitem__, range(len(dataset))), dataset.truths, strict=True
    ):
        expected = np.array([truth.x, -truth.y]) / sample.gsd
        np.testing.assert_allclose(find_dot(sample.satellite), expected, atol=0.3)


def test_a_camera_below_and_right_of_the_centre_is_south_and_east(vigor):
    truth = VigorDataset(vigor, "cross", "train").truths[0]
    assert (truth.x, truth.y) == pytest.approx((40 * GSD["NewYork"], -120 * GSD["NewYork"]))


@pytest.mark.parametrize("rotation_range", [0.0, 180.0])
def test_what_stands_in_the_west_is_seen_in_the_west_by_the_true_yaw(vigor, rotation_range):
    dataset = VigorDataset(vigor, "cross", "train", rotation_range=rotation_range, seed=5)
    for index, truth in enumerate(dataset.truths):
        image = dataset[index].ground[0].double().mean(dim=0).numpy()
        columns = np.arange(640) + 0.5
        turn = np.angle((image * np.exp(2j * np.pi * columns / 640)).sum()) / (2 * np.pi) * 640
        bearing = truth.yaw - 2 * math.pi * (turn - 320) / 640
        assert wrap_angle(bearing - math.pi) == pytest.approx(0.0, abs=0.01)


def test_without_rotation_the_prior_s_heading_is_the_truth_s(vigor):
    dataset = VigorDataset(vigor, "cross", "train")
    assert {t.yaw for t in dataset.truths} == {math.pi / 2} == {p.yaw for p in dataset.labels}


def test_the_prior_does_not_know_the_rotation(vigor):
    dataset = VigorDataset(vigor, "cross", "train", rotation_range=180.0)
    assert {dataset[i].yaw for i in range(len(dataset))} == {math.pi / 2}
    assert len({t.yaw for t in dataset.truths}) == len(dataset)


def test_no_two_samples_of_a_batch_share_a_tile_semi_positives_included(vigor):
    dataset = VigorDataset(vigor, "cross", "train")
    a, b, c = 0, 1, 2
    assert not dataset.apart(a, [b], 0.0) and not dataset.apart(b, [c], 0.0)
    assert dataset.apart(a, [c], 0.0) and dataset.apart(a, [b + 3], 0.0)
    for batch in DistantBatchSampler(dataset, 4, 0.0):
        assert sorted(batch) == [0, 2, 3, 5]


def test_a_batch_of_panoramas_carries_each_tile_s_metres_per_pixel(vigor):
    dataset = VigorDataset(vigor, "cross", "train")
    batch = collate([dataset[0], dataset[3]])
    assert batch.K is None
    expected = [GSD["NewYork"] * 1.25, GSD["Seattle"] * 1.25]
    assert batch.gsd.tolist() == pytest.approx(expected)
    assert (batch.ground.shape, batch.satellite.shape) == ((2, 3, 320, 640), (2, 3, 512, 512))


def test_a_truncated_panorama_is_named(vigor):
    file = vigor / "NewYork" / "panorama" / "NewYork_b.jpg"
    file.write_bytes(file.read_bytes()[:-20])
    broken = VigorDataset(vigor, "cross", "train")[1]
    assert isinstance(broken, Unreadable)
    assert broken.name == "NewYork/NewYork_b.jpg" and "cannot be decoded" in broken.reason


def test_a_line_without_a_file_is_counted_and_named(vigor, caplog):
    (vigor / "NewYork" / "panorama" / "NewYork_b.jpg").unlink()
    (vigor / "Seattle" / "satellite" / "satellite_Seattle_0.png").unlink()
    dataset = VigorDataset(vigor, "cross", "train")
    assert dataset.missing == ("NewYork_b.jpg", "satellite_Seattle_0.png")
    assert len(dataset) == 4
    assert "1 of 3 lines of" in caplog.text and "NewYork_b.jpg" in caplog.text


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("120.0 -40.0", "120.0", "line 1: 12 words, a label has 13"),
        ("NewYork_4.png", "NewYork_44.png", "line 2: no tile 'satellite_NewYork_44.png'"),
        ("120.0 -40.0", "far -40.0", "line 1: could not convert string to float: 'far'"),
    ],
)
def test_a_broken_label_is_named(vigor, old, new, said):
    file = vigor / "splits__corrected" / "NewYork" / "pano_label_balanced__corrected.txt"
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(ValueError, match=f"pano_label_balanced__corrected.txt, {said}"):
        VigorDataset(vigor, "cross", "train")


def test_the_real_labels_parse_completely_and_agree_with_the_coordinates(test_data: Path):
    folder = test_data / "vigor_labels" / "Seattle"
    satellites = read_satellite_list(folder)
    labels = read_labels(folder / "same_area_balanced_test__corrected.txt", satellites)
    assert (len(satellites), len(labels)) == (20_776, 11_875)
    for label in labels[::50]:
        tile = [float(n) for n in re.findall(r"-?\d+\.\d+", satellites[label.tiles[0]])[:2]]
        camera = [float(n) for n in label.panorama.split(",")[1:3]]
        expected = LocalFrame(LatLon(*tile)).to_xy(LatLon(*camera))
        assert label.camera_xy == pytest.approx(expected, abs=0.5)
