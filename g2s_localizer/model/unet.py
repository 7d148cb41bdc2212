# SPDX-License-Identifier: Apache-2.0
"""Feature extractors: image -> features and a confidence, at half the image's resolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from g2s_localizer.model.blocks import ConvBlock

STRIDE = 2
"""Pixels of the image a feature cell spans. Cell c covers pixels 2c and 2c + 1, evenly: every
layer below keeps that centre, so features carry no half-cell offset."""


class CompactUNet(nn.Module):
    """A small U-Net: (B, 3, H, W) -> features (B, C, H/2, W/2), confidence (B, 1, H/2, W/2).

    H and W must be divisible by 2^levels. Downsampling is by 4x4 convolution or 2x2 mean, and
    upsampling is bilinear, all symmetric about the cell's centre. The length of a feature is
    free, and says how much its cell matters; confidence lies in (0, 1).
    """

    def __init__(self, width: int, levels: int, features: int) -> None:
        super().__init__()
        widths = [width * (level + 1) for level in range(levels)]
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 4, stride=STRIDE, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )
        self.down = nn.ModuleList(
            ConvBlock(widths[max(level - 1, 0)], widths[level]) for level in range(levels)
        )
        self.up = nn.ModuleList(
            ConvBlock(widths[level + 1] + widths[level], widths[level])
            for level in reversed(range(levels - 1))
        )
        self.head = nn.Conv2d(width, features, 1)
        self.confidence = nn.Conv2d(width, 1, 1)
        self.divisor = 2**levels

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Raises ValueError when the image's sides are not divisible by 2^levels."""
        if image.shape[-2] % self.divisor or image.shape[-1] % self.divisor:
            raise ValueError(
                f"image sides must be divisible by {self.divisor}, got {tuple(image.shape[-2:])}"
            )
        x = self.stem(image.contiguous(memory_format=torch.channels_last))
        skips = []
        for level, block in enumerate(self.down):
            x = block(F.avg_pool2d(x, 2) if level else x)
            skips.append(x)
        skips.pop()
        for block in self.up:
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = block(x, skips.pop())
        return self.head(x).float(), torch.sigmoid(self.confidence(x).float())


def feature_intrinsics(K: Tensor) -> Tensor:
    """Intrinsics (B, 3, 3) of an image -> those of its feature map, STRIDE times smaller."""
    scale = torch.tensor([1.0 / STRIDE, 1.0 / STRIDE, 1.0], device=K.device)[:, None]
    scaled = K * scale
    half = 0.5 / STRIDE - 0.5
    return scaled + K.new_tensor([[0.0, 0.0, half], [0.0, 0.0, half], [0.0, 0.0, 0.0]])
