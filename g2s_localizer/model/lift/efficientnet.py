# SPDX-License-Identifier: Apache-2.0
"""A feature extractor whose encoder can begin with ImageNet weights: EfficientNet-Lite0, cut off
at 1/16 of the image's resolution, with a decoder of our own.

The encoder is that of EfficientNet-Lite0 (Tan and Le, ICML 2019, arXiv:1905.11946, without
squeeze-and-excitation, and ReLU6 for swish), from the published description.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from g2s_localizer.model.unet import ConvBlock

_STEM = 32
_STAGES = (
    # kernel, stride, expansion, channels: one block each; a stage ends where the next one halves
    ((3, 1, 1, 16),),
    ((3, 2, 6, 24), (3, 1, 6, 24)),
    ((5, 2, 6, 40), (5, 1, 6, 40)),
    ((3, 2, 6, 80), (3, 1, 6, 80), (3, 1, 6, 80), (5, 1, 6, 112), (5, 1, 6, 112), (5, 1, 6, 112)),
)
_DECODER = (48, 32, 16)
LEVELS = len(_STAGES)


class EfficientUNet(nn.Module):
    """Like CompactUNet: (B, 3, H, W) -> features (B, C, H/2, W/2), confidence (B, 1, H/2, W/2).

    H and W must be divisible by 2^LEVELS. The encoder pads as its weights were trained, one pixel
    more to the right and below, so that its cells' centres lie half a pixel of their input off;
    the decoder, whose features are compared, learns where they belong.
    """

    divisor = 2**LEVELS

    def __init__(self, features: int) -> None:
        super().__init__()
        self.stem = _Convolution(3, _STEM, 3, stride=2)
        self.stages = nn.ModuleList()
        channels, widths = _STEM, []
        for stage in _STAGES:
            blocks = []
            for kernel, stride, expansion, outputs in stage:
                blocks.append(_InvertedResidual(channels, outputs, kernel, stride, expansion))
                channels = outputs
            self.stages.append(nn.Sequential(*blocks))
            widths.append(channels)
        self.up = nn.ModuleList()
        for skip, outputs in zip(reversed(widths[:-1]), _DECODER, strict=True):
            self.up.append(ConvBlock(channels + skip, outputs))
            channels = outputs
        self.head = nn.Conv2d(channels, features, 1)
        self.confidence = nn.Conv2d(channels, 1, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Extract features. Raises ValueError unless the image's sides divide by 2^LEVELS."""
        if image.shape[-2] % self.divisor or image.shape[-1] % self.divisor:
            raise ValueError(
                f"image sides must be divisible by {self.divisor}, got {tuple(image.shape[-2:])}"
            )
        x = self.stem(image.contiguous(memory_format=torch.channels_last))
        skips = []
        for stage in self.stages:
            x = stage(x)
            skips.append(x)
        skips.pop()
        for block in self.up:
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = block(x, skips.pop())
        return self.head(x).float(), torch.sigmoid(self.confidence(x).float())


class _Convolution(nn.Module):
    """Convolution that pads to whole strides, batch normalisation and, if `active`, ReLU6."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        active: bool = True,
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(
            inputs, outputs, kernel, stride, groups=groups, bias=False, padding=0
        )
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3)
        self.activation = nn.ReLU6(inplace=True) if active else nn.Identity()
        before = (kernel - stride) // 2
        self._pad = (before, kernel - stride - before) * 2

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, self._pad)
        if self.convolution.groups > 1:
            # on CPUs the way back through a depthwise convolution is 3 to 10 times slower in bf16
            with torch.autocast(x.device.type, enabled=False):
                x = self.convolution(x.float()).to(x.dtype)
        else:
            x = self.convolution(x)
        activated: Tensor = self.activation(self.norm(x))
        return activated


class _InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, projection; added to what came in where that fits."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        layers = [_Convolution(inputs, inner, 1)] if expansion > 1 else []
        layers.append(_Convolution(inner, inner, kernel, stride, groups=inner))
        layers.append(_Convolution(inner, outputs, 1, active=False))
        self.layers = nn.Sequential(*layers)
        self._adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return x + out if self._adds else out
