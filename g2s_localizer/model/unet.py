# SPDX-License-Identifier: Apache-2.0
"""The U-Net that extracts features and a confidence, at half the image's resolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STRIDE = 2
"""Pixels of the image a feature cell spans. Cell c covers pixels 2c and 2c + 1, evenly: every
layer below keeps that centre, so features carry no half-cell offset."""


class ConvBlock(nn.Sequential):
    """Two 3x3 convolutions, each with batch normalisation and ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        layers: list[nn.Module] = []
        for channels in (inputs, outputs):
            layers += [
                nn.Conv2d(channels, outputs, 3, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        """Convolve x (B, C, H, W), or x and `skip` (B, D, H, W) side by side in channels.

        Side by side is computed as a sum of two convolutions: to concatenate, and to take the
        gradient apart again, costs a CPU more than both of them.
        """
        first, *others = self
        assert isinstance(first, nn.Conv2d)
        if skip is None:
            x = first(x)
        else:
            ours, theirs = first.weight.split([x.shape[1], skip.shape[1]], dim=1)
            x = F.conv2d(x, ours, first.bias, padding=1) + F.conv2d(skip, theirs, padding=1)
        for layer in others:
            x = layer(x)
        return x


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
        """Extract features. Raises ValueError unless the image's sides divide by 2^levels."""
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
    """Convert an image's intrinsics (B, 3, 3) to its feature map's, STRIDE times smaller."""
    scale = torch.tensor([1.0 / STRIDE, 1.0 / STRIDE, 1.0], device=K.device)[:, None]
    scaled = K * scale
    half = 0.5 / STRIDE - 0.5
    return scaled + K.new_tensor([[0.0, 0.0, half], [0.0, 0.0, half], [0.0, 0.0, 0.0]])
