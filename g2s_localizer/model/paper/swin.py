# SPDX-License-Identifier: Apache-2.0
"""The paper's rotation regressor: one Swin transformer block over a difference of features.

Liu et al., Swin Transformer, ICCV 2021 (windowed attention with relative position bias); the
sizes are those of Shi et al., ECCV 2024. Names of the parameters are those of its checkpoints.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_WIDTH = 48
_HEADS = 3
_WINDOW = 8
_PATCH = 4


class SwinRegressor(nn.Module):
    """Difference of overhead and satellite features (B, C, A, A) -> (B, 3).

    The three are shift along u, shift along v and heading, normalised: heading in units of the
    yaw range. A must be divisible by 32 (patches of 4, windows of 8).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.patch_embed = nn.ModuleDict(
            {
                "proj": nn.Conv2d(channels, _WIDTH, _PATCH, stride=_PATCH),
                "norm": nn.LayerNorm(_WIDTH),
            }
        )
        self.layers = nn.ModuleList([nn.ModuleDict({"blocks": nn.ModuleList([_Block()])})])
        self.norm = nn.LayerNorm(_WIDTH)
        self.head = nn.Linear(_WIDTH, 3)

    def forward(self, difference: Tensor) -> Tensor:
        """Regress. Raises ValueError when the sides are not divisible by 32."""
        if difference.shape[-2] % (_PATCH * _WINDOW) or difference.shape[-1] % (_PATCH * _WINDOW):
            raise ValueError(
                f"the sides must be divisible by {_PATCH * _WINDOW}, got {tuple(difference.shape)}"
            )
        x = self.patch_embed["norm"](self.patch_embed["proj"](difference).permute(0, 2, 3, 1))
        for block in self.layers[0]["blocks"]:  # type: ignore[index]
            x = block(x)
        result: Tensor = self.head(self.norm(x).mean(dim=(1, 2)))
        return result


class _Block(nn.Module):
    """Tokens (B, H, W, C): windowed attention, then two linear layers, each with a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(_WIDTH)
        self.attn = _WindowAttention()
        self.norm2 = nn.LayerNorm(_WIDTH)
        self.mlp = nn.ModuleDict(
            {"fc1": nn.Linear(_WIDTH, 4 * _WIDTH), "fc2": nn.Linear(4 * _WIDTH, _WIDTH)}
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        result: Tensor = x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))
        return result


class _WindowAttention(nn.Module):
    """Attention of the 64 tokens of each 8x8 window among themselves."""

    relative_position_index: Tensor

    def __init__(self) -> None:
        super().__init__()
        span = 2 * _WINDOW - 1
        self.relative_position_bias_table = nn.Parameter(torch.zeros(span * span, _HEADS))
        self.register_buffer("relative_position_index", _relative_index(), persistent=False)
        self.qkv = nn.Linear(_WIDTH, 3 * _WIDTH)
        self.proj = nn.Linear(_WIDTH, _WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        batch, height, width, _ = x.shape
        rows, columns, tokens = height // _WINDOW, width // _WINDOW, _WINDOW * _WINDOW
        windows = x.view(batch, rows, _WINDOW, columns, _WINDOW, _WIDTH).transpose(2, 3)
        windows = windows.reshape(-1, tokens, _WIDTH)
        heads = self.qkv(windows).view(-1, tokens, 3, _HEADS, _WIDTH // _HEADS)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias[None])
        out = self.proj(mixed.transpose(1, 2).reshape(-1, tokens, _WIDTH))
        out = out.view(batch, rows, columns, _WINDOW, _WINDOW, _WIDTH).transpose(2, 3)
        result: Tensor = out.reshape(batch, height, width, _WIDTH)
        return result


def _relative_index() -> Tensor:
    """Return (64, 64) row of the bias table for each pair of tokens of a window."""
    place = torch.arange(_WINDOW)
    row, column = (axis.flatten() for axis in torch.meshgrid(place, place, indexing="ij"))
    down = row[:, None] - row[None, :] + _WINDOW - 1
    right = column[:, None] - column[None, :] + _WINDOW - 1
    return down * (2 * _WINDOW - 1) + right
