# SPDX-License-Identifier: Apache-2.0
"""Which images belong to their crops."""

import numpy as np
import pytest
import torch

from g2s_localizer.model import model_config
from training.data.sample import PriorNoise
from training.data.simulated import open_drives, simulated_dataset
from training.score.belonging import KINDS, Contradicted, _logistic, learn_belonging


@pytest.fixture(scope="module")
def pairs(simulated_folder):
    model = model_config(preset="lift")
    drives = open_drives(simulated_folder, "easy", [31], 4, 2.5)
    return simulated_dataset(drives, model, PriorNoise())


def test_the_log_odds_of_two_gaussians_are_found():
    rng = np.random.default_rng(0)
    right, wrong = (np.c_[rng.normal(m, 1.0, 20000), np.ones(20000)] for m in (1.0, -1.0))
    assert _logistic(right, wrong) == pytest.approx([2.0, 0.0], abs=0.1)


def test_the_sizes_of_the_two_groups_do_not_move_even_odds():
    rng = np.random.default_rng(0)
    right, wrong = (np.c_[rng.normal(m, 1.0, n), np.ones(n)] for m, n in ((1, 500), (-1, 50000)))
    assert _logistic(right, wrong)[1] == pytest.approx(0.0, abs=0.2)


def test_a_contradicted_pair_is_the_same_whoever_asks(pairs):
    first, again = Contradicted(pairs)[2], Contradicted(pairs)[2]
    assert torch.equal(first.ground, again.ground) and first.yaw == again.yaw


def test_images_are_mirrored_and_headings_turned_and_crops_left_alone(pairs):
    spoilt = Contradicted(pairs)
    mirrored, turned = KINDS.index("mirrored"), KINDS.index("turned")
    assert torch.equal(spoilt[mirrored].ground.flip(-1), pairs[mirrored].ground)
    assert abs(spoilt[turned].yaw - pairs[turned].yaw) > np.radians(19)
    assert torch.equal(spoilt[turned].satellite, pairs[turned].satellite)


def test_too_few_answers_leave_every_image_where_it_is(pairs):
    from g2s_localizer.model import load_checkpoint
    from g2s_localizer.model.checkpoint import SHIPPED

    network, _ = load_checkpoint(SHIPPED)
    assert learn_belonging(network, pairs).startswith("no evidence")
    assert network.correlation_floor == -1.0 and network.evidence_weights[-1] == 20.0
