# SPDX-License-Identifier: Apache-2.0
"""Points of the ground in the camera, and features at fractional places of a map."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def camera_points(xy: Tensor, T_base_camera: Tensor) -> Tensor:
    """Convert ground points xy (B, H, W, 2) in base_link (m) to the optical frame (B, H, W, 3).

    T_base_camera (B, 4, 4), optical frame to base_link.
    """
    points = torch.cat([xy, xy.new_zeros(*xy.shape[:3], 1)], dim=-1)
    R, t = T_base_camera[:, :3, :3], T_base_camera[:, :3, 3]
    return torch.einsum("bhwi,bij->bhwj", points - t[:, None, None], R)


def pinhole_pixels(camera: Tensor, K: Tensor) -> tuple[Tensor, Tensor]:
    """Convert optical points (B, H, W, 3) to uv (B, H, W, 2) by K (B, 3, 3), and depth."""
    depth = camera[..., 2]
    pixel = torch.einsum("bhwj,bij->bhwi", camera, K)
    return pixel[..., :2] / depth.clamp_min(1e-6)[..., None], depth


def sample_features(features: Tensor, uv: Tensor, visible: Tensor) -> Tensor:
    """Return features (B, C, h, w) at uv (B, H, W, 2), bilinear; zero where not `visible` (B, H,
    W).

    Pixel (0, 0) is the centre of the top left cell.
    """
    height, width = features.shape[-2:]
    size = uv.new_tensor([width, height])
    grid = torch.where(visible[..., None], (2 * uv + 1) / size - 1, uv.new_full((), -2.0))
    view = F.grid_sample(features, grid, mode="bilinear", align_corners=False)
    return view * visible[:, None].to(view.dtype)


def inside(uv: Tensor, width: int, height: int) -> Tensor:
    """Return whether uv (..., 2) lies between the centres of the border cells of a map."""
    u, v = uv[..., 0], uv[..., 1]
    return (u >= 0) & (u <= width - 1) & (v >= 0) & (v <= height - 1)
