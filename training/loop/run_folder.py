# SPDX-License-Identifier: Apache-2.0
"""Files that a training run keeps: the state to go on from, and checkpoints.

    OUT/state.pt                          everything that going on needs
    OUT/best_STAGE.safetensors, .json     the network of a stage's best validation
    OUT/last.safetensors, .json           the network of the last save
    OUT/NAME.safetensors, .json           the finished one, calibrated; NAME is that of the folder
    OUT/checkpoints/STAGE_STEP.*          one a validation, where they are kept
    OUT/tensorboard/                      scalars and pictures

A file is written beside its place and then put there by a rename, so that a full disk or a
killed process leaves the one before it.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from g2s_localizer.model import Network, save_checkpoint
from training.loop.state_dict import load_plain

STATE_FORMAT = "g2s_localizer training state 1"


class RunFolder:
    """The folder of one training run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state_file = root / "state.pt"
        self.last = root / "last.safetensors"
        self.finished = root / f"{root.name}.safetensors"
        self.tensorboard = root / "tensorboard"

    def best(self, stage: str) -> Path:
        return self.root / f"best_{stage}.safetensors"

    def checkpoint(self, stage: str, step: int) -> Path:
        return self.root / "checkpoints" / f"{stage}_{step:06d}.safetensors"

    def save_state(self, state: dict[str, Any]) -> None:
        """Write tensors, numbers, strings and lists or dictionaries of them, whole or not at all.

        Raises OSError naming the file where the disk is full; the state before it stays.
        """
        save_state(self.state_file, {"format": STATE_FORMAT, **state})

    def load_state(self) -> dict[str, Any]:
        """Return the last state saved. Raises FileNotFoundError, or ValueError naming the file
        where it is no state of a run; nothing but tensors and plain values is ever unpickled.
        """
        if not self.state_file.is_file():
            raise FileNotFoundError(f"nothing to resume: there is no {self.state_file}")
        state = read_state(self.state_file)
        if not isinstance(state, dict) or state.get("format") != STATE_FORMAT:
            raise ValueError(f"{self.state_file}: its format is not '{STATE_FORMAT}'")
        return state

    def save_network(self, path: Path, network: Network, provenance: dict[str, Any]) -> None:
        """Save a checkpoint in place of the one at `path`; raises OSError as `save_state`."""
        partial = self.root / ".partial" / path.name
        try:
            save_checkpoint(partial, network, provenance)
            path.parent.mkdir(parents=True, exist_ok=True)
            for suffix in (".json", ".safetensors"):
                os.replace(partial.with_suffix(suffix), path.with_suffix(suffix))
        except OSError as error:
            raise _named(error, path) from error
        finally:
            for left in (self.root / ".partial").glob("*"):
                left.unlink()
            if (self.root / ".partial").is_dir():
                (self.root / ".partial").rmdir()


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values, whole or not at all; raises OSError as `write_whole`."""
    # torch's own writer reports a full disk as RuntimeError; a file of Python says OSError.
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_whole(path, lambda partial: partial.write_bytes(buffer.getbuffer()))


def read_state(path: Path) -> Any:
    """Return the state that a run left. Raises ValueError naming `path` where it is none."""
    try:
        return load_plain(path)
    except ValueError as error:
        raise ValueError(f"{path} is no training state: {error}") from None


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path`, then put it in its place.

    Raises OSError naming `path`; what was there before stays.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise _named(error, path) from error


def _named(error: OSError, path: Path) -> OSError:
    return OSError(error.errno, f"cannot write: {error.strerror}", str(path))
