# SPDX-License-Identifier: Apache-2.0
"""Turn a published checkpoint of the paper into this project's format.

python -m training.convert_checkpoint IN.pth OUT.safetensors --preset paper-kitti
Reads the pickle with weights_only=True and nothing else, on PyTorch 2.10 or newer. Every tensor
is checked by name, shape, type and finiteness before anything is written.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from g2s_localizer.model import ModelConfig, PaperNet, save_checkpoint
from g2s_localizer.model.config import PAPER_KITTI, PAPER_VIGOR
from training.paper_checkpoint import CheckpointMismatch, Translated, translate

LARGEST_BYTES = 1 << 30
"""Of the file, and of what it unpacks to; a published checkpoint has 50 MB."""

_OLDEST_TORCH = (2, 10)
"""Before it, weights_only=True could be got round."""


class UnusableCheckpoint(ValueError):
    """Why a file cannot be converted."""


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a .pth file, by name; nothing in the file is executed.

    Raises UnusableCheckpoint naming the file for one that is absent, too large, truncated, that
    asks for more than tensors, or that holds something else than tensors by name.
    """
    installed = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    if installed < _OLDEST_TORCH:
        raise UnusableCheckpoint(f"needs PyTorch 2.10 or newer to read a pickle, got {installed}")
    if not path.is_file():
        raise UnusableCheckpoint(f"{path}: no such file")
    size = path.stat().st_size
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            size = max(size, sum(entry.file_size for entry in archive.infolist()))
    if size > LARGEST_BYTES:
        raise UnusableCheckpoint(f"{path}: {size} bytes, over {LARGEST_BYTES}")
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # A hostile or damaged pickle may fail in any way; whatever it is, nothing was run.
        first = str(error).strip().splitlines()
        reason = first[0] if first else type(error).__name__
        raise UnusableCheckpoint(f"{path}: not a file of plain tensors: {reason}") from error
    if not isinstance(state, dict) or not state:
        raise UnusableCheckpoint(f"{path}: holds a {type(state).__name__}, not tensors by name")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise UnusableCheckpoint(f"{path}: {name!r} is a {type(value).__name__}, no tensor")
    return state


def convert(source: Path, target: Path, config: ModelConfig) -> Translated:
    """Write `target` (.safetensors) and its .json from the published checkpoint `source`.

    Raises UnusableCheckpoint, or CheckpointMismatch listing every tensor that is not as it must
    be, or FileExistsError for a `target` that is there; then nothing is written.
    """
    if target.exists():
        raise FileExistsError(f"{target} exists already; give a new name")
    translated = translate(read_state_dict(source), config)
    network = PaperNet(config)
    network.load_state_dict(network.state_dict() | translated.tensors)
    provenance = {
        "data": f"converted from {source.name}, a published checkpoint of Shi et al., ECCV 2024",
        "source_sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "left_out": list(translated.left_out),
        "calibration": "none: temperature and covariance scale are defaults, not measured",
    }
    save_checkpoint(target, network, provenance)
    return translated


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, metavar="IN.pth")
    parser.add_argument("target", type=Path, metavar="OUT.safetensors")
    parser.add_argument("--preset", choices=(PAPER_KITTI, PAPER_VIGOR), required=True)
    parser.add_argument("--level", type=int, default=1, help="of the features, 0 to 3")
    parser.add_argument(
        "--share", action=argparse.BooleanOptionalAction,
        help="one extractor for both views; the preset's choice by default",
    )  # fmt: skip
    parser.add_argument("--ground-confidence", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--satellite-confidence", action="store_true")
    parser.add_argument("--yaw-range-deg", type=float, help="the preset's by default")
    arguments = parser.parse_args(argv)
    names = ("level", "share", "ground_confidence", "satellite_confidence", "yaw_range_deg")
    given = {name: getattr(arguments, name) for name in names}
    if arguments.target.suffix != ".safetensors":
        parser.error(f"OUT must end in .safetensors, got {arguments.target}")
    try:
        config = ModelConfig(
            preset=arguments.preset, **{k: v for k, v in given.items() if v is not None}
        )
        translated = convert(arguments.source, arguments.target, config)
    except CheckpointMismatch as error:
        print(f"{arguments.source}: not a checkpoint of {arguments.preset}:", file=sys.stderr)
        print("\n".join(f"  {line}" for line in str(error).split("; ")), file=sys.stderr)
        return 1
    except (UnusableCheckpoint, ValueError, OSError) as error:
        print(f"convert_checkpoint: {error}", file=sys.stderr)
        return 1
    print(f"{arguments.target}: {len(translated.tensors)} tensors")
    if translated.left_out:
        print(f"left out, not used by this configuration: {', '.join(translated.left_out)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
