# SPDX-License-Identifier: Apache-2.0
import math
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from g2s_localizer.geometry import LatLon, LocalFrame
from g2s_localizer.geometry.pose import wrap_angle
from g2s_localizer.model import model_config
from training.data.batches import DistantBatchSampler
from training.data.sample import Unreadable, collate
from training.data.vigor import CITIES, GSD, VigorDataset, read_labels, read_satellite_list
from training.data.vigor_mosaic import TileMosaic
from training.paper.pseudo_pairs import wide_pixels

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


def test_a_heading_that_is_known_is_the_rolled_panorama_s(vigor):
    dataset = VigorDataset(vigor, "cross", "train", rotation_range=180.0, heading_known=True)
    assert [dataset[i].yaw for i in range(len(dataset))] == [t.yaw for t in dataset.truths]
    assert len({p.yaw for p in dataset.labels}) == len(dataset)


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


@pytest.fixture
def gridded(tmp_path):
    """Seattle as 3 x 3 tiles that overlap by about a half, all cut from one picture, with one
    panorama on the middle tile and one on the first; the picture, whose middle is the grid's.
    """
    folder, lists = tmp_path / "Seattle", tmp_path / "splits__corrected" / "Seattle"
    for made in (folder / "panorama", folder / "satellite", lists):
        made.mkdir(parents=True)
    small = np.random.default_rng(1).integers(0, 255, (40, 40, 3), np.uint8)
    picture = cv2.resize(small, (1400, 1400), interpolation=cv2.INTER_CUBIC)
    frame, names = LocalFrame(LatLon(47.6, -122.3)), []
    for east in (-362, 0, 362):
        for north in (-362, 0, 362):
            place = frame.to_latlon(east * GSD["Seattle"], north * GSD["Seattle"])
            names.append(f"satellite_{place.lat}_{place.lon}.png")
            tile = picture[380 - north : 1020 - north, 380 + east : 1020 + east]
            cv2.imwrite(str(folder / "satellite" / names[-1]), tile[..., ::-1])
    for name in ("a", "b"):
        cv2.imwrite(str(folder / "panorama" / f"{name}.jpg"), np.zeros((64, 128, 3), np.uint8))
    lines = [f"{name}.jpg " + " ".join([f"{names[k]} 0 0"] * 4) for name, k in (("a", 4), ("b", 0))]
    (lists / "satellite_list.txt").write_text("\n".join(names))
    (lists / "pano_label_balanced__corrected.txt").write_text("\n".join(lines))
    return tmp_path, picture


@pytest.fixture
def seattle(monkeypatch):
    monkeypatch.setitem(CITIES, ("cross", "train"), ("Seattle",))


def test_a_tile_s_surroundings_are_those_of_its_neighbours(gridded, seattle):
    root, picture = gridded
    dataset = VigorDataset(root, "cross", "train")
    wide = dataset.widened(864)[0]
    assert wide.gsd == dataset[0].gsd
    expected = cv2.resize(picture[160:1240, 160:1240], (864, 864), interpolation=cv2.INTER_AREA)
    difference = np.abs(wide.satellite.numpy().transpose(1, 2, 0).astype(int) - expected)
    assert np.median(difference) <= 2 and difference.max() < 60
    assert torch.equal(wide.satellite[:, 180:-180, 180:-180], dataset[0].satellite[:, 4:-4, 4:-4])


def test_a_tile_at_the_edge_of_the_city_has_no_surroundings(gridded, seattle):
    edge = VigorDataset(gridded[0], "cross", "train").widened(864)[1]
    assert isinstance(edge, Unreadable)
    assert "the city's tiles cover 6" in edge.reason and "of the 109 m around it" in edge.reason


def test_tiles_whose_names_tell_no_place_have_no_surroundings(vigor):
    with pytest.raises(ValueError, match="satellite_NewYork_0.png does not say where its tile"):
        VigorDataset(vigor, "cross", "train").widened(864)


def test_the_real_tiles_cover_what_stage_0_needs_around_nearly_all_labels(test_data: Path):
    folder = test_data / "vigor_labels" / "Seattle"
    names = read_satellite_list(folder)
    labels = read_labels(folder / "same_area_balanced_test__corrected.txt", names)[::400]
    pixels = round(wide_pixels(model_config(preset="paper-vigor", yaw_range_deg=180.0)) * 1.25)
    white = np.full((640, 640, 3), 255, np.uint8)
    mosaic, covered = TileMosaic(names, GSD["Seattle"], 640, lambda _: white), 0
    for label in labels:
        try:
            covered += bool(mosaic.around(label.tiles[0], pixels).all())
        except ValueError:
            continue
    assert covered >= 0.9 * len(labels)


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


def test_blank_lines_of_the_lists_are_none_of_them(gridded, seattle):
    root, _ = gridded
    for file in (root / "splits__corrected" / "Seattle").iterdir():
        file.write_text(file.read_text().replace("\n", "\n\n  \n") + "\n\n")
    assert len(VigorDataset(root, "cross", "train")) == 2


def test_a_picture_of_any_kind_that_is_none_is_a_named_skip(gridded, seattle):
    root, _ = gridded
    file = root / "Seattle" / "panorama" / "a.jpg"
    dataset = VigorDataset(root, "cross", "train")
    png = bytearray(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    png[16:24] = (30_000).to_bytes(4, "big") * 2
    for content in (b"", b"<html>", bytes(png)):
        file.write_bytes(content)
        assert isinstance(dataset[0], Unreadable) and "a.jpg" in dataset[0].reason
    file.unlink()
    file.mkdir()
    assert isinstance(dataset[0], Unreadable)
