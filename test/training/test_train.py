# SPDX-License-Identifier: Apache-2.0
"""Runs in this process: they overfit, go on exactly where they stopped, and stop in time."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from flat_world import FlatWorld, flat_pairs
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from g2s_localizer.model import load_checkpoint
from g2s_localizer.model.checkpoint import read_provenance
from training.data.selection import Part
from training.loop.interruption import Interrupted
from training.loop.provenance import commit
from training.loop.run_folder import RunFolder
from training.score.validation import FIGURES
from training.train import train


def same(a, b):
    """Whether two nested states are equal to the bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def run_folder(config):
    return RunFolder(Path(config.out))


def scalars(config, stage, name):
    events = EventAccumulator(str(run_folder(config).tensorboard / stage))
    return [event.value for event in events.Reload().Scalars(f"{stage}/{name}")]


def test_four_pairs_are_learnt_by_heart(config):
    run = config(
        rotation={"steps": 1},
        translation={"steps": 300, "learning_rate": 0.01, "validate_every": 0, "ema": 0.0},
        data={"spacing_m": 0.0},
    )
    train(run, replace(flat_pairs(), training=FlatWorld(4, 5)), "")
    losses = scalars(run, "translation", "loss")
    floor = 4 * math.log(2) / (4 * 3)
    assert np.mean(losses[:10]) > 3 * floor
    assert np.mean(losses[-30:]) < 1.3 * floor


READINGS = {"paper": (13, 24, 26, 49, 72), "lift": (3, 138)}


def test_a_run_interrupted_anywhere_ends_as_an_uninterrupted_one_to_the_bit(recipe):
    whole = recipe.config("whole")
    train(whole, recipe.data, "")
    kept = (run_folder(whole).best(recipe.stages[1]), run_folder(whole).last)
    finished = load_checkpoint(run_folder(whole).finished)[0].state_dict()
    for reading in READINGS[recipe.name]:
        broken = recipe.config(f"broken{reading}")
        with pytest.raises(Interrupted, match="stopped after step .*\n  the command --resume"):
            train(broken, recipe.interrupted(reading), "the command")
        train(broken, recipe.data, "", resume=True)
        states = [run_folder(run).load_state() for run in (whole, broken)]
        assert same(*({**state, "config": None} for state in states)), reading
        for file in kept:
            assert file.read_bytes() == (run_folder(broken).root / file.name).read_bytes(), reading
        network, _ = load_checkpoint(run_folder(broken).finished)
        assert same(network.state_dict(), finished), reading


def test_a_stage_stops_when_its_criterion_is_stale_and_leaves_its_best_network(recipe):
    last = {"steps": 400, "learning_rate": 0.3, "patience": 2, "validate_every": 4}
    run = recipe.config(last=last)
    train(run, recipe.data, "")
    progress = run_folder(run).load_state()["progress"]
    assert progress["step"] < 400
    assert progress["step"] == progress["best_step"] + 2 * 4
    best = run_folder(run).best(recipe.stages[1]).with_suffix(".json")
    provenance = json.loads(best.read_text())["provenance"]
    assert provenance["step"] == progress["best_step"]
    assert provenance["criterion"] == progress["best"]


def test_a_loss_that_is_not_finite_stops_the_run_and_the_state_before_it_stays(recipe):
    run = recipe.config(last={"learning_rate": 1e30})
    with pytest.raises(FloatingPointError, match=f"{recipe.stages[1]}, step 2: the loss is nan"):
        train(run, recipe.data, "")
    state = run_folder(run).load_state()
    steps = getattr(run, recipe.stages[0]).steps
    assert (state["stage"], state["progress"]["step"]) == (recipe.stages[0], steps)
    assert all(torch.isfinite(tensor).all() for tensor in state["network"].values())
    assert load_checkpoint(run_folder(run).best(recipe.stages[0]))


def test_pairs_that_cannot_be_read_are_left_out_named_and_counted(config, capsys):
    run = config(rotation={"steps": 12})
    train(run, flat_pairs(broken=(2, 3)), "")
    assert scalars(run, "rotation", "unreadable")[-1] > 0
    assert "skipped: flat world, frame 2: made unreadable" in capsys.readouterr().err


def test_one_batch_of_which_nothing_can_be_read_does_not_stop_the_run(config):
    run = config(rotation={"steps": 12})
    train(run, flat_pairs(broken=range(11)), "")
    assert scalars(run, "rotation", "unreadable")[-1] > 11


