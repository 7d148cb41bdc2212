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
from collections.abc import Sequence
from pathlib import Path

from g2s_localizer.model import PaperNet, model_config, save_checkpoint
from g2s_localizer.model.config import PAPER_KITTI, PAPER_VIGOR
from g2s_localizer.model.paper.config import PaperNetConfig
from training.loop.state_dict import read_state_dict
from training.paper.checkpoint import CheckpointMismatch, Translated, translate

_MAX_NAMED = 3
"""Differences of a kind that a message spells out."""


def convert(
    source: Path, target: Path, config: PaperNetConfig
) -> tuple[Translated, tuple[str, ...]]:
    """Write `target` (.safetensors) and its .json from the published checkpoint `source`.

    Returns what was written, and what was changed on the way, a sentence for each.

    Raises UnusableCheckpoint, or CheckpointMismatch listing every tensor that is not as it must
    be, or FileExistsError for a `target` that is there; then nothing is written.
    """
    if target.exists():
        raise FileExistsError(f"{target} exists already; give a new name")
    state = read_state_dict(source)
    translated = translate(state.tensors, config)
    notes = state.notes
    if translated.widened:
        notes += (f"{translated.widened} tensors of half precision, widened to float32",)
    network = PaperNet(config)
    network.load_state_dict(network.state_dict() | translated.tensors)
    provenance = {
        "data": f"converted from {source.name}, a published checkpoint of Shi et al., ECCV 2024",
        "source_sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "changed": list(notes),
        "left_out": list(translated.left_out),
        "calibration": "none: temperature and covariance scale are defaults, not measured",
    }
    save_checkpoint(target, network, provenance)
    return translated, notes


def _summary(differences: Sequence[str]) -> list[str]:
    """Return a few lines that say how a state dict differs: some of each kind, and how many."""
    missing = [line for line in differences if line.startswith("missing ")]
    unknown = [line for line in differences if line.startswith("unknown ")]
    others = [line for line in differences if line not in {*missing, *unknown}]
    lines = []
    for kind in (missing, unknown, others):
        lines += [f"  {line}" for line in kind[:_MAX_NAMED]]
        lines += [f"  and {len(kind) - _MAX_NAMED} more"] if len(kind) > _MAX_NAMED else []
    return lines


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
        config = model_config(arguments.preset, **{k: v for k, v in given.items() if v is not None})
        translated, notes = convert(arguments.source, arguments.target, config)
    except CheckpointMismatch as error:
        print(f"{arguments.source}: not a checkpoint of {arguments.preset}:", file=sys.stderr)
        print("\n".join(_summary(str(error).split("; "))), file=sys.stderr)
        return 1
    except (ValueError, OSError) as error:
        print(f"convert_checkpoint: {error}", file=sys.stderr)
        return 1
    print(f"{arguments.target}: {len(translated.tensors)} tensors")
    for note in notes:
        print(note)
    if translated.left_out:
        print(f"left out, not used by this configuration: {', '.join(translated.left_out)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
