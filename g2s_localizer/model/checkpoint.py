# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: NAME.safetensors beside NAME.json, which holds configuration and SHA-256.

That SHA-256 shows damage, not malice: whoever can write the weights can write the JSON beside them.
Against malice stand the formats (nothing in either file is executed), the limits of `ModelConfig`,
and a digest that comes from elsewhere, the `sha256` of `load_checkpoint`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from g2s_localizer.model.calibrated import UNCALIBRATED
from g2s_localizer.model.presets import Network, build_network, read_model_config
from g2s_localizer.model.weights_file import WeightsKind, weights_kind

FORMAT = "g2s_localizer checkpoint 1"
_MAX_BYTES = 512 * 1024 * 1024
_MAX_JSON_BYTES = 1024 * 1024
_MAX_NAMED = 3
"""Differences of a kind that a message spells out."""
_MESSAGE = 400
"""Characters of another's message that are passed on."""

SHIPPED = Path(__file__).parent / "checkpoints" / "lift.safetensors"
"""The checkpoint that comes with the package."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names the file and what is wrong with it."""


def save_checkpoint(path: Path, network: Network, provenance: dict[str, Any]) -> None:
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


def load_checkpoint(path: Path, sha256: str = "") -> tuple[Network, str]:
    """Return the network in evaluation mode and the checkpoint's identity, `NAME@first of SHA-256`.

    sha256  digest (hexadecimal) that `path` must have, or its JSON, which holds the digest of
            `path` in turn and so vouches for both; "": any

    Raises CheckpointError for a file that is missing, too large, of another kind, not what its
    JSON or `sha256` pins, whose description asks for too much, or whose tensors differ in name,
    shape or type from the network's, or are not finite.
    """
    json_path = path.with_suffix(".json")
    _refuse_other_kinds(path, json_path)
    described, payload = _read(json_path, _MAX_JSON_BYTES), _read(path, _MAX_BYTES)
    description = _parse(json_path, described)
    digest = hashlib.sha256(payload).hexdigest()
    _check_pin(path, sha256, digest, hashlib.sha256(described).hexdigest())
    if digest != description.get("sha256"):
        raise CheckpointError(
            f"{path}: SHA-256 is {digest}, but {json_path.name} pins "
            f"{str(description.get('sha256'))[:80]}"
        )
    try:
        config = read_model_config(description["model"])
        # Without memory or arithmetic: what it takes must be in the file first.
        with torch.device("meta"):
            wanted = build_network(config).state_dict()
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{json_path}: model: {str(error)[:_MESSAGE]}") from error
    try:
        tensors = load(payload)
    except (SafetensorError, KeyError) as error:
        # A KeyError is a type of numbers that PyTorch has not.
        raise CheckpointError(f"{path}: not a safetensors file: {error}") from error
    # Checkpoints written before these were calibrated have none.
    for name, value in UNCALIBRATED.items():
        tensors.setdefault(name, torch.tensor(value))
    _check(path, tensors, wanted)
    network = build_network(config)
    network.load_state_dict(tensors)
    return network.eval(), f"{path.stem}@{digest[:12]}"


def read_provenance(path: Path) -> dict[str, Any]:
    """Return what `save_checkpoint` was told; raises CheckpointError without a JSON."""
    file = path.with_suffix(".json")
    provenance: dict[str, Any] = _parse(file, _read(file, _MAX_JSON_BYTES)).get("provenance", {})
    return provenance


def _refuse_other_kinds(path: Path, json_path: Path) -> None:
    if path.suffix == ".json":
        raise CheckpointError(f"{path} is a description: give the .safetensors file beside it")
    if not path.exists() and not json_path.exists():
        raise CheckpointError(f"{json_path}: no such file, and no {path.name} beside it")
    try:
        kind = weights_kind(path)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from None
    if kind is WeightsKind.PICKLE:
        raise CheckpointError(
            f"{path} is a PyTorch pickle, which is never loaded here: if it is a published "
            f"checkpoint of the paper, python -m training.convert_checkpoint {path.name} "
            f"{path.stem}.safetensors --preset paper-kitti makes a .safetensors file of it"
        )
    if path.suffix != ".safetensors":
        raise CheckpointError(f"{path} does not end in .safetensors, as a checkpoint does")
    if not json_path.exists():
        raise CheckpointError(
            f"{json_path}: no such file; a checkpoint is two files, {path.name} and the .json of "
            "that name"
        )


def _check_pin(path: Path, pin: str, *found: str) -> None:
    wanted = pin.strip().lower()
    if not wanted:
        return
    if len(wanted) != 64 or set(wanted) - set("0123456789abcdef"):
        raise CheckpointError(f"the SHA-256 pinned must be 64 hexadecimal digits, got {pin[:80]!r}")
    if wanted not in found:
        raise CheckpointError(
            f"{path}: its SHA-256 is {found[0]}, not the pinned {wanted}: these are other weights"
        )


def _read(path: Path, most: int) -> bytes:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    with path.open("rb") as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise CheckpointError(f"{path}: {path.stat().st_size} bytes, over {most}")
    return content


def _parse(path: Path, content: bytes) -> dict[str, Any]:
    try:
        description = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not JSON: {error}") from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise CheckpointError(f"{path}: its format is not '{FORMAT}'")
    return description


def _check(path: Path, found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    missing = [f"missing {name}" for name in sorted(wanted.keys() - found.keys())]
    unknown = [f"unknown {name}" for name in sorted(found.keys() - wanted.keys())]
    different = []
    for name in sorted(wanted.keys() & found.keys()):
        here, there = found[name], wanted[name]
        if (here.shape, here.dtype) != (there.shape, there.dtype):
            different.append(
                f"{name} is {here.dtype} {tuple(here.shape)}, "
                f"not {there.dtype} {tuple(there.shape)}"
            )
        elif not torch.isfinite(here).all():
            different.append(f"{name} is not finite")
    problems = []
    for kind in (missing, unknown, different):
        problems += [problem[:_MESSAGE] for problem in kind[:_MAX_NAMED]]
        if len(kind) > _MAX_NAMED:
            problems.append(f"and {len(kind) - _MAX_NAMED} more")
    if problems:
        raise CheckpointError(f"{path}: {'; '.join(problems)}")


def _write(path: Path, payload: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(payload)
    partial.replace(path)