def test_data_of_which_nothing_can_be_read_stops_the_run(config):
    with pytest.raises(ValueError, match="0 pairs of a batch can be read: flat world, frame"):
        train(config(), flat_pairs(broken=range(24)), "")


def test_too_little_held_out_stops_a_run_before_its_first_step(recipe):
    paper = recipe.name == "paper"
    few = replace(recipe.data, validation=Part(recipe.data.validation, [0, 1]) if paper else [])
    said = "2 samples make no batch of 4" if paper else "no drive"
    with pytest.raises(ValueError, match=f"held out for validation: {said}"):
        train(recipe.config(), few, "")


def test_a_run_is_not_overwritten_and_goes_on_only_as_it_began(recipe):
    first = recipe.config(first={"steps": 1}, last={"steps": 1})
    train(first, recipe.data, "")
    with pytest.raises(FileExistsError, match="holds a run already: --resume goes on with it"):
        train(first, recipe.data, "")
    name = recipe.stages[0]
    other = replace(first, **{name: replace(getattr(first, name), learning_rate=1.0)})
    with pytest.raises(ValueError, match=f"{name}.learning_rate was 0.00., is 1.0"):
        train(other, recipe.data, "", resume=True)


def test_a_finished_network_is_not_overwritten_where_its_state_is_gone(config, pairs):
    run = config()
    run_folder(run).root.mkdir()
    run_folder(run).finished.write_bytes(b"weeks of training")
    with pytest.raises(FileExistsError, match="holds a run already"):
        train(run, pairs, "")
    assert run_folder(run).finished.read_bytes() == b"weeks of training"


def test_there_is_nothing_to_resume_in_an_empty_folder(recipe):
    with pytest.raises(FileNotFoundError, match="nothing to resume"):
        train(recipe.config(), recipe.data, "", resume=True)


def test_a_run_shows_scalars_and_score_maps_and_leaves_a_network_that_tells_its_origin(recipe):
    run, last = recipe.config(), recipe.stages[1]
    figures = train(run, recipe.data, "the command")
    steps = getattr(run, last).steps
    for name in ("loss", "gradient_norm", "learning_rate", "images_per_second"):
        assert len(scalars(run, last, name)) == steps
    assert len(scalars(run, last, "criterion")) == 3
    for name in FIGURES:
        assert np.isfinite(scalars(run, last, name)).all()
    events = EventAccumulator(str(run_folder(run).tensorboard / last)).Reload()
    assert events.Images(f"{last}/score map")
    assert load_checkpoint(run_folder(run).finished)[0].config == run.model
    told = read_provenance(run_folder(run).finished)
    assert (told["commit"], told["command"]) == (commit(), "the command")
    assert told["labels"].startswith("weak") and told["config"]["seed"] == 3
    assert told["data"] == recipe.data.description
    assert told["calibration"] == pytest.approx(figures, nan_ok=True)


def test_a_run_shows_no_errors_where_nobody_knows_the_poses(config, pairs):
    run = config()
    train(run, pairs, "")
    for name in ("yaw_median_deg", "pair_yaw_median_deg", "pair_median_m"):
        (value,) = scalars(run, "rotation", name)
        assert 0 <= value < 20
    unknown = Part(pairs.validation, range(8))
    unknown.truths = None
    other = config("other")
    train(other, replace(pairs, validation=unknown, calibration=None), "")
    with pytest.raises(KeyError):
        scalars(other, "translation", "median_m")


def test_a_run_goes_on_from_a_checkpoint_of_the_same_network_only(recipe):
    first = recipe.config("first", first={"steps": 1}, last={"steps": 1})
    train(first, recipe.data, "")
    file = str(run_folder(first).finished)
    second = recipe.config("second", last={"steps": 1}, init_from=file)
    second = replace(second, **{recipe.stages[0]: None})
    assert train(second, recipe.data, "")["frames"] > 0
    wider = replace(second, out=second.out + "x", model=replace(first.model, width=8))
    with pytest.raises(ValueError, match=f"its network is {type(first.model).__name__}"):
        train(wider, recipe.data, "")


def test_a_run_that_keeps_its_checkpoints_has_one_of_every_validation(recipe):
    last = {"steps": 4, "validate_every": 2}
    run = recipe.config(keep_checkpoints=True, first={"steps": 1}, last=last)
    train(run, recipe.data, "")
    kept = {run_folder(run).checkpoint(recipe.stages[1], step) for step in (2, 4)}
    found = Path(run.out, "checkpoints").glob(f"{recipe.stages[1]}_*.safetensors")
    assert set(found) == kept
    assert len({file.read_bytes() for file in kept}) == 2
