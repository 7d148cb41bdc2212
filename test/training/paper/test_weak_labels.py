# SPDX-License-Identifier: Apache-2.0
"""Weak labels only: the true pose has no way into the loss."""

import dataclasses
from dataclasses import replace

import numpy as np
import pytest
import torch

from g2s_localizer.geometry import Pose2D
from g2s_localizer.model import G2SNet, model_config
from training.data.drives import DriveDataset
from training.data.sample import Batch, PriorNoise, Sample, collate
from training.data.simulated import open_drive
from training.paper.pseudo_pairs import wide_pixels
from training.paper.stages import rotation_loss, translation_loss
from training.simulate import simulate

TINY = model_config(
    width=4, levels=3, features=4, gsd=1.0, ground_height=32, ground_width=128, yaw_step_deg=6.0
)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weak") / "drive"
    simulate(folder, 31, 4, "easy", rate=0.25)
    return open_drive(folder, 31)


@pytest.fixture(scope="module")
def labels(simulated):
    return PriorNoise().labels(simulated.truths, seed=(31, 7))


def loss_and_gradient(loss_of, dataset):
    torch.manual_seed(0)
    network = G2SNet(TINY).train()
    if loss_of is rotation_loss:
        dataset = dataset.widened(wide_pixels(TINY))
    loss = loss_of(network, collate([dataset[i] for i in range(len(dataset))]))
    loss.backward()
    gradient = [p.grad.clone() for p in network.parameters() if p.grad is not None]
    return loss.item(), gradient


@pytest.mark.parametrize("loss_of", [rotation_loss, translation_loss])
def test_another_truth_behind_the_same_labels_does_not_move_the_loss(simulated, labels, loss_of):
    def dataset(drive):
        return DriveDataset([replace(simulated, drive=drive).labelled(PriorNoise())], TINY)

    loss, gradient = loss_and_gradient(loss_of, dataset(simulated.drive))
    true_records = simulated.drive.oxts.copy()
    simulated.drive.oxts[:, :2] += 1e-3
    simulated.drive.oxts[:, 5] += 1.0
    other_loss, other_gradient = loss_and_gradient(loss_of, dataset(simulated.drive))
    simulated.drive.oxts[:] = true_records
    assert loss == other_loss
    assert all(map(torch.equal, gradient, other_gradient))


def test_other_labels_do_move_the_loss(simulated, labels):
    drive = simulated.labelled(PriorNoise())
    moved = [Pose2D(p.x + 5.0, p.y, p.yaw) for p in labels]
    losses = [
        loss_and_gradient(translation_loss, DriveDataset([replace(drive, labels=poses)], TINY))[0]
        for poses in (labels, moved)
    ]
    assert losses[0] != losses[1]


@pytest.mark.parametrize("kind", [Sample, Batch])
def test_neither_a_sample_nor_a_batch_has_a_field_that_holds_a_true_pose(kind):
    assert {f.name for f in dataclasses.fields(kind)} - {"skipped"} == {
        "index", "ground", "K", "T_base_camera", "satellite", "gsd", "yaw", "crop_yaw",
    }  # fmt: skip


def test_labels_are_as_noisy_as_the_prior_drawn_once_and_without_bias():
    truths = [Pose2D(0, 0, 0)] * 20_000
    noise = PriorNoise(20.0, 10.0)
    labels = noise.labels(truths, seed=(1, 7))
    xy = np.array([(p.x, p.y) for p in labels])
    assert np.abs(xy).max() <= 20.0
    assert xy.std() == pytest.approx(20.0 / np.sqrt(3), rel=0.02)
    assert abs(xy.mean()) < 0.3
    assert labels == noise.labels(truths, seed=(1, 7))
