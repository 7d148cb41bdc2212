# SPDX-License-Identifier: Apache-2.0
"""The cells of overhead views and crops in metres."""

from __future__ import annotations

import torch
from torch import Tensor


def overhead_xy(cells: int, cell_m: float, device: torch.device | None = None) -> Tensor:
    """Return centres of the cells of an overhead view: (cells, cells, 2), metres east and north.

    The view's centre is the vehicle; row 0 is north. For an even number of cells the vehicle
    stands between the middle ones.
    """
    offset = (torch.arange(cells, device=device) - (cells - 1) / 2.0) * cell_m
    north, east = torch.meshgrid(-offset, offset, indexing="ij")
    return torch.stack([east, north], dim=-1)


def rotate_xy(xy: Tensor, angle: Tensor) -> Tensor:
    """Return points (H, W, 2) turned counter-clockwise by each angle (B,) in rad: (B, H, W, 2)."""
    c, s = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
    x, y = xy[..., 0], xy[..., 1]
    return torch.stack([c * x - s * y, s * x + c * y], dim=-1)
