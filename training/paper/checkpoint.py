# SPDX-License-Identifier: Apache-2.0
"""Tensors of the paper's published checkpoints by name, and their places in PaperNet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from g2s_localizer.model import ModelConfig, PaperNet
from g2s_localizer.model.config import PAPER_KITTI
from g2s_localizer.model.paper.swin import SwinRegressor
from g2s_localizer.model.paper.vgg import LEVEL_CHANNELS, VGGUNet

_REGRESSORS = {0: "TransRefine.level_4", 1: "TransRefine.level_2", 2: "TransRefine.level_1"}
"""The original names its rotation regressors by the stride of their cells in level 2's."""

_SCALARS = ("coe_R", "coe_T")
"""The learned weights of stage 0's loss: no part of the network."""

_HALF = (torch.float16, torch.bfloat16)

_INDEX = "relative_position_index"


@dataclass(frozen=True)
class Translated:
    """A published state dict in this project's names."""

    tensors: dict[str, Tensor]
    left_out: tuple[str, ...]
    """parts of the original that the configuration does not use"""
    widened: int
    """tensors that had half precision"""


class CheckpointMismatch(ValueError):
    """A state dict that is not the expected one; the message lists every difference by name."""


def translate(state: Mapping[str, Tensor], config: ModelConfig) -> Translated:
    """Convert the original's state dict to `PaperNet(config)`'s, without its calibration buffers.

    Every tensor must be known, of the right shape, float32 or of half precision, and finite, and
    all that the configuration uses must be there; raises CheckpointMismatch listing what is not so.
    """
    network = PaperNet(config)
    parts = {_extractor_name(name, config): getattr(network, name) for name in _extractors(config)}
    prefixes = {_extractor_name(name, config): name for name in _extractors(config)}
    if config.yaw_range_deg > 0:
        parts[_REGRESSORS[config.level]] = network.rotation
        prefixes[_REGRESSORS[config.level]] = "rotation"
    wanted = {
        f"{original}.{name}": tensor
        for original, module in parts.items()
        for name, tensor in module.state_dict().items()
    }
    known = wanted | {name: tensor for name, tensor in all_tensors().items() if name not in wanted}
    problems = [f"missing {name}" for name in sorted(wanted.keys() - state.keys())]
    problems += [f"unknown {name}" for name in sorted(state.keys() - known.keys())]
    for name in sorted(state.keys() & known.keys()):
        problems += _problems(name, state[name], known[name])
    if problems:
        raise CheckpointMismatch("; ".join(problems))
    used = {
        f"{prefixes[original]}.{name}": state[f"{original}.{name}"]
        for original, module in parts.items()
        for name in module.state_dict()
    }
    widened = sum(tensor.dtype in _HALF for tensor in used.values())
    tensors = {
        name: (tensor.float() if tensor.dtype in _HALF else tensor).contiguous()
        for name, tensor in used.items()
    }
    unused = sorted({_part(name) for name in state.keys() - wanted.keys()})
    return Translated(tensors, tuple(unused), widened)


def _problems(name: str, found: Tensor, wanted: Tensor) -> list[str]:
    if found.shape != wanted.shape:
        return [f"{name} is {tuple(found.shape)}, not {tuple(wanted.shape)}"]
    if found.dtype != wanted.dtype and not (found.dtype in _HALF and wanted.dtype == torch.float32):
        return [f"{name} is {found.dtype}, not {wanted.dtype}"]
    if found.is_floating_point() and not torch.isfinite(found).all():
        return [f"{name} is not finite"]
    if name.endswith(_INDEX) and not torch.equal(found, wanted):
        return [f"{name} is not that of 8x8 windows"]
    return []


def _extractors(config: ModelConfig) -> list[str]:
    names = (
        ["translation_extractor"] if config.share else ["ground_extractor", "satellite_extractor"]
    )
    return [*names, *(["rotation_extractor"] if config.yaw_range_deg > 0 else [])]


def _extractor_name(name: str, config: ModelConfig) -> str:
    if name == "translation_extractor":
        return "FeatureForT"
    if name == "rotation_extractor":
        return "SatFeatureNet"
    # The two-degree-of-freedom panorama network has no translation extractors of their own.
    ending = "ForT" if config.preset == PAPER_KITTI or config.yaw_range_deg > 0 else "Net"
    return f"{'Grd' if name == 'ground_extractor' else 'Sat'}Feature{ending}"


def all_tensors() -> dict[str, Tensor]:
    """Return every tensor that some configuration of the original has."""
    extractor = VGGUNet().state_dict()
    extractors = (
        "SatFeatureNet",
        "GrdFeatureNet",
        "FeatureForT",
        "GrdFeatureForT",
        "SatFeatureForT",
    )
    names = {f"{part}.{name}": tensor for part in extractors for name, tensor in extractor.items()}
    for level, part in _REGRESSORS.items():
        regressor = SwinRegressor(LEVEL_CHANNELS[level])
        names |= {f"{part}.{name}": tensor for name, tensor in regressor.state_dict().items()}
        block = regressor.layers[0]["blocks"][0]  # type: ignore[index]
        names[f"{part}.layers.0.blocks.0.attn.{_INDEX}"] = block.attn.relative_position_index
    return names | {name: torch.zeros(()) for name in _SCALARS}


def _part(name: str) -> str:
    """Return a tensor's part: `TransRefine.level_1` of `TransRefine.level_1.head.bias`."""
    if name in _SCALARS:
        return name
    pieces = name.split(".")
    if name.endswith(_INDEX):
        return f"{'.'.join(pieces[:2])} ({_INDEX})"
    return ".".join(pieces[:2]) if pieces[0] == "TransRefine" else pieces[0]
