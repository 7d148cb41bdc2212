# SPDX-License-Identifier: Apache-2.0
"""Which network a configuration asks for."""

from __future__ import annotations

import torch

from g2s_localizer.model.compact import G2SNet
from g2s_localizer.model.config import COMPACT, LIFT, ModelConfig
from g2s_localizer.model.lift.network import LiftNet
from g2s_localizer.model.paper.network import PaperNet

Network = G2SNet | LiftNet | PaperNet


def build_network(config: ModelConfig) -> Network:
    """Return the network of the configuration's preset, its weights random.

    In the memory order channels_last, several times faster for these convolutions on a CPU.
    """
    kinds: dict[str, type[G2SNet | LiftNet]] = {COMPACT: G2SNet, LIFT: LiftNet}
    network = kinds.get(config.preset, PaperNet)(config)
    return network.to(memory_format=torch.channels_last)
