# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from training.losses import position_loss, weak_loss, yaw_loss


def test_the_weak_loss_of_two_pairs_by_hand():
    best = torch.tensor([[0.9, 0.5], [0.6, 0.8]])
    scores = best[..., None, None].expand(2, 2, 3, 3)
    # distances 2 - 2 score: 0.2, 1.0 / 0.8, 0.4; columns are the ground images
    terms = [math.log(2), math.log1p(math.exp(10 * (0.2 - 0.8))),
             math.log(2), math.log1p(math.exp(10 * (0.4 - 1.0)))]  # fmt: skip
    assert weak_loss(scores).item() == pytest.approx(sum(terms) / 2, abs=1e-6)


def test_the_weak_loss_does_not_care_where_in_the_crop_the_best_match_lies():
    scores = torch.rand(4, 4, 9, 9)
    shuffled = scores.flatten(2)[..., torch.randperm(81)].view_as(scores)
    assert weak_loss(scores).item() == pytest.approx(weak_loss(shuffled).item())


def test_a_better_right_pair_lowers_the_weak_loss_and_a_better_wrong_one_raises_it():
    scores = torch.full((3, 3, 2, 2), 0.5)
    right, wrong = scores.clone(), scores.clone()
    right[1, 1, 0, 0] = 0.7
    wrong[0, 1, 0, 0] = 0.7
    assert weak_loss(right) < weak_loss(scores) < weak_loss(wrong)


def test_the_yaw_loss_is_least_at_the_yaw_that_was_made():
    residuals = torch.linspace(-0.2, 0.2, 5)
    losses = [
        yaw_loss(torch.log_softmax(-((residuals - peak) ** 2)[None] * 500, 1), residuals,
                 torch.tensor([0.05])).item()
        for peak in (-0.1, 0.0, 0.05, 0.1, 0.2)
    ]  # fmt: skip
    assert min(losses) == losses[2]


def test_the_position_loss_looks_at_row_then_column():
    scores = torch.zeros(1, 8, 8)
    scores[0, 2, 5] = 1.0
    right = position_loss(scores, torch.tensor([[2.0, 5.0]]), 20.0)
    assert right < position_loss(scores, torch.tensor([[5.0, 2.0]]), 20.0)
