# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: NAME.safetensors beside NAME.json, which holds configuration and SHA-256."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from g2s_localizer.model.config import ModelConfig
from g2s_localizer.model.network import build_network
from g2s_localizer.model.registration import RegistrationNet

FORMAT = "g2s_localizer checkpoint 1"
_LARGEST_BYTES = 512 * 1024 * 1024

SHIPPED = Path(__file__).parent / "checkpoints" / "lift.safetensors"
"""The checkpoint that comes with the package."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names the file and what is wrong with it."""


def save_checkpoint(path: Path, network: RegistrationNet, provenance: dict[str, Any]) -> None:
    """Write `path` (.safetensors) and its .json.

    provenance: command, seeds, data and results of the training, kept as they are.
    """
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    payload = save(tensors)
    path.parent.mkdir(parents=True, exist_ok=True)
    description = {
        "format": FORMAT,
        "sha256": hashlib.sha256(payload).hexdigest(),
        "model": asdict(network.config),
        "provenance": provenance,
    }
    _write(path.with_suffix(".json"), json.dumps(description, indent=2).encode() + b"\n")
    _write(path, payload)


def load_checkpoint(path: Path) -> tuple[RegistrationNet, str]:
    """The network in evaluation mode and the checkpoint's identity, `NAME@first of SHA-256`.

    Raises CheckpointError for a file that is missing, too large, not what its JSON pins, or
    whose tensors differ in name, shape or type from the network's, or are not finite.
    """
    description = _read_description(path.with_suffix(".json"))
    payload = _read(path)
    digest = hashlib.sha256(payload).hexdigest()
    if digest != description.get("sha256"):
        raise CheckpointError(
            f"{path}: SHA-256 is {digest}, but {path.with_suffix('.json').name} pins "
            f"{description.get('sha256')}"
        )
    try:
        network = build_network(ModelConfig.from_dict(description["model"]))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path.with_suffix('.json')}: model: {error}") from error
    try:
        tensors = load(payload)
    except SafetensorError as error:
        raise CheckpointError(f"{path}: not a safetensors file: {error}") from error
    _check(path, tensors, network.state_dict())
    network.load_state_dict(tensors)
    return network.eval(), f"{path.stem}@{digest[:12]}"


def read_provenance(path: Path) -> dict[str, Any]:
    """What `save_checkpoint` was told of the weights; raises CheckpointError without a JSON."""
    provenance: dict[str, Any] = _read_description(path.with_suffix(".json")).get("provenance", {})
    return provenance


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    if path.stat().st_size > _LARGEST_BYTES:
        raise CheckpointError(f"{path}: {path.stat().st_size} bytes, over {_LARGEST_BYTES}")
    return path.read_bytes()


def _read_description(path: Path) -> dict[str, Any]:
    try:
        description = json.loads(_read(path))
    except ValueError as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path}: not JSON: {error}") from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise CheckpointError(f"{path}: its format is not '{FORMAT}'")
    return description


def _check(path: Path, found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    problems = [f"missing {name}" for name in sorted(wanted.keys() - found.keys())]
    problems += [f"unknown {name}" for name in sorted(found.keys() - wanted.keys())]
    for name in sorted(wanted.keys() & found.keys()):
        here, there = found[name], wanted[name]
        if (here.shape, here.dtype) != (there.shape, there.dtype):
            problems.append(
                f"{name} is {here.dtype} {tuple(here.shape)}, "
                f"not {there.dtype} {tuple(there.shape)}"
            )
        elif not torch.isfinite(here).all():
            problems.append(f"{name} is not finite")
    if problems:
        raise CheckpointError(f"{path}: {'; '.join(problems)}")


def _write(path: Path, payload: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(payload)
    partial.replace(path)
