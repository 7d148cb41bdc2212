# SPDX-License-Identifier: Apache-2.0
"""The curve of a run: one point for each checkpoint that it kept."""

from pathlib import Path

import pytest
from flat_world import NOISE, FlatWorld

from training.curve import curve, draw_curve, kept_checkpoints
from training.train import train


def test_a_run_that_keeps_its_checkpoints_has_a_point_for_every_validation(config, pairs, tmp_path):
    run = config(keep_checkpoints=True)
    train(run, pairs, "")
    points = curve(kept_checkpoints(Path(run.out), "translation"), FlatWorld(6, 7), NOISE)
    assert [point["step"] for point in points] == [4, 8, 12]
    assert len({point["median_m"] for point in points}) > 1
    draw_curve(tmp_path / "curve.png", points, "a flat world")
    assert (tmp_path / "curve.png").stat().st_size > 5_000


def test_a_run_that_kept_none_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="train with keep_checkpoints: true"):
        kept_checkpoints(tmp_path, "translation")
