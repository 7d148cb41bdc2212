# SPDX-License-Identifier: Apache-2.0
"""State and checkpoints of a run: whole or not at all, and nothing but data is read back."""

import os
import pickle
import resource
from contextlib import contextmanager

import pytest
import torch
from flat_world import MODEL

from g2s_localizer.model import G2SNet, load_checkpoint
from training.loop.run_folder import RunFolder


@contextmanager
def largest_file(size):
    """A file may not grow beyond `size` bytes, as if the disk were full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run")


def test_a_state_comes_back_as_it_was(folder):
    state = {"step": 7, "weights": {"a": torch.arange(3.0)}, "best": float("inf")}
    folder.save_state(state)
    loaded = folder.load_state()
    assert (loaded["step"], loaded["best"]) == (7, float("inf"))
    assert torch.equal(loaded["weights"]["a"], state["weights"]["a"])


def test_a_state_that_finds_no_room_leaves_the_one_before_it(folder):
    folder.save_state({"step": 7})
    with largest_file(4000), pytest.raises(OSError, match="cannot write: File too large.*state.pt"):
        folder.save_state({"weights": torch.zeros(2000)})
    assert folder.load_state()["step"] == 7
    assert [file.name for file in folder.root.iterdir()] == ["state.pt"]


def test_a_checkpoint_that_finds_no_room_leaves_the_one_before_it(folder):
    folder.save_network(folder.last, G2SNet(MODEL), {"step": 1})
    with largest_file(4000), pytest.raises(OSError, match="cannot write.*last.safetensors"):
        folder.save_network(folder.last, G2SNet(MODEL), {"step": 2})
    load_checkpoint(folder.last)
    assert {file.name for file in folder.root.iterdir()} == {"last.json", "last.safetensors"}


def test_code_in_a_state_is_refused_and_not_run(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    folder.root.mkdir()
    torch.save({"format": Bomb()}, folder.state_file)
    with pytest.raises(ValueError, match="state.pt is no training state") as error:
        folder.load_state()
    assert "weights_only" not in str(error.value)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    "content", [b"", b"no state", pickle.dumps(7, protocol=2)], ids=["empty", "text", "old"]
)
def test_what_is_no_state_is_refused_by_name(folder, content):
    folder.root.mkdir()
    folder.state_file.write_bytes(content)
    with pytest.raises(ValueError, match="state.pt"):
        folder.load_state()
