# SPDX-License-Identifier: Apache-2.0
"""Runs in this process: they overfit, go on exactly where they stopped, and stop in time."""

import json
import math
import os
import signal
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from flat_world import FlatWorld, flat_pairs
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from g2s_localizer.model import load_checkpoint
from training.data.selection import Part
from training.loop.interruption import Interrupted
from training.loop.provenance import commit
from training.loop.run_folder import RunFolder
from training.train import train


class Interrupting(Part):
    """Pairs; the reading at which `left` counts 0 sends this process the signal of Ctrl-C."""

    def __init__(self, pairs, left):
        super().__init__(pairs, range(len(pairs)))
        self.left = left

    def widened(self, pixels):
        return Interrupting(self._dataset.widened(pixels), self.left)

    def __getitem__(self, index):
        if next(self.left) == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return super().__getitem__(index)


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


def test_a_run_interrupted_anywhere_ends_as_an_uninterrupted_one_to_the_bit(config, pairs):
    whole = config("whole")
    train(whole, pairs, "")
    kept = (run_folder(whole).best("translation"), run_folder(whole).last)
    for reading in (13, 24, 26, 49, 72):
        broken = config(f"broken{reading}")
        interrupting = Interrupting(pairs.training, count(1 - reading))
        with pytest.raises(Interrupted, match="stopped after step .*\n  the command --resume"):
            train(broken, replace(pairs, training=interrupting), "the command")
        train(broken, pairs, "", resume=True)
        states = [run_folder(run).load_state() for run in (whole, broken)]
        assert same(*({**state, "config": None} for state in states)), reading
        for file in kept:
            assert file.read_bytes() == (run_folder(broken).root / file.name).read_bytes(), reading


def test_a_stage_stops_when_its_criterion_is_stale_and_leaves_its_best_network(config, pairs):
    run = config(translation={"steps": 400, "learning_rate": 0.3, "patience": 2})
    train(run, pairs, "")
    progress = run_folder(run).load_state()["progress"]
    assert progress["step"] < 400
    assert progress["step"] == progress["best_step"] + 2 * 4
    best = json.loads(run_folder(run).best("translation").with_suffix(".json").read_text())
    assert best["provenance"]["step"] == progress["best_step"]
    assert best["provenance"]["criterion"] == progress["best"]


def test_a_loss_that_is_not_finite_stops_the_run_and_the_state_before_it_stays(config, pairs):
    run = config(translation={"learning_rate": 1e30})
    with pytest.raises(FloatingPointError, match="translation, step 2: the loss is nan"):
        train(run, pairs, "")
    state = run_folder(run).load_state()
    assert (state["stage"], state["progress"]["step"]) == ("rotation", 6)
    assert all(torch.isfinite(tensor).all() for tensor in state["network"].values())
    assert load_checkpoint(run_folder(run).best("rotation"))


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


def test_too_few_pairs_held_out_stop_a_run_before_its_first_step(config, pairs):
    few = replace(pairs, validation=Part(pairs.validation, [0, 1]))
    with pytest.raises(ValueError, match="held out for validation: 2 samples make no batch of 4"):
        train(config(), few, "")


def test_a_run_is_not_overwritten_and_goes_on_only_as_it_began(config, pairs):
    first = config()
    train(first, pairs, "")
    with pytest.raises(FileExistsError, match="holds a run already: --resume goes on with it"):
        train(first, pairs, "")
    other = replace(first, rotation=replace(first.rotation, learning_rate=1.0))
    with pytest.raises(ValueError, match="rotation.learning_rate was 0.003, is 1.0"):
        train(other, pairs, "", resume=True)


def test_there_is_nothing_to_resume_in_an_empty_folder(config, pairs):
    with pytest.raises(FileNotFoundError, match="nothing to resume"):
        train(config(), pairs, "", resume=True)


def test_a_run_shows_scalars_and_score_maps(config, pairs):
    run = config()
    train(run, pairs, "")
    assert len(scalars(run, "translation", "gradient_norm")) == 12
    assert len(scalars(run, "translation", "criterion")) == 3
    events = EventAccumulator(str(run_folder(run).tensorboard / "translation")).Reload()
    assert events.Images("translation/score map")


def test_a_run_shows_errors_in_metres_and_degrees_where_poses_are_known(config, pairs):
    run = config()
    train(run, pairs, "")
    for name in ("median_m", "lateral_within_1m", "longitudinal_within_1m", "yaw_median_deg"):
        assert np.isfinite(scalars(run, "translation", name)).all()
    for name in ("yaw_median_deg", "pair_yaw_median_deg", "pair_median_m"):
        (value,) = scalars(run, "rotation", name)
        assert 0 <= value < 20
    unknown = Part(pairs.validation, range(8))
    unknown.truths = None
    other = config("other")
    train(other, replace(pairs, validation=unknown, calibration=None), "")
    with pytest.raises(KeyError):
        scalars(other, "translation", "median_m")


def test_a_checkpoint_says_which_code_made_it(config, pairs):
    run = config(rotation={"steps": 1}, translation={"steps": 1})
    train(run, pairs, "")
    written = json.loads(run_folder(run).finished.with_suffix(".json").read_text())
    assert written["provenance"]["commit"] == commit()


def test_a_run_goes_on_from_a_checkpoint_of_the_same_network_only(config, pairs):
    first = config("first", rotation={"steps": 1}, translation={"steps": 1})
    train(first, pairs, "")
    file = str(run_folder(first).finished)
    second = replace(config("second"), init_from=file, rotation=None)
    assert train(second, pairs, "")["frames"] == 12
    wider = replace(config("third"), init_from=file, model=replace(first.model, width=8))
    with pytest.raises(ValueError, match="its network is CompactConfig"):
        train(wider, pairs, "")


def test_a_run_that_keeps_its_checkpoints_has_one_of_every_validation(config, pairs):
    run = config(keep_checkpoints=True, rotation={"steps": 1}, translation={"steps": 8})
    train(run, pairs, "")
    kept = {RunFolder(Path(run.out)).checkpoint("translation", step) for step in (4, 8)}
    found = Path(run.out, "checkpoints").glob("translation_*.safetensors")
    assert set(found) == kept
    assert len({file.read_bytes() for file in kept}) == 2
