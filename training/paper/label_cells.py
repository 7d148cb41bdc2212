# SPDX-License-Identifier: Apache-2.0
"""Cells of a score map that the paper's normalised labels point to.

Its labels are stored negated and normalised: shifts in units of 20 m (KITTI) or of a quarter of
the tile (VIGOR), the heading in units of the yaw range.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

SHIFT_RANGE_M = 20.0
"""Half the side of the square that KITTI's priors are drawn from (m)."""

GPS_ERROR_M = 5.0
"""Half width of the window of the GPS loss (m)."""


def kitti_label_cells(
    shift_u: Tensor,
    shift_v: Tensor,
    heading: Tensor,
    yaw_range_deg: float,
    side: int,
    cell_m: float,
) -> Tensor:
    """Convert labels (B,) each to (B, 2) integer (row, column) in a score map of `side` cells."""
    x, y = SHIFT_RANGE_M * shift_u, SHIFT_RANGE_M * shift_v
    angle = heading * math.radians(yaw_range_deg)
    column = side / 2 - 0.5 + (x * angle.cos() - y * angle.sin()) / cell_m
    row = side / 2 - 0.5 + (-x * angle.sin() - y * angle.cos()) / cell_m
    return torch.stack([row, column], dim=1).round().long()


def vigor_label_cells(shift_u: Tensor, shift_v: Tensor, side: int, satellite_cells: int) -> Tensor:
    """Convert labels (B,) each to (B, 2) integer (row, column) in a score map of `side` cells."""
    quarter = satellite_cells / 4
    centre = side / 2 - 0.5
    return (
        torch.stack([centre + shift_v * quarter, centre + shift_u * quarter], dim=1).round().long()
    )


def window_half_width(cell_m: Tensor, gps_error_m: float = GPS_ERROR_M) -> Tensor:
    """Return GPS loss's window to either side in cells (B,), for cells of cell_m (B,) metres."""
    return torch.ceil(gps_error_m / cell_m).long()
