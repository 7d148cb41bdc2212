# SPDX-License-Identifier: Apache-2.0
"""Pseudo-poses from labels and odometry."""

import math

import numpy as np
import pytest

from g2s_localizer.geometry import Pose2D
from training.data.sample import PriorNoise
from training.lift.trajectory import (
    OdometryNoise,
    gaussian_labels,
    headings,
    pseudo_poses,
    score_maps,
    uniform_labels,
)

EXACT = OdometryNoise(0.0, 0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def truths():
    """100 frames, 3.75 m apart, through an S of two bends."""
    yaw = 0.4 + 0.8 * np.sin(np.linspace(0.0, 2 * math.pi, 100))
    steps = 3.75 * np.stack([np.cos(yaw), np.sin(yaw)], axis=1)
    xy = np.concatenate([[[50.0, -20.0]], np.cumsum(steps[:-1], axis=0)])
    return [Pose2D(x, y, h) for (x, y), h in zip(xy, yaw, strict=True)]


def errors(poses, truths):
    found = [truth.between(pose) for pose, truth in zip(poses, truths, strict=True)]
    return np.array([(e.x, e.y, e.yaw) for e in found])


def test_uniform_labels_and_odometry_place_a_drive_within_a_metre(truths):
    found = []
    for seed in range(5):
        labels = PriorNoise().labels(truths, seed=(seed, 7))
        odometry = OdometryNoise().measure(truths, seed=(seed, 8))
        poses = pseudo_poses(odometry, [uniform_labels(labels, 20.0, 10.0)], labels, seed)
        found.append(errors(poses, truths))
    assert (np.sqrt(np.mean(np.square(found), axis=(0, 1))) < (1.0, 1.0, math.radians(0.4))).all()
    assert np.abs(np.median(found, axis=(0, 1))[:2]).max() < 0.5


def test_gaussian_labels_leave_the_error_of_a_mean(truths):
    rng = np.random.default_rng(3)
    noise = rng.normal(size=(100, 3)) * (11.5, 11.5, 0.1)
    labels = [
        Pose2D(t.x + x, t.y + y, t.yaw + yaw) for t, (x, y, yaw) in zip(truths, noise, strict=True)
    ]
    evidence = gaussian_labels(labels, 11.5, math.degrees(0.1))
    found = errors(pseudo_poses(EXACT.measure(truths, (3,)), [evidence], labels, 3), truths)
    assert (np.abs(found.mean(axis=0)) < (3 * 1.15, 3 * 1.15, 3 * 0.01)).all()


def test_exact_odometry_tells_the_motions_and_nothing_else(truths):
    moved = [Pose2D(7.0, -3.0, 1.0) @ truth for truth in truths]
    np.testing.assert_allclose(EXACT.measure(truths, (1,)), EXACT.measure(moved, (1,)), atol=1e-9)


def test_labels_moved_together_move_the_pseudo_poses_as_much(truths):
    labels = PriorNoise().labels(truths, seed=(2, 7))
    moved = [Pose2D(p.x + 100.0, p.y - 50.0, p.yaw) for p in labels]
    odometry = EXACT.measure(truths, (2,))
    first, second = (
        pseudo_poses(odometry, [uniform_labels(some, 20.0, 10.0)], some, 2)
        for some in (labels, moved)
    )
    offsets = [(b.x - a.x, b.y - a.y) for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(offsets, np.tile([100.0, -50.0], (100, 1)), atol=0.05)


def test_score_maps_and_headings_sharpen_what_labels_leave_open(truths):
    labels = PriorNoise().labels(truths, seed=(4, 7))
    axis = (np.arange(61) - 30.0) * 0.8
    maps = []
    for truth, label in zip(truths, labels, strict=True):
        east, north = axis - (truth.x - label.x), -axis - (truth.y - label.y)
        logits = -0.5 * (east[None] ** 2 + north[:, None] ** 2) / 1.5**2
        maps.append(logits - np.log(np.exp(logits).sum()))
    evidence = [
        uniform_labels(labels, 20.0, 10.0),
        score_maps(labels, np.array(maps), 0.8),
        headings(np.array([t.yaw for t in truths]), math.radians(1.0)),
    ]
    found = errors(pseudo_poses(EXACT.measure(truths, (4,)), evidence, labels, 4), truths)
    assert (np.abs(found).max(axis=0) < (0.3, 0.3, math.radians(0.3))).all()


def test_bounds_along_the_vehicle_s_axes_turn_with_it(truths):
    poses = np.array([[(t.x, t.y, t.yaw) for t in truths]])
    ahead = [truth @ Pose2D(19.0, -19.0, 0.0) for truth in truths]
    beyond = [truth @ Pose2D(21.0, 0.0, 0.0) for truth in truths]
    known = [uniform_labels(labels, 20.0, 10.0, True)(poses)[0] for labels in (ahead, beyond)]
    assert known[0] > -1.0 * len(truths) and known[1] < -2.0 * len(truths)
    # along the map's axes the corner of that box lies outside
    assert uniform_labels(ahead, 20.0, 10.0)(poses)[0] < known[0] - 100.0


def test_labels_that_err_together_count_for_their_share(truths):
    poses = np.array([[(t.x + 3.0, t.y, t.yaw) for t in truths]])
    whole, tenth = (gaussian_labels(truths, 5.0, 2.0, share)(poses)[0] for share in (1.0, 0.1))
    assert tenth == pytest.approx(0.1 * whole) and whole == pytest.approx(-0.5 * 100 * 0.36)
