# SPDX-License-Identifier: Apache-2.0
"""One step: what the gradient is the mean of, and how averaged weights follow."""

import pytest
import torch
from flat_world import MODEL, FlatWorld, per_pair_loss

from g2s_localizer.model import G2SNet
from training.data.sample import collate
from training.loop.config import StageConfig
from training.loop.learner import Learner, open_accelerator
from training.paper.stages import trained_parameters

WORLD = FlatWorld(8, 4)


def learner(stage="translation", loss_of=per_pair_loss, **options):
    torch.manual_seed(0)
    network = G2SNet(MODEL)
    config = StageConfig(**{"learning_rate": 0.01, **options})
    parameters = trained_parameters(network, stage)
    accelerator = open_accelerator("cpu", "fp32")
    return Learner(accelerator, network, parameters, loss_of, config, 10)


def batch(*indices):
    return collate([WORLD[i] for i in indices])


def test_two_batches_of_a_step_do_as_one_twice_as_large():
    whole, halves = learner(), learner(accumulate=2)
    one = whole.update([batch(*range(8))])
    two = halves.update([batch(0, 1, 2, 3), batch(4, 5, 6, 7)])
    assert two.loss == pytest.approx(one.loss, rel=1e-5)
    assert two.gradient_norm == pytest.approx(one.gradient_norm, rel=1e-3)


@pytest.mark.parametrize("stage", ["rotation", "translation"])
def test_a_stage_changes_its_own_parameters_and_no_others(stage):
    trained = learner(stage)
    before = {name: p.clone() for name, p in trained.network.named_parameters()}
    trained.update([batch(*range(8))])
    other = "ground_extractor" if stage == "rotation" else "rotation"
    changed = {n for n, p in trained.network.named_parameters() if not torch.equal(p, before[n])}
    assert changed
    assert not {name for name in changed if name.startswith(other)}


def test_without_decay_the_average_is_the_network_itself():
    trained = learner(ema=0.0)
    for _ in range(3):
        trained.update([batch(*range(8))])
    now, average = trained.network.state_dict(), trained.averaged.state_dict()
    assert all(torch.equal(now[name], average[name]) for name in now)


def test_the_average_follows_by_a_share_that_shrinks_from_the_start():
    trained = learner(ema=0.5)
    head = [trained.network.ground_extractor.head.weight]
    for _ in range(3):
        trained.update([batch(*range(8))])
        head.append(trained.network.ground_extractor.head.weight.detach().clone())
    # decays min(0.5, (1 + n) / (10 + n)): the first update copies, then 2/11, then 3/12
    second = head[1] + (1 - 2 / 11) * (head[2] - head[1])
    third = second + (1 - 3 / 12) * (head[3] - second)
    torch.testing.assert_close(trained.averaged.ground_extractor.head.weight, third)


def test_a_gradient_that_is_not_finite_changes_nothing():
    trained = learner(loss_of=lambda network, b: per_pair_loss(network, b) * float("nan"))
    before = trained.network.ground_extractor.head.weight.clone()
    with pytest.raises(FloatingPointError, match="the loss is nan and the norm of its gradient"):
        trained.update([batch(*range(8))])
    assert torch.equal(trained.network.ground_extractor.head.weight, before)
