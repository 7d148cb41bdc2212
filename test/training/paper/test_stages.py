# SPDX-License-Identifier: Apache-2.0
"""The stages' losses, for the compact network and those of the paper."""

import math
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from flat_world import MODEL, PAPER_KITTI, PAPER_VIGOR, FlatWorld, flat_pairs

from g2s_localizer.geometry import Pose2D
from g2s_localizer.model import build_network, load_checkpoint, model_config
from training.data.sample import collate
from training.loop.run_folder import RunFolder
from training.paper.config import LossConfig
from training.paper.pseudo_pairs import motion_range, wide_pixels
from training.paper.satellite_pairs import paper_pairs
from training.paper.stages import stage_losses, trained_parameters, translation_loss
from training.paper.targets import Targets
from training.train import train

MODELS = [MODEL, PAPER_KITTI, PAPER_VIGOR]


def batch_of(world, count=4):
    return collate([world[i] for i in range(count)])


def network_of(model):
    torch.manual_seed(0)
    return build_network(model).train()


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.preset)
@pytest.mark.parametrize("terms", [{"weak": 1}, {"gps_window": 1}, {"supervised": 1}])
def test_every_term_trains_both_views(model, terms):
    world, network = FlatWorld(4, 5, (), model), network_of(model)
    losses = LossConfig(**{"weak": 0, **terms})
    torch.manual_seed(1)
    exact = Targets.exact(world)
    loss = translation_loss(network, batch_of(world), losses, exact, exact)
    loss.backward()
    trained = [p for p in trained_parameters(network, "translation") if p.grad is not None]
    assert loss.item() > 0
    assert sum(bool(p.grad.abs().sum() > 0) for p in trained) > len(trained) / 2


def test_terms_add_up_by_their_weights():
    world, network = FlatWorld(4, 5), network_of(MODEL).eval()
    exact = Targets.exact(world)

    def loss(**weights):
        torch.manual_seed(1)
        terms = LossConfig(**{"weak": 0.0, **weights})
        return translation_loss(network, batch_of(world), terms, exact, exact).item()

    parts = 2 * loss(weak=1.0) + 3 * loss(gps_window=1.0) + 0.5 * loss(supervised=1.0)
    whole = loss(weak=2.0, gps_window=3.0, supervised=0.5)
    assert whole == pytest.approx(parts, rel=1e-5)


def test_exact_labels_bring_the_peak_to_the_truth(config):
    eight = FlatWorld(8, 5)
    stage = {"steps": 120, "learning_rate": 0.01, "validate_every": 0, "ema": 0.0}
    run = config(
        rotation={"steps": 1},
        translation={**stage, "loss": {"weak": 0.0, "supervised": 1.0}},
        data={"spacing_m": 0.0},
    )
    pairs = replace(flat_pairs(), training=eight, calibration=eight)
    assert train(run, pairs, "")["median_m"] < 1.0


def test_a_term_that_looks_at_positions_needs_pairs_whose_poses_are_known(config):
    unknown = SimpleNamespace(labels=[Pose2D(0.0, 0.0, 0.0)], truths=None)
    for loss in ({"gps_window": 1.0}, {"supervised": 1.0}):
        with pytest.raises(ValueError, match="whose true poses are known"):
            stage_losses("translation", config(translation={"loss": loss}), unknown, unknown)
        with pytest.raises(ValueError, match="whose true poses are known"):
            known = FlatWorld(4, 5)
            stage_losses("translation", config(translation={"loss": loss}), known, unknown)
    stage_losses("translation", config(), unknown, unknown)


@pytest.mark.parametrize("terms", [{"weak": 1}, {"weak": 0, "supervised": 1}, {"gps_window": 1}])
def test_the_criterion_is_the_stage_s_own_loss_on_the_held_out_pairs(config, terms):
    run, network = config(translation={"loss": terms}), network_of(MODEL).eval()
    worlds = FlatWorld(4, 5), FlatWorld(4, 6)
    losses = stage_losses("translation", run, *worlds)
    swapped = stage_losses("translation", run, *reversed(worlds))
    values = []
    for loss_of in (losses.criterion, swapped.training):
        torch.manual_seed(1)
        values.append(loss_of(network, batch_of(worlds[1])).item())
    assert values[0] == values[1]


def test_a_made_pair_matches_at_its_cell_even_before_training():
    wide = model_config(**{**asdict(PAPER_KITTI), "yaw_range_deg": 40.0})
    with torch.no_grad():
        _, _, scores, cell = paper_pairs(
            network_of(wide).eval(),
            batch_of(FlatWorld(16, 5, (), wide).widened(wide_pixels(wide)), 16),
        )
    peak = scores.flatten(1).argmax(dim=1)
    found = torch.stack([peak // scores.shape[-1], peak % scores.shape[-1]], dim=1)
    assert (found - cell).abs().amax(dim=1).median() <= 1


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.preset)
def test_the_gradient_in_bf16_lies_along_that_in_fp32(model):
    world, gradients = FlatWorld(4, 5, (), model), []
    exact = Targets.exact(world)
    for precision in (torch.float32, torch.bfloat16):
        network = network_of(model)
        network.precision = precision
        torch.manual_seed(1)
        terms = LossConfig(weak=0.0, supervised=1.0)
        translation_loss(network, batch_of(world), terms, exact=exact).backward()
        trained = trained_parameters(network, "translation")
        gradients.append(torch.cat([p.grad.flatten() for p in trained if p.grad is not None]))
    assert torch.cosine_similarity(*gradients, dim=0) > 0.95


@pytest.mark.parametrize("model", [MODEL, PAPER_KITTI], ids=lambda model: model.preset)
def test_errors_of_made_pairs_are_in_degrees_and_metres(config, model):
    network = network_of(model).eval()
    world = FlatWorld(4, 5, (), model).widened(wide_pixels(model))
    losses = stage_losses("rotation", replace(config(), model=model), world, world)
    with torch.no_grad():
        found = losses.errors(network, batch_of(world))
    offset_m, yaw = motion_range(model)
    assert 0 < found["pair_yaw_median_deg"] < 4 * math.degrees(yaw)
    assert 0 < found["pair_median_m"] < 4 * offset_m


def pairs_of(model):
    return replace(flat_pairs(4, model=model), calibration=None)


def test_the_paper_s_stages_train_one_after_the_other(config):
    step = {"steps": 1, "batch": 2, "validate_every": 0, "validation_batches": 1}
    run = replace(config(rotation=step, translation=step), model=PAPER_KITTI)
    train(run, pairs_of(PAPER_KITTI), "")
    finished, _ = load_checkpoint(RunFolder(Path(run.out)).finished)
    assert finished.config == PAPER_KITTI


def test_a_panorama_network_without_rotation_trains_translation_alone(config):
    step = {"steps": 1, "batch": 2, "validate_every": 0, "validation_batches": 1}
    run = replace(config(translation=step), rotation=None, model=PAPER_VIGOR)
    train(run, pairs_of(PAPER_VIGOR), "")
    assert RunFolder(Path(run.out)).finished.is_file()
