# SPDX-License-Identifier: Apache-2.0
import math
import pickle
import sqlite3
import struct
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from flat_world import PAPER_KITTI, PAPER_VIGOR
from torch.utils.data import DataLoader

from g2s_localizer.estimator.config import LocalizerConfig
from g2s_localizer.estimator.estimate import Observation, Prior
from g2s_localizer.estimator.localizer import Localizer
from g2s_localizer.geometry import LocalFrame, Panorama, Pose2D
from g2s_localizer.model import build_network
from training.data.drives import DriveDataset, pieces
from training.data.process_imagery import ProcessImagery
from training.data.sample import PriorNoise, Unreadable, collate
from training.data.simulated import open_drive, simulated_dataset
from training.lift.placed import PlacedDrive
from training.score.predict import predict


@pytest.fixture(scope="module")
def drive(simulated):
    return open_drive(simulated, 31)


@pytest.fixture(scope="module")
def dataset(drive, tiny):
    return simulated_dataset([drive], tiny, PriorNoise())


@pytest.mark.parametrize("preset", ["compact", "paper-kitti", "paper-vigor"])
def test_what_the_dataset_and_the_node_show_the_network_is_equal_to_the_bit(drive, tiny, preset):
    # The node cuts crops around multiples of four metres, and turns them to whole degrees.
    label = Pose2D(4.0, -8.0, 2.0 * math.pi * 17 / 360)
    model = {"paper-kitti": PAPER_KITTI, "paper-vigor": PAPER_VIGOR}.get(preset, tiny)
    image, camera = drive.drive.image(2), drive.drive.camera
    if model.panorama:
        camera = Panorama(1242, 375, camera.T_base_camera)
    network = build_network(model).eval()
    node = Localizer(network, "", drive.imagery, LocalizerConfig("", map_sigma_m=0.0))
    prior = Prior(0, label, 1e-4 * np.eye(3), drive.frame)
    seen = node.localize(Observation(0, image, camera, prior))

    labelled = replace(drive.labelled(PriorNoise()).taken([2]), labels=[label], camera=camera)
    (found,) = predict(network, DriveDataset([labelled], model))
    assert np.array_equal(seen.score_grid.log_probability, found.score_map.log_probability.numpy())
    assert seen.pose.between(found.pose).yaw == pytest.approx(0.0, abs=1e-6)
    assert (seen.pose.x, seen.pose.y) == pytest.approx((found.pose.x, found.pose.y), abs=1e-6)


def test_a_sample_is_centred_on_its_label_alone(dataset, drive, tiny):
    sample, label = dataset[1], dataset.labels[1]
    crop = drive.imagery.crop(drive.frame.to_latlon(label.x, label.y), tiny.crop_m, tiny.gsd)
    assert np.array_equal(sample.satellite.numpy().transpose(1, 2, 0), crop.image)
    assert sample.yaw == pytest.approx(label.yaw, abs=1e-4)


FAR = Pose2D(2e5, 3e4, 0.5)
"""Of a label 200 km from its datum, whose north is turned by two degrees."""


@pytest.fixture
def far_drive(drive, dot_imagery):
    """A frame labelled FAR; its imagery shows a dot that in the label's frame is 15 m ahead."""
    ahead = FAR @ Pose2D(15.0, 0.0, 0.0)
    dot = dot_imagery(drive.frame.to_latlon(ahead.x, ahead.y))
    one = drive.labelled(PriorNoise()).taken([0])
    return replace(one, labels=[FAR], truths=[ahead], imagery=dot)


@pytest.mark.parametrize("aligned", [False, True])
def test_what_lies_ahead_of_a_label_far_from_its_datum_lies_along_its_yaw(
    far_drive, tiny, find_dot, aligned
):
    sample = DriveDataset([far_drive], tiny, aligned)[0]
    ahead = 15.0 / tiny.gsd * np.array([math.cos(sample.yaw), -math.sin(sample.yaw)])
    np.testing.assert_allclose(find_dot(sample.satellite), ahead, atol=0.2)
    assert sample.yaw + sample.crop_yaw == pytest.approx(FAR.yaw)
    assert abs(sample.yaw) == 0.0 or not aligned


def test_a_placed_crop_far_from_its_datum_has_the_axes_of_its_poses(far_drive, tiny, find_dot):
    placed = PlacedDrive(far_drive, [FAR], tiny)
    image = placed.turned_crop(np.array([FAR.x, FAR.y]), -FAR.yaw, 80.0)
    np.testing.assert_allclose(find_dot(image.transpose(2, 0, 1)), (15.0 / tiny.gsd, 0), atol=0.2)


def test_samples_do_not_depend_on_the_worker(dataset):
    batches = [[3, 1], [0, 4], [2]]
    read = [
        list(DataLoader(dataset, batch_sampler=batches, collate_fn=collate, num_workers=workers))
        for workers in (0, 2)
    ]
    for here, there in zip(*read, strict=True):
        assert torch.equal(here.index, there.index)
        assert torch.equal(here.ground, there.ground)
        assert torch.equal(here.satellite, there.satellite)


def test_a_dataset_survives_pickling(dataset):
    again = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(again[4].satellite, dataset[4].satellite)


