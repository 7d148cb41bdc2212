# SPDX-License-Identifier: Apache-2.0
"""The refinement: a guess nearly right, and what it lacks."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import MultivariateNormal

from g2s_localizer.model.lift.lift import LiftedColumns
from g2s_localizer.model.lift.refine import (
    PoseRefiner,
    Residual,
    lacking,
    moved,
    patch_correlations,
)

CELL_M = 0.75
coordinate = st.floats(-30, 30, width=32)
angle = st.floats(-7, 7, width=32)
pose = st.tuples(coordinate, coordinate, angle)


def lifted(seed=0, channels=4):
    generator = torch.Generator().manual_seed(seed)
    T = torch.eye(4)
    T[:3, :3] = torch.tensor([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    T[:3, 3] = torch.tensor([1.0, 0.0, 1.65])
    K = torch.tensor([[40.0, 0, 31.5], [0, 40, 8], [0, 0, 1]])
    columns = torch.rand(1, channels + 1, 16, 64, generator=generator)
    return LiftedColumns(columns, CELL_M, K[None], T[None])


def trained(seed=0):
    """A refinement whose answers depend on what it sees."""
    torch.manual_seed(seed)
    network = PoseRefiner(4, 12.0, CELL_M, 8).eval()
    torch.nn.init.normal_(network.read[-1].weight, std=0.3)
    return network


@given(pose, pose)
def test_a_guess_moved_by_what_it_lacks_is_the_pose(guess, wanted):
    guess, wanted = torch.tensor([guess]), torch.tensor([wanted])
    found = moved(guess, lacking(guess, wanted))
    torch.testing.assert_close(found[:, :2], wanted[:, :2], atol=1e-3, rtol=0.0)
    assert abs(math.remainder(float(found[0, 2] - wanted[0, 2]), 2 * math.pi)) < 1e-5


def test_what_lies_ahead_of_the_guess_is_forward():
    guess = torch.tensor([[1.0, 2.0, math.pi / 2]])
    residual = lacking(guess, torch.tensor([[1.0, 5.0, math.pi / 2 + 0.1]]))
    torch.testing.assert_close(residual, torch.tensor([[3.0, 0.0, 0.1]]), atol=1e-5, rtol=0.0)


def test_the_likelihood_is_that_of_a_gaussian():
    root = torch.tensor([[[2.0, 0, 0], [0.5, 1.0, 0], [-1.0, 0.3, 9.0]]])
    residual = Residual(torch.tensor([[0.2, -0.4, 0.05]]), root)
    truth = torch.tensor([[1.0, 0.1, -0.02]])
    gaussian = MultivariateNormal(residual.mean[0], residual.covariance[0])
    constant = 1.5 * math.log(2 * math.pi)
    assert float(residual.negative_log_likelihood(truth)) + constant == pytest.approx(
        -float(gaussian.log_prob(truth[0])), abs=1e-4
    )


def test_before_training_a_guess_is_right_to_a_unit():
    network = PoseRefiner(4, 12.0, CELL_M, 8).eval()
    residual = network(lifted(), torch.rand(1, 4, 48, 48), torch.tensor([[0.3, -2.0, 1.0]]))
    assert residual.mean.abs().max() == 0.0
    deviation = torch.diagonal(residual.covariance[0]).sqrt()
    torch.testing.assert_close(deviation, network.unit)


def test_there_is_no_north_in_it():
    network, satellite = trained(), torch.rand(1, 4, 48, 48)
    guess = torch.tensor([[2.0, -1.0, 0.4]])
    turned = torch.tensor([[1.0, 2.0, 0.4 + math.pi / 2]])
    one = network(lifted(), satellite, guess)
    other = network(lifted(), torch.rot90(satellite, 1, (2, 3)), turned)
    assert one.mean.abs().max() > 1e-3
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)


def test_the_brightness_of_either_view_does_not_matter():
    network, satellite, ground = trained(), torch.rand(1, 4, 48, 48), lifted()
    guess = torch.tensor([[2.0, -1.0, 0.4]])
    brighter = LiftedColumns(
        torch.cat([3.0 * ground.columns[:, :-1], ground.columns[:, -1:]], dim=1),
        ground.step_m, ground.K, ground.T_base_camera,
    )  # fmt: skip
    one, other = network(ground, satellite, guess), network(brighter, 5.0 * satellite, guess)
    torch.testing.assert_close(one.mean, other.mean, atol=1e-3, rtol=1e-3)


def test_beyond_the_crop_there_is_nothing_and_no_trouble():
    guess = torch.tensor([[500.0, 0.0, 0.0]])
    residual = trained()(lifted(), torch.rand(1, 4, 48, 48), guess)
    assert np.isfinite(residual.covariance.detach().numpy()).all()


def test_guesses_of_several_images_and_crops_are_answered_as_each_alone():
    network, satellite = trained(), torch.rand(2, 4, 48, 48)
    images = [lifted(seed) for seed in range(4)]
    together = LiftedColumns(
        torch.cat([image.columns for image in images]), CELL_M,
        torch.cat([image.K for image in images]),
        torch.cat([image.T_base_camera for image in images]),
    )  # fmt: skip
    guess = torch.tensor([[2.0, -1.0, 0.4], [0.0, 1.0, 2.0], [1.0, 0.5, -1.0]]).repeat(4, 1)
    guess[:, 0] += torch.arange(12) / 10.0
    found = network(together, satellite, guess)
    for i in range(12):
        image = i // 3
        alone = network(images[image], satellite[image // 2, None], guess[i, None])
        torch.testing.assert_close(found.mean[i], alone.mean[0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(found.root[i], alone.root[0], atol=1e-5, rtol=1e-4)


def test_a_patch_is_compared_with_what_is_seen_beneath_it_at_each_shift():
    view, seen = torch.rand(2, 3, 8, 12), torch.rand(6, 3, 14, 18)
    found = patch_correlations(view, seen)
    assert found.shape == (6, 49, 2, 3)
    for guess, i, j, row, column in ((0, 0, 0, 0, 0), (2, 6, 1, 1, 2), (3, 2, 5, 0, 1)):
        patch = view[guess // 3, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        beneath = seen[guess, :, 4 * row + i :, 4 * column + j :][:, :4, :4]
        wanted = (patch * beneath).sum() / 16
        torch.testing.assert_close(found[guess, 7 * i + j, row, column], wanted)
