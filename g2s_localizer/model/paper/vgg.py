# SPDX-License-Identifier: Apache-2.0
"""The paper's feature extractor: a VGG-16 U-Net with a confidence at each level.

Shi et al., Weakly-supervised Camera Localization by Ground-to-satellite Image Registration,
ECCV 2024. Layer names are those of its checkpoints, and so are two quirks that these need: ReLU
follows the pooling, so the first two skips are rectified and the deepest features are not; and
the confidence is the sigmoid of a negated sigmoid, between 0.269 and 0.5.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEVEL_CHANNELS = (256, 64, 16, 4)
"""Channels of the features of level 0 (1/8 of the image's resolution) to level 3 (all of it)."""

_ENCODER_CONTEXT = 18
"""Rows of the image above a deepest cell's first one that it depends on: 2 + 4 + 12 through the
3x3 convolutions at full, half and quarter resolution."""

_STRIPE_BYTES = 28 * 2**20
"""Activations at most this large stay in the cache and in memory that the allocator keeps; larger
ones are handed back to the system and paid for in page faults at every call."""

_VGG16_FEATURES = {0: 3, 2: 64, 5: 64, 7: 128, 10: 128, 12: 256, 14: 256}
"""Input channels of the convolutions by their index in torchvision's vgg16 `features`."""
_OUTPUTS = {0: 64, 2: 64, 5: 128, 7: 128, 10: 256, 12: 256, 14: 256}


class VGGUNet(nn.Module):
    """Images (B, 3, H, W) in [0, 1] -> features and confidence of one level.

    H and W must be divisible by 8. Level l has stride 2^(3 - l); nothing finer is computed.
    """

    conv0: nn.Conv2d
    conv2: nn.Conv2d
    conv5: nn.Conv2d
    conv7: nn.Conv2d
    conv10: nn.Conv2d
    conv12: nn.Conv2d
    conv14: nn.Conv2d

    def __init__(self) -> None:
        super().__init__()
        for index, inputs in _VGG16_FEATURES.items():
            setattr(self, f"conv{index}", nn.Conv2d(inputs, _OUTPUTS[index], 3, padding=1))
        for stage, (inputs, middle, outputs) in enumerate(
            [(256 + 128, 128, 64), (64 + 64, 64, 16), (16 + 64, 64, 4)], start=1
        ):
            setattr(self, f"conv_dec{stage}", _double_convolution(inputs, middle, outputs))
        for level, channels in enumerate(LEVEL_CHANNELS):
            setattr(
                self,
                f"conf{level}",
                nn.Sequential(nn.ReLU(), nn.Conv2d(channels, 1, 3, 1, 1, bias=False)),
            )

    def forward(self, image: Tensor, level: int, first: int = 0) -> tuple[Tensor, Tensor]:
        """Return features (B, C, H / s - first, W / s), not normalised, and confidence, one
        channel.

        Rows above `first` are left out, and so is all of the image that only they depend on.
        Raises ValueError when the image's sides are not divisible by 8.
        """
        if image.shape[-2] % 8 or image.shape[-1] % 8:
            raise ValueError(f"image sides must be divisible by 8, got {tuple(image.shape[-2:])}")
        rows = _rows_needed(first, level)
        top = max(8 * rows[0] - _ENCODER_CONTEXT, 0) // 8 * 8
        skips, x = self._encode(image[:, :, top:], level, top, rows[0])
        for stage in range(1, level + 1):
            start = 2 * rows[stage - 1]
            above, skip = skips[stage - 1]
            x = self._decode(getattr(self, f"conv_dec{stage}"), x, skip[:, :, start - above :])
            x = x[:, :, rows[stage] - start :]
        logit = getattr(self, f"conf{level}")[1](F.relu(x))
        confidence = torch.sigmoid(-torch.sigmoid(logit.float()))
        return x[:, :, first - rows[level] :].float(), confidence[:, :, first - rows[level] :]

    def load_imagenet(self, state: dict[str, Tensor]) -> None:
        """Start the encoder from a torchvision-format vgg16 state dict (`features.N.weight`, ...).

        Raises ValueError naming a tensor that is missing or of another shape.
        """
        wanted = {f"{i}.{kind}" for i in _VGG16_FEATURES for kind in ("weight", "bias")}
        missing = sorted(name for name in wanted if f"features.{name}" not in state)
        if missing:
            raise ValueError(f"not a vgg16 state dict: it lacks features.{missing[0]}")
        mine = self.state_dict()
        for name in sorted(wanted):
            given = state[f"features.{name}"]
            if given.shape != mine[f"conv{name}"].shape:
                raise ValueError(
                    f"features.{name} is {tuple(given.shape)}, "
                    f"not {tuple(mine[f'conv{name}'].shape)}"
                )
            mine[f"conv{name}"].copy_(given)

    def _encode(
        self, image: Tensor, level: int, top: int, deepest: int
    ) -> tuple[list[tuple[int, Tensor]], Tensor]:
        """Return skips at 1/4, 1/2 and, for level 3, full resolution, each with its first row in
        the whole image; and the deepest features at 1/8, from row `deepest` on.

        image: rows from `top` on. Before each resolution's convolutions, rows that nothing from
        `deepest` on depends on are dropped: two convolutions see two rows, three see three.
        """
        x = image.contiguous(memory_format=torch.channels_last)
        if level == 3:
            full = self.conv2(F.relu(self.conv0(x)))
            half = _pooled(full)
        else:
            half = _in_stripes(x, 64, lambda t: _pooled(self.conv2(F.relu_(self.conv0(t)))))
        start = max(4 * deepest - 8, top // 2)
        x = half[:, :, start - top // 2 :]
        quarter = _in_stripes(x, 128, lambda t: _pooled(self.conv7(F.relu_(self.conv5(t)))))
        first = max(2 * deepest - 3, start // 2)
        x = F.relu_(self.conv12(F.relu_(self.conv10(quarter[:, :, first - start // 2 :]))))
        x = self.conv14(x)[:, :, 2 * deepest - first :]
        skips = [(start // 2, quarter), (top // 2, half)]
        return skips + ([(top, full)] if level == 3 else []), F.max_pool2d(x, 2)

    @staticmethod
    def _decode(block: nn.Sequential, coarse: Tensor, skip: Tensor) -> Tensor:
        first: nn.Conv2d = block[1]  # type: ignore[assignment]
        last: nn.Conv2d = block[3]  # type: ignore[assignment]
        x = upsampled_convolution(F.relu(coarse), first.weight[:, : coarse.shape[1]])
        x = x + F.conv2d(F.relu(skip), first.weight[:, coarse.shape[1] :], padding=1)
        result: Tensor = last(F.relu_(x))
        return result


def _rows_needed(first: int, level: int) -> list[int]:
    """Return first rows of levels 0 to `level` that rows from `first` on of the finest depend on:
    one more for the confidence, two for a decoder block, halved from level to level.
    """
    rows = [max(first - 1, 0)]
    for _ in range(level):
        rows.append(max((rows[-1] - 2) // 2, 0))
    return rows[::-1]


def upsampled_convolution(x: Tensor, weight: Tensor) -> Tensor:
    """Convolve x (B, C, H, W), upsampled twofold by nearest neighbour, 3x3 with padding 1.

    weight (D, C, 3, 3) -> (B, D, 2H, 2W). An output of even row sees two rows of x, the lower one
    through two rows of the kernel, which are added up beforehand; one of odd row sees the upper
    one so; likewise columns. Four 2x2 convolutions at x's own resolution: 4/9 of the products.
    """
    rows = torch.stack([weight[:, :, 0], weight[:, :, 1] + weight[:, :, 2]], dim=2)
    rows_odd = torch.stack([weight[:, :, 0] + weight[:, :, 1], weight[:, :, 2]], dim=2)
    batch, _, height, width = x.shape
    padded = F.pad(x, (1, 1, 1, 1)).contiguous(memory_format=torch.channels_last)
    phases = []
    for a, kernel in enumerate((rows, rows_odd)):
        left = torch.stack([kernel[..., 0], kernel[..., 1] + kernel[..., 2]], dim=3)
        right = torch.stack([kernel[..., 0] + kernel[..., 1], kernel[..., 2]], dim=3)
        for b, folded in enumerate((left, right)):
            window = padded[:, :, a : a + height + 1, b : b + width + 1]
            phases.append(F.conv2d(window, folded))
    # (B, H, 2, W, 2, D): the phases side by side, in the memory order of channels_last.
    grid = torch.stack([p.permute(0, 2, 3, 1) for p in phases], dim=3)
    grid = grid.view(batch, height, width, 2, 2, -1).transpose(2, 3)
    return grid.reshape(batch, 2 * height, 2 * width, -1).permute(0, 3, 1, 2)


def _pooled(x: Tensor) -> Tensor:
    return F.relu_(F.max_pool2d(x, 2))


def _in_stripes(x: Tensor, channels: int, block: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply `block` (two 3x3 convolutions of `channels` and a 2x2 pooling) over stripes of rows.

    Each stripe has two more rows on either side, whose results are dropped: equal to the block
    on the whole, in pieces that stay in the cache. Whole where gradients are wanted or on a GPU.
    """
    height, width = x.shape[-2:]
    rows = max(_STRIPE_BYTES // (4 * channels * width * x.shape[0]) // 2 * 2, 8)
    if torch.is_grad_enabled() or x.device.type != "cpu" or rows >= height:
        return block(x)
    pieces = []
    for first in range(0, height, rows):
        above = min(first, 2)
        stripe = block(x[:, :, first - above : min(first + rows + 2, height)])
        pieces.append(stripe[:, :, above // 2 : above // 2 + rows // 2])
    return torch.cat(pieces, dim=2)


def _double_convolution(inputs: int, middle: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(inputs, middle, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.Conv2d(middle, outputs, 3, padding=1, bias=False),
    )
