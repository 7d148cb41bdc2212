# SPDX-License-Identifier: Apache-2.0
"""Positions beside the label, in the axes of the crop."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from flat_world import FlatWorld

from g2s_localizer.geometry import Pose2D
from training.data.sample import collate
from training.paper.stages import quarter_turns
from training.paper.targets import Targets, offset_cells

WORLD = FlatWorld(40, 6)


def test_an_offset_is_seen_along_the_axes_of_the_crop():
    # 3 m north and 1 m east of the label, in a crop whose u axis points north
    targets = Targets([Pose2D(10.0, 5.0, 0.3)], [Pose2D(11.0, 8.0, 0.0)])
    batch = replace(collate([WORLD[0]]), crop_yaw=torch.tensor([math.pi / 2]))
    torch.testing.assert_close(targets.offsets(batch), torch.tensor([[3.0, -1.0]]))


def test_a_target_turns_with_the_crop():
    torch.manual_seed(1)
    batch = collate([WORLD[i] for i in range(8)])
    targets = Targets.exact(WORLD)
    turned = quarter_turns(batch)
    before, after = targets.offsets(batch), targets.offsets(turned)
    angle = (turned.yaw - batch.yaw)[:, None]
    x, y = before[:, :1], before[:, 1:]
    expected = torch.cat([x * angle.cos() - y * angle.sin(), x * angle.sin() + y * angle.cos()], 1)
    torch.testing.assert_close(after, expected, atol=1e-4, rtol=0.0)


def test_the_middle_of_the_crop_is_the_middle_cell_and_up_is_a_smaller_row():
    offsets = torch.tensor([[0.0, 0.0], [1.0, 2.0]])
    assert offset_cells(offsets, 9, 0.5).tolist() == [[4.0, 4.0], [0.0, 6.0]]


def test_fixes_lie_within_their_error_of_the_truth_and_follow_from_the_seed():
    def offsets(seed):
        batch = collate([WORLD[i] for i in range(40)])
        return Targets.fixes(WORLD, 2.0, seed).offsets(batch), Targets.exact(WORLD).offsets(batch)

    fix, exact = offsets(1)
    assert 1.0 < float((fix - exact).abs().max()) <= 2.0
    assert torch.equal(fix, offsets(1)[0])
    assert not torch.equal(fix, offsets(2)[0])


def test_targets_of_pairs_whose_truth_nobody_knows_are_refused():
    with pytest.raises(ValueError, match="whose true poses are known"):
        Targets.exact(SimpleNamespace(labels=[Pose2D(0, 0, 0)], truths=None))
