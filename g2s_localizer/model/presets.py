# SPDX-License-Identifier: Apache-2.0
"""Configuration of each preset, and the network of a configuration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from g2s_localizer.model.compact import CompactConfig, G2SNet
from g2s_localizer.model.config import COMPACT, LIFT, PAPER_KITTI, PAPER_VIGOR, ModelConfig
from g2s_localizer.model.lift.config import EFFICIENTNET, OF_EFFICIENTNET, LiftNetConfig
from g2s_localizer.model.lift.network import LiftNet
from g2s_localizer.model.limits import shown
from g2s_localizer.model.paper.config import PaperKittiConfig, PaperNetConfig, PaperVigorConfig
from g2s_localizer.model.paper.network import PaperNet

Network = G2SNet | LiftNet | PaperNet

_CONFIGS: dict[str, type[ModelConfig]] = {
    COMPACT: CompactConfig,
    LIFT: LiftNetConfig,
    PAPER_KITTI: PaperKittiConfig,
    PAPER_VIGOR: PaperVigorConfig,
}
PRESETS = tuple(_CONFIGS)


def model_config(preset: str = COMPACT, **changes: Any) -> ModelConfig:
    """Return the configuration of a preset with what differs from it:
    `model_config("paper-kitti", level=2)`.

    Raises ValueError naming a preset that is unknown, a field that the preset does not have, or
    one out of range.
    """
    if not isinstance(preset, str) or preset not in _CONFIGS:
        raise ValueError(f"ModelConfig.preset must be one of {', '.join(PRESETS)}, got {preset!r}")
    kind = _CONFIGS[preset]
    known, former = kind.__dataclass_fields__, kind.formerly
    given = {name: value for name, value in changes.items() if former.get(name, former) != value}
    if unknown := sorted(set(given) - set(known)):
        raise ValueError(
            f"unknown keys in the model's configuration: {', '.join(unknown)} is no field of the "
            f"preset {preset}"
        )
    fixed = OF_EFFICIENTNET if given.get("extractor") == EFFICIENTNET else {}
    return kind(**{"preset": preset, **fixed, **given})


def read_model_config(values: Any) -> ModelConfig:
    """Return the configuration that a mapping describes. Raises ValueError as `model_config`, and
    for what is no mapping.
    """
    if not isinstance(values, dict):
        raise ValueError(f"must be a mapping, got {shown(values)}")
    return model_config(**{str(name): value for name, value in values.items()})


def build_network(config: ModelConfig) -> Network:
    """Return the network of a configuration, its weights random.

    In the memory order channels_last, several times faster for these convolutions on a CPU.
    """
    network: Network
    if isinstance(config, CompactConfig):
        network = G2SNet(config)
    elif isinstance(config, LiftNetConfig):
        network = LiftNet(config)
    else:
        assert isinstance(config, PaperNetConfig), config
        network = PaperNet(config)
    # PyTorch's type hints do not know that `to` takes a memory format alone.
    in_order: Callable[..., Network] = network.to
    return in_order(memory_format=torch.channels_last)
