# SPDX-License-Identifier: Apache-2.0
"""State dicts in PyTorch's own files (.pth), however they were saved; nothing in them is run."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from g2s_localizer.model.weights_file import WeightsKind, weights_kind

MAX_BYTES = 1 << 30
"""Largest file, and largest content unpacked; a published checkpoint has 50 MB."""

_OLDEST_TORCH = (2, 10)
"""Before it, weights_only=True could be got round."""

_WRAPPERS = ("state_dict", "model_state_dict", "model", "network", "net")
"""Keys under which programs that save more than the tensors put them."""

_MAX_WRAPPERS = 4
"""A file may hold a mapping that holds itself."""

_COMPILED = "_orig_mod."
"""Prefix that torch.compile puts before the names of the part that it has compiled."""

_PREFIXES = ("module.", "model.", "network.", "net.")
"""Prefixes that wrappers for several GPUs, averages and training loops put before all names."""

_COUNTER = "n_averaged"
"""A counter that torch's AveragedModel puts beside the tensors."""


class UnusableCheckpoint(ValueError):
    """A file that cannot be used, with the reason."""


@dataclass(frozen=True)
class StateDict:
    """Tensors by name, and what was taken off to come to them, a sentence for each."""

    tensors: dict[str, Tensor]
    notes: tuple[str, ...]


def read_state_dict(path: Path) -> StateDict:
    """Return the tensors of a .pth file, by the names that they had in their network.

    Raises UnusableCheckpoint naming the file for one that is absent, too large, truncated, that
    asks for more than tensors, or that holds something else than tensors by name.
    """
    installed = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    if installed < _OLDEST_TORCH:
        raise UnusableCheckpoint(f"needs PyTorch 2.10 or newer to read a pickle, got {installed}")
    if not path.is_file():
        raise UnusableCheckpoint(f"{path}: no such file")
    try:
        _refuse_large(path)
        tensors, notes = _unwrapped(load_plain(path))
        return StateDict(*_renamed(tensors, notes))
    except ValueError as error:
        raise UnusableCheckpoint(f"{path}: {error}") from None


def load_plain(path: Path) -> Any:
    """Return what a PyTorch file holds: tensors, numbers, text, lists and mappings.

    Raises ValueError saying what the file is instead, or what it asks for that is not run.
    """
    try:
        kind = weights_kind(path)
    except ValueError as error:
        raise ValueError(f"not a file of plain tensors: {error}") from None
    if kind is WeightsKind.SAFETENSORS:
        raise ValueError("a safetensors file already, no PyTorch file")
    if kind is WeightsKind.UNKNOWN:
        raise ValueError("not a file of plain tensors: no PyTorch file by its first bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # A hostile or damaged pickle may fail in any way; whatever it is, nothing was run.
        raise ValueError(f"not a file of plain tensors: {_why(error)}") from None


def _refuse_large(path: Path) -> None:
    size = path.stat().st_size
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                size = max(size, sum(entry.file_size for entry in archive.infolist()))
        except (zipfile.BadZipFile, NotImplementedError, OSError) as error:
            raise ValueError(f"not a file of plain tensors: it is damaged ({error})") from None
    if size > MAX_BYTES:
        raise ValueError(f"{size} bytes, over {MAX_BYTES}")


def _why(error: Exception) -> str:
    """Return the cause in our words: PyTorch's advise to switch its protection off."""
    remedy = "save the state dict alone where it was made: torch.save(network.state_dict(), FILE)"
    text = str(error)
    if wanted := re.search(r"GLOBAL ([\w.]+\w)", text):
        return f"it asks for {wanted[1]}, which is no tensor; {remedy}"
    if "TorchScript" in text:
        return f"it is a TorchScript program; {remedy}"
    return "it is damaged, incomplete, or no PyTorch file; download or copy it anew"


def _unwrapped(state: Any) -> tuple[dict[str, Tensor], list[str]]:
    """Return the tensors by name that a loaded file holds, under whatever keys."""
    keys: list[str] = []
    while isinstance(state, Mapping):
        held = sorted(key for key in _WRAPPERS if isinstance(state.get(key), Mapping))
        if not held:
            break
        if len(held) > 1:
            raise ValueError(f"holds several: {', '.join(map(repr, held))}; save one of them alone")
        keys.append(held[0])
        if len(keys) > _MAX_WRAPPERS:
            raise ValueError(f"more than {_MAX_WRAPPERS} mappings in each other, no tensors")
        state = state[held[0]]
    if not isinstance(state, Mapping) or not state:
        raise ValueError(f"holds a {type(state).__name__}, not tensors by name")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(f"{name!r} is a {type(value).__name__}, no tensor")
        if value.layout is not torch.strided or value.is_quantized or value.is_meta:
            raise ValueError(f"{name!r} is no plain tensor: sparse, quantized or without values")
    return dict(state), [f"taken from {', '.join(map(repr, keys))}"] if keys else []


def _renamed(
    tensors: dict[str, Tensor], notes: list[str]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the tensors without what wrappers put before their names."""
    gone: list[str] = []
    if any(_COMPILED in name for name in tensors):
        tensors, gone = (
            _with_names(tensors, {n: n.replace(_COMPILED, "") for n in tensors}),
            [_COMPILED],
        )
    if _COUNTER in tensors:
        tensors = {name: tensor for name, tensor in tensors.items() if name != _COUNTER}
    while tensors:
        common = [p for p in _PREFIXES if all(name.startswith(p) for name in tensors)]
        if not common:
            break
        gone.append(common[0])
        tensors = _with_names(tensors, {n: n.removeprefix(common[0]) for n in tensors})
    if gone:
        notes = [*notes, f"{', '.join(map(repr, gone))} taken off the tensors' names"]
    return tensors, tuple(notes)


def _with_names(tensors: dict[str, Tensor], names: dict[str, str]) -> dict[str, Tensor]:
    renamed = {names[name]: tensor for name, tensor in tensors.items()}
    if len(renamed) < len(tensors):
        raise ValueError(f"two tensors have one name without {_COMPILED!r}")
    return renamed
