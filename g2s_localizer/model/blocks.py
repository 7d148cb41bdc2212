# SPDX-License-Identifier: Apache-2.0
"""What extractors and lift are built of."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


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
        """Of x (B, C, H, W), or of x and `skip` (B, D, H, W) side by side in channels.

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
