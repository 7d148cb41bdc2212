# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from training.paper.losses import (
    dense_triplet_loss,
    gps_window_loss,
    pose_loss,
    position_loss,
    weak_loss,
    yaw_loss,
)


def test_the_weak_loss_of_two_pairs_by_hand():
    best = torch.tensor([[0.9, 0.5], [0.6, 0.8]])
    scores = best[..., None, None].expand(2, 2, 3, 3)
    # distances 2 - 2 score: 0.2, 1.0 / 0.8, 0.4; rows are the satellite crops
    terms = [math.log(2), math.log1p(math.exp(10 * (0.2 - 1.0))),
             math.log(2), math.log1p(math.exp(10 * (0.4 - 0.8)))]  # fmt: skip
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


def map_with_peak(row, column, side=12):
    scores = torch.zeros(1, side, side)
    scores[0, row, column] = 0.9
    return scores


@pytest.mark.parametrize(
    ("row", "column", "inside"), [(4, 4, True), (7, 7, True), (8, 6, False), (3, 6, False)]
)
def test_the_gps_loss_is_zero_when_the_best_match_lies_in_the_window(row, column, inside):
    loss = gps_window_loss(map_with_peak(row, column), torch.tensor([[6, 6]]), torch.tensor([2]))
    assert loss.item() == pytest.approx(0.0 if inside else 1.8)


def test_a_gps_window_that_misses_the_map_is_refused():
    with pytest.raises(ValueError, match=r"window of 2 cells around \(20, 3\) misses the map"):
        gps_window_loss(map_with_peak(1, 1), torch.tensor([[20, 3]]), torch.tensor([2]))


def test_the_dense_triplet_loss_of_two_cells_by_hand():
    scores = torch.tensor([[[0.9, 0.4]]])  # distances 0.2 and 1.2
    terms = math.log(2) + math.log1p(math.exp(10 * (0.2 - 1.2)))
    assert dense_triplet_loss(scores, torch.tensor([[0, 0]])).item() == pytest.approx(terms)


def test_the_dense_triplet_loss_refuses_a_cell_outside_the_map():
    with pytest.raises(ValueError, match="must lie in the map of 12 x 12"):
        dense_triplet_loss(map_with_peak(1, 1), torch.tensor([[12, 0]]))


def test_the_pose_loss_by_hand():
    delta, target = torch.tensor([[0.1, 0.0, 0.5]]), torch.tensor([[0.0, -0.2, 0.25]])
    loss = pose_loss(delta, target, torch.tensor(2.0), torch.tensor([-1.0, -2.0]))
    assert loss.item() == pytest.approx(math.e * 0.55 + math.exp(2) * 2.0 - 3.0)


def test_the_losses_of_the_paper_have_the_gradients_of_their_values():
    torch.manual_seed(0)
    scores = torch.rand(2, 4, 4, dtype=torch.float64, requires_grad=True)
    cell, width = torch.tensor([[1, 2], [2, 0]]), torch.tensor([1, 2])
    assert torch.autograd.gradcheck(lambda s: dense_triplet_loss(s, cell), scores)
    assert torch.autograd.gradcheck(lambda s: gps_window_loss(s, cell, width), scores)
