# SPDX-License-Identifier: Apache-2.0
"""The command that sets temperature and covariance scales of a checkpoint anew."""

import pytest
import torch

from g2s_localizer.model import G2SNet, load_checkpoint, save_checkpoint
from g2s_localizer.model.checkpoint import read_provenance
from training.recalibrate import main


@pytest.fixture
def checkpoint(tmp_path, tiny_model):
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "tiny.safetensors", G2SNet(tiny_model), {"seeds": [1, 2]})
    return tmp_path / "tiny.safetensors"


def test_no_weight_changes_and_what_was_known_of_them_is_kept(
    checkpoint, simulated_folder, tmp_path
):
    out = tmp_path / "anew.safetensors"
    command = "--dataset simulated --seeds 31 --frames 4 --difficulty easy"
    files = ["--folder", simulated_folder, "--checkpoint", checkpoint, "--out", out]
    assert main([*command.split(), *map(str, files)]) == 0
    before, after = (load_checkpoint(file)[0] for file in (checkpoint, out))
    for (name, was), now in zip(before.named_parameters(), after.parameters(), strict=True):
        assert torch.equal(was, now), name
    assert after.temperature != before.temperature
    provenance = read_provenance(out)
    assert provenance["seeds"] == [1, 2]
    assert "drives 31 to 31" in provenance["recalibrated"]["data"]


def test_a_checkpoint_that_is_not_there_is_said_in_a_line(tmp_path, capsys):
    files = ["--checkpoint", tmp_path / "no.safetensors", "--out", tmp_path / "out.safetensors"]
    assert main(["--seeds", "31", *map(str, files)]) == 1
    assert capsys.readouterr().err.startswith("recalibration: ")
    assert not (tmp_path / "out.safetensors").exists()


def test_a_checkpoint_that_is_there_is_not_replaced(checkpoint, tmp_path, capsys):
    before = checkpoint.read_bytes()
    files = ["--checkpoint", checkpoint, "--out", checkpoint]
    assert main(["--seeds", "31", *map(str, files)]) == 1
    assert "exists already" in capsys.readouterr().err
    assert checkpoint.read_bytes() == before