def test_a_label_outside_the_imagery_is_a_named_skip(drive, tiny):
    far = [Pose2D(1e5, 0.0, 0.0)] * len(drive.truths)
    sample = DriveDataset([replace(drive.labelled(PriorNoise()), labels=far)], tiny)[0]
    assert isinstance(sample, Unreadable)
    assert "simulated drive 31, frame 0" in sample.name and "lacks" in sample.reason


def raising(error):
    def raise_it(*_):
        raise error

    return raise_it


ODD = [
    cv2.error("resize failed"), sqlite3.DatabaseError("malformed"), IsADirectoryError(21, "is one"),
    PermissionError(13, "denied"), TypeError("a NULL"), MemoryError(), ValueError("no picture"),
    KeyError("x"), struct.error("short"),
]  # fmt: skip


@pytest.mark.parametrize("error", ODD, ids=lambda error: type(error).__name__)
def test_whatever_goes_wrong_with_one_picture_is_a_named_skip(drive, tiny, error):
    labelled = replace(drive.labelled(PriorNoise()), read=raising(error))
    sample = DriveDataset([labelled], tiny)[2]
    assert isinstance(sample, Unreadable) and "simulated drive 31, frame 2" in sample.name
    assert sample.reason and "\n" not in sample.reason


@pytest.mark.parametrize(
    "error",
    [e for e in ODD if not isinstance(e, ValueError)],
    ids=lambda error: type(error).__name__,
)
def test_whatever_goes_wrong_with_one_tile_is_a_named_skip(drive, tiny, error):
    imagery = SimpleNamespace(crop=raising(error), attribution="")
    labelled = replace(drive.labelled(PriorNoise()), imagery=imagery)
    assert isinstance(DriveDataset([labelled], tiny)[2], Unreadable)


def test_a_crop_that_cannot_be_is_an_error_and_no_skip(dataset):
    with pytest.raises(ValueError, match="8192"):
        dataset.widened(20_000)[0]


def test_a_sample_is_named_by_its_drive_and_frame(drive, tiny):
    labelled = drive.labelled(PriorNoise())
    dataset = DriveDataset([labelled, replace(labelled, name="again").taken([3, 1])], tiny)
    assert [dataset.name(i) for i in (4, 5, 6)] == [
        "simulated drive 31, frame 4", "again, frame 3", "again, frame 1",
    ]  # fmt: skip


def test_nearness_is_that_of_the_labels_on_the_ground(drive, tiny):
    labels = [Pose2D(0, 0, 0), Pose2D(30, 40, 1), *[Pose2D(300, 0, 0)] * 3]
    dataset = DriveDataset([replace(drive.labelled(PriorNoise()), labels=labels)], tiny)
    assert dataset.apart(0, [1, 2], 49.9)
    assert not dataset.apart(0, [2, 1], 50.1)


def test_drives_on_one_imagery_may_show_one_place_and_on_two_they_cannot(drive, tiny):
    labelled = drive.labelled(PriorNoise())
    frame = LocalFrame(drive.frame.to_latlon(100.0, 0.0))
    back = [Pose2D(p.x - 100.0, p.y, p.yaw) for p in labelled.labels]
    same = DriveDataset([labelled, replace(labelled, frame=frame, labels=back)], tiny)
    other = replace(labelled, imagery=ProcessImagery(drive.imagery.uri))
    assert not same.apart(0, [5], 1.0) and same.group(5) == 1
    assert DriveDataset([labelled, other], tiny).apart(0, [5], 1.0)


def test_truths_are_unknown_when_those_of_one_drive_are(drive, tiny):
    labelled = drive.labelled(PriorNoise())
    assert DriveDataset([labelled, replace(labelled, truths=None)], tiny).truths is None


def test_labels_that_do_not_fit_the_images_are_refused(drive):
    with pytest.raises(ValueError, match="simulated drive 31: 1 labels for 5 images"):
        replace(drive.labelled(PriorNoise()), labels=[Pose2D(0, 0, 0)])


def test_pieces_are_the_drive_s_images_some_way_apart_and_keep_its_motions(drive):
    labelled = drive.labelled(PriorNoise())
    halves = [pose for t in drive.truths for pose in (t, t @ Pose2D(0.4, 0.0, 0.0))]
    twice = replace(
        labelled,
        frames=range(len(halves)),
        labels=halves,
        truths=halves,
        track=[Pose2D(-7.0, 2.0, 1.0) @ pose for pose in halves],
    )
    cut = pieces(twice, 1.0, 3)
    assert [frame for piece in cut for frame in piece.frames] == list(range(0, len(halves), 2))
    assert max(len(piece.frames) for piece in cut) <= 3
    for piece in cut:
        for motion, a, b in zip(piece.motions(), piece.truths, piece.truths[1:], strict=False):
            m = a.between(b)
            assert motion == pytest.approx((m.x, m.y, m.yaw), abs=1e-9)


def test_a_drive_without_odometry_says_so(drive):
    with pytest.raises(ValueError, match="simulated drive 31 has no odometry"):
        pieces(drive.labelled(PriorNoise()), 1.0, 3)
