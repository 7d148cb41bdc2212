# SPDX-License-Identifier: Apache-2.0
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from g2s_localizer.geometry import Pose2D
from g2s_localizer.kitti import KittiDrive
from training.data.kitti import KittiDataset, drawn_lines, prior_from_noise, read_split
from training.data.sample import PriorNoise, Unreadable, collate

DRIVE = "2011_09_26/2011_09_26_drive_0001_sync"
NOISE = (-0.35, 0.6, 0.8)


@pytest.fixture
def split(tmp_path):
    """Writes a split list of the given lines."""

    def write(*lines):
        (tmp_path / "list.txt").write_text("".join(f"{line}\n" for line in lines))
        return tmp_path / "list.txt"

    return write


@pytest.fixture
def one_pair(raw, split, dot_imagery, tiny):
    """The dataset of one line with NOISE, its dot at the truth: (dataset, imagery's dot)."""

    def make(paper):
        root, places = raw
        file = split(f"{DRIVE}/0000000000.png {NOISE[0]} {NOISE[1]} {NOISE[2]}")
        empty = KittiDataset(root, file, dot_imagery(places[0]), tiny, paper=paper)
        truth = empty.truths[0]
        place = empty.drives[0].frame.to_latlon(truth.x, truth.y)
        return KittiDataset(root, file, dot_imagery(place), tiny, paper=paper)

    return make


def test_the_truth_lies_in_the_aligned_crop_where_the_papers_say(one_pair, find_dot):
    """The cell of the label in the papers' GPS loss (algorithm.md, Losses)."""
    x, y, t = -20 * NOISE[0], -20 * NOISE[1], math.radians(10 * NOISE[2])
    column = (x * math.cos(t) - y * math.sin(t)) / 0.5
    row = (-x * math.sin(t) - y * math.cos(t)) / 0.5
    found = find_dot(one_pair(paper=True)[0].satellite)
    np.testing.assert_allclose(found, (column, row), atol=0.1)


def test_the_true_heading_in_the_aligned_crop_is_the_third_number(one_pair):
    dataset = one_pair(paper=True)
    assert dataset.truths[0].yaw - dataset[0].crop_yaw == pytest.approx(math.radians(8.0))
    assert dataset[0].yaw == 0.0


@pytest.mark.parametrize("paper", [True, False])
def test_the_truth_is_where_the_crop_shows_it(one_pair, find_dot, paper):
    dataset = one_pair(paper)
    crop = Pose2D(dataset.labels[0].x, dataset.labels[0].y, dataset[0].crop_yaw)
    truth = crop.between(dataset.truths[0])
    found = find_dot(dataset[0].satellite)
    np.testing.assert_allclose(found, np.array([truth.x, -truth.y]) / 0.5, atol=0.1)


def test_a_north_up_crop_keeps_the_label_s_heading(one_pair):
    dataset = one_pair(paper=False)
    expected = pytest.approx((dataset.labels[0].yaw, 0.0), abs=1e-5)
    assert (dataset[0].yaw, dataset[0].crop_yaw) == expected


def test_the_numbers_move_the_prior_forward_left_and_clockwise():
    prior = prior_from_noise(Pose2D(0, 0, 0), (0.5, 0.25, 0.1), PriorNoise(20.0, 10.0))
    assert (prior.x, prior.y, prior.yaw) == pytest.approx((10.0, 5.0, -math.radians(1.0)))


def test_drawn_priors_follow_from_frame_and_seed_alone():
    lines = drawn_lines("2011_09_26_drive_0001_sync", [3, 4], [0, 1])
    assert [line.frame for line in lines] == [3, 3, 4, 4]
    assert len({line.noise for line in lines}) == 4
    assert drawn_lines("2011_09_26_drive_0001_sync", [4], [1]) == lines[3:]


def test_the_calibration_agrees_with_the_papers_camera_to_two_centimetres(raw, split, dot_imagery):
    root, _ = raw
    x, y, z = KittiDrive(root, "2011_09_26_drive_0001").camera.T_base_camera[:3, 3]
    assert (x, y, z) == pytest.approx((1.08, -0.26, 1.65), abs=0.02)


