# SPDX-License-Identifier: Apache-2.0
"""Rule by which the files of `training.parity` were made: weights by name, images by formula."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from g2s_localizer.model import ModelConfig, PaperNet
from training.paper.checkpoint import all_tensors, translate


def weight_of(name: str, tensor: Tensor) -> Tensor:
    """Return a name's tensor by the rule; scalars and integer buffers stay as they are."""
    if tensor.dim() == 0 or not tensor.is_floating_point():
        return tensor
    shape = tuple(tensor.shape)
    n = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()))).standard_normal(shape)
    if len(shape) >= 2:
        n = n * np.sqrt(2.0 / np.prod(shape[1:]))
    elif ".norm" in name and name.endswith("weight"):
        n = 1.0 + 0.1 * n
    else:
        n = 0.05 * n
    return torch.from_numpy(n.astype(np.float32))


def image_of(phases: Sequence[float], height: int, width: int) -> Tensor:
    """Return (B, 3, height, width) in [0, 1]: a formula that has detail at many scales."""
    x, y = np.arange(width)[None, :] / width, np.arange(height)[:, None] / height
    images = np.empty((len(phases), 3, height, width))
    for image, p in zip(images, phases, strict=True):
        for c, channel in enumerate(image):
            v = np.zeros((height, width))
            for k in range(1, 9):
                slow = k * (1.3 + 0.37 * c) * 3 * x + (k % 3 + 1) * (0.9 + 0.21 * c) * 4 * y
                v += np.sin(2 * np.pi * slow + p * k + c) / k
                fast = 0.7 * k**2 * x - 2 * (k + 1) * 1.1 * y
                v += np.cos(2 * np.pi * fast + 2 * p * k - c) / (k + 1)
            channel[:] = 0.5 + 0.5 * np.tanh(v)
    return torch.from_numpy(images.astype(np.float32))


def network_for(config: ModelConfig) -> PaperNet:
    """Build PaperNet with the weights of the rule."""
    network = PaperNet(config)
    state = {name: weight_of(name, tensor) for name, tensor in all_tensors().items()}
    network.load_state_dict(translate(state, config).tensors, strict=False)
    return network.to(memory_format=torch.channels_last).eval()
