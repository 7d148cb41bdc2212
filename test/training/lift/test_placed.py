# SPDX-License-Identifier: Apache-2.0
"""Pairs placed by pseudo-poses, and the dense loss of them."""

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from g2s_localizer.geometry import Pose2D
from g2s_localizer.imagery import MissingImagery
from g2s_localizer.model import LiftNet, model_config
from g2s_localizer.model.lift.lift import LiftedColumns, columns_to_overhead
from g2s_localizer.model.unet import feature_intrinsics
from training.data.sample import PriorNoise
from training.data.simulated import open_drives
from training.lift.loss import registration_loss, shares, volume_loss
from training.lift.placed import PlacedDrive, _Seen, placed_batch
from training.lift.trajectory import OdometryNoise, pseudo_poses, uniform_labels

TINY = model_config(
    preset="lift", width=4, levels=3, features=4, gsd=1.0, ground_height=32, ground_width=64,
    yaw_step_deg=6.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    return open_drives(tmp_path_factory.mktemp("placed"), "easy", [31], 6, 2.5)[0]


def placed(simulated, poses=None):
    labels = PriorNoise().labels(simulated.truths, seed=(31, 7))
    if poses is None:
        odometry = OdometryNoise().measure([Pose2D(3.7 * i, 0, 0) for i in range(6)], (31, 8))
        poses = pseudo_poses(odometry, [uniform_labels(labels, 20.0, 10.0)], labels, 31)
    model = TINY
    return PlacedDrive(simulated.labelled(PriorNoise()), poses, model)


def test_a_picture_that_cannot_be_read_is_skipped_and_counted(simulated, caplog):
    labelled = simulated.labelled(PriorNoise())

    def read(frame):
        if frame in (1, 4):
            raise cv2.error("odd")
        return labelled.read(frame)

    drive = PlacedDrive(replace(labelled, read=read), labelled.labels, TINY)
    assert drive.readable.tolist() == [0, 2, 3, 5] and len(drive.poses) == 6
    assert "2 of 6 images skipped: frame 1: error: odd, frame 4" in caplog.text
    drive.poses = np.zeros((6, 3))
    assert (batch_of(drive).ground.flatten(1).float().mean(1) > 30).all()


def batch_of(drive):
    return placed_batch([drive], 2, 3, 96.0, PriorNoise(), np.random.default_rng(5))


def test_another_truth_behind_the_same_labels_and_odometry_does_not_move_the_loss(simulated):
    def loss():
        torch.manual_seed(0)
        return registration_loss(LiftNet(TINY), batch).item()

    batch = batch_of(placed(simulated))
    first = loss()
    poses = [Pose2D(*pose) for pose in placed(simulated).poses]
    true_records = simulated.drive.oxts.copy()
    simulated.drive.oxts[:, :2] += 1e-3
    simulated.drive.oxts[:, 5] += 1.0
    batch = batch_of(placed(simulated, poses))
    simulated.drive.oxts[:] = true_records
    assert first == loss()


def test_a_crop_turned_by_a_quarter_is_the_crop_with_its_rows_and_columns_exchanged(simulated):
    drive = placed(simulated)
    straight, turned = (drive.turned_crop(drive.poses[0, :2], a, 96.0) for a in (0.0, math.pi / 2))
    np.testing.assert_allclose(turned.astype(int), np.rot90(straight).astype(int), atol=2)


def test_the_frames_of_a_crop_keep_their_distances_and_angles(simulated):
    drive = placed(simulated)
    batch = batch_of(drive)
    a, b = batch.pose[0].numpy(), batch.pose[1].numpy()
    distances = np.hypot(*(drive.poses[:, None, :2] - drive.poses[None, :, :2]).transpose(2, 0, 1))
    assert np.abs(distances - np.hypot(*(a - b)[:2])).min() < 1e-3
    assert abs(batch.prior_yaw - batch.pose[:, 2]).max() <= math.radians(10.0) + 1e-5


def test_places_at_the_edge_of_the_imagery_are_passed_over(simulated):
    drive = placed(simulated)
    drive.poses[3:, 0] += 1e5
    for seed in range(5):
        batch = placed_batch([drive], 2, 1, 96.0, PriorNoise(), np.random.default_rng(seed))
        assert len(batch.satellite) == 2
    drive.poses[:3, 0] += 1e5
    with pytest.raises(MissingImagery):
        placed_batch([drive], 1, 1, 96.0, PriorNoise(), np.random.default_rng(0))


def test_however_small_a_crop_is_its_frames_lie_within_what_is_searched(simulated):
    drive = placed(simulated)
    search = 60.0 / 2 - drive.model.reach_m
    for seed in range(30):
        batch = placed_batch([drive], 1, 2, 60.0, PriorNoise(), np.random.default_rng(seed))
        assert batch.pose[:, :2].abs().max() < search


def test_the_overhead_view_of_a_mirrored_image_is_the_mirrored_view(simulated):
    drive = placed(simulated)
    image = drive.ground[2].numpy().transpose(1, 2, 0)
    seen = _Seen(image, drive.K, drive.T_base_camera, drive.poses[2])
    columns = torch.rand(1, 1, 24, drive.model.ground_width // 2)
    views = []
    for one, content in ((seen, columns), (seen.mirrored(), columns.flip(-1))):
        K, T, pose = (
            torch.tensor(np.array([value], dtype=np.float32))
            for value in (one.K, one.T_base_camera, one.pose)
        )
        lifted = LiftedColumns(content, 1.0, feature_intrinsics(K), T)
        views.append(columns_to_overhead(lifted, pose[:, 2], 24, 2.0)[0])
    torch.testing.assert_close(views[1], views[0].flip(-1), atol=1e-3, rtol=0.0)


def loss_at(scores, heading, row, column):
    size = scores.shape[1]
    at = [torch.tensor([value]) for value in (heading, row, column)]
    return float(volume_loss(scores, torch.tensor(50.0), shares(at[0], size), at[1], at[2]))


def test_the_loss_is_least_where_the_scores_peak_on_the_target():
    scores = torch.zeros(1, 3, 5, 5)
    scores[0, 1, 2, 3] = 1.0
    assert loss_at(scores, 1.0, 2.0, 3.0) == pytest.approx(0.0, abs=1e-3)
    assert loss_at(scores, 1.0, 2.0, 4.0) == pytest.approx(50.0, abs=1e-3)


def test_a_target_between_cells_is_shared_by_them():
    scores = torch.zeros(1, 3, 4, 4)
    scores[0, 1, 2, 1] = scores[0, 1, 2, 2] = 1.0
    assert loss_at(scores, 1.0, 2.0, 1.5) == pytest.approx(math.log(2.0), abs=1e-3)