def test_in_the_papers_way_the_camera_stands_on_its_own_base_link(one_pair):
    dataset, calibrated = one_pair(paper=True), one_pair(paper=False)
    assert dataset[0].T_base_camera[:3, 3].tolist() == pytest.approx([0, 0, 1.65])
    assert calibrated[0].T_base_camera[:3, 3].tolist() == pytest.approx(
        [1.0805, -0.25, 1.659], abs=1e-3
    )
    between = calibrated.truths[0].between(dataset.truths[0])
    assert (between.x, between.y) == pytest.approx((1.08, -0.26), abs=1e-6)


def test_without_numbers_the_label_is_drawn_from_seed_and_name_alone(raw, split, dot_imagery, tiny):
    root, places = raw
    lines = [f"{DRIVE}/{i:010d}.png" for i in range(3)]

    def labels(chosen, seed):
        return KittiDataset(root, split(*chosen), dot_imagery(places[0]), tiny, seed=seed).labels

    every = labels(lines, 1)
    assert labels(lines[1:], 1)[-1].yaw == pytest.approx(every[-1].yaw, abs=1e-6)
    assert len({p.yaw for p in [*every, *labels(lines, 2)]}) == 6


def test_a_line_without_a_file_is_counted_and_named(raw, split, dot_imagery, tiny, caplog):
    root, places = raw
    absent = [f"{DRIVE}/0000000009.png", "2011_09_26/2011_09_26_drive_0002_sync/0000000000.png"]
    file = split(f"{DRIVE}/0000000001.png", *absent)
    dataset = KittiDataset(root, file, dot_imagery(places[0]), tiny)
    assert (len(dataset), sorted(dataset.missing)) == (1, sorted(absent))
    assert "2 of 3 lines of" in caplog.text and absent[0] in caplog.text


def test_a_list_of_which_no_file_is_there_is_refused(raw, split, dot_imagery, tiny):
    root, places = raw
    file = split(f"{DRIVE}/0000000009.png")
    with pytest.raises(ValueError, match="1 of 1 lines of .*list.txt have no file in .*0009.png"):
        KittiDataset(root, file, dot_imagery(places[0]), tiny)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_truncated_image_is_named_and_training_goes_on(raw, split, dot_imagery, tiny, workers):
    root, places = raw
    image = root / DRIVE / "image_02" / "data" / "0000000001.png"
    image.write_bytes(image.read_bytes()[:1000])
    file = split(*(f"{DRIVE}/{i:010d}.png" for i in range(3)))
    dataset = KittiDataset(root, file, dot_imagery(places[0]), tiny)
    loader = DataLoader(dataset, batch_size=3, collate_fn=collate, num_workers=workers)
    (batch,) = loader
    assert batch.index.tolist() == [0, 2]
    assert "0000000001.png: truncated" in batch.skipped[0].reason


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("2011_09_26/drive.png 0 0 0", '"2011_09_26/drive.png" is not date/drive/frame.png'),
        (f"{DRIVE}/0000000000.png 0 0", "needs no or three numbers in"),
        (f"{DRIVE}/0000000000.png 0 0 1.5", r"needs no or three numbers in \[-1, 1\].*1.5"),
        (f"{DRIVE}/0000000000.png 0 0 x", "could not convert string to float: 'x'"),
    ],
)
def test_a_broken_line_is_named(split, line, said):
    with pytest.raises(ValueError, match=f"list.txt, line 2: .*{said}|list.txt, line 2: {said}"):
        read_split(split(f"{DRIVE}/0000000000.png", line))


@pytest.mark.parametrize(("name", "count"), [("train", 19_655), ("test1", 3_773), ("test2", 7_542)])
def test_the_lists_of_the_papers_parse_completely(test_data: Path, name, count):
    lines = read_split(test_data / "splits_kitti" / f"{name}_files.txt")
    assert len(lines) == count
    assert all((line.noise is None) == (name == "train") for line in lines)


def test_a_real_drive_makes_a_pair(test_data: Path, split, dot_imagery, tiny):
    root = test_data / "kitti_raw"
    drive = KittiDrive(root, "2011_09_26_drive_0005")
    file = split("2011_09_26/2011_09_26_drive_0005_sync/0000000000.png 0 0 0")
    dataset = KittiDataset(root, file, dot_imagery(drive.latlon(0)), tiny)
    assert not isinstance(dataset[0], Unreadable)
    assert dataset.labels == dataset.truths
    assert dataset[0].ground.shape == (3, 32, 128) and dataset[0].ground.dtype == torch.uint8
