# SPDX-License-Identifier: Apache-2.0
"""Ground to overhead: features of the camera's image resampled onto the ground plane."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from g2s_localizer.model.grid import overhead_xy, rotate_xy
from g2s_localizer.model.sampling import camera_points, inside, pinhole_pixels, sample_features

_MINIMUM_DEPTH = 1.0
"""Metres along the optical axis below which the ground lies under the bonnet."""


def panorama_turns(camera: Tensor) -> Tensor:
    """Convert points (B, H, W, 3) of the optical frame to (B, H, W, 2) in [0, 1): share of the full
    turn from the left edge of an equirectangular image, and of the half turn from its top edge.
    """
    right, down, ahead = camera.unbind(-1)
    turn = torch.atan2(right, ahead) / (2.0 * math.pi) + 0.5
    from_zenith = torch.atan2(torch.hypot(right, ahead), -down) / math.pi
    return torch.stack([torch.remainder(turn, 1.0), from_zenith], dim=-1)


def ground_to_overhead(
    features: Tensor,
    K: Tensor,
    T_base_camera: Tensor,
    yaw: Tensor,
    cells: int,
    cell_m: float,
) -> tuple[Tensor, Tensor]:
    """Return the overhead view of the ground plane, in map axes, around the vehicle.

    features       (B, C, h, w) of the ground image
    K              (B, 3, 3) intrinsics of the feature map (not of the image)
    T_base_camera  (B, 4, 4) optical frame to base_link, whose z = 0 is the ground
    yaw            (B,) heading of the vehicle in map, rad counter-clockwise from east
    Returns the view (B, C, cells, cells) and its validity (B, 1, cells, cells): 1 where the
    camera sees the cell and the cell lies within the circle of the view, so that the view keeps
    its content under every yaw. Sampling is bilinear.
    """
    east_north = overhead_xy(cells, cell_m, features.device)
    uv, depth = pinhole_pixels(camera_points(rotate_xy(east_north, -yaw), T_base_camera), K)
    reach = cells * cell_m / 2.0
    visible = (
        (depth > _MINIMUM_DEPTH)
        & inside(uv, features.shape[-1], features.shape[-2])
        & (east_north.square().sum(-1) < reach**2)
    )
    return sample_features(features, uv, visible), visible[:, None].to(features.dtype)


def turn_overhead(features: Tensor, yaw: Tensor, cells: int) -> Tensor:
    """Return the middle of a north-up map of features, turned counter-clockwise by `yaw` (B,) in
    rad.

    features (B, C, A, A) -> (B, C, cells, cells), one bilinear sampling: what a vehicle at the
    centre would take for the overhead view if its heading were off by `yaw`.
    """
    side = features.shape[-1]
    xy = rotate_xy(overhead_xy(cells, 1.0, features.device), -yaw)
    grid = torch.stack([xy[..., 0], -xy[..., 1]], dim=-1) * (2.0 / side)
    return F.grid_sample(features, grid, mode="bilinear", align_corners=False)
