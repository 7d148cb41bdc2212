# SPDX-License-Identifier: Apache-2.0
"""The lift: image features onto the ground, column by column, with learned depths.

A ground plane puts every pixel where its ray meets the plane. What stands upright (trees, walls)
is thereby smeared away from the camera, and a pitch of one degree moves the ground 20 m ahead by
4 m. Here each cell at depth z of an image column instead draws from all rows of that column, by
attention that starts at the plane's row and may learn to look elsewhere: at the trunk's foot, or
along the horizon for the pitch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from g2s_localizer.model.grid import overhead_xy, rotate_xy
from g2s_localizer.model.sampling import camera_points, inside, pinhole_pixels, sample_features
from g2s_localizer.model.unet import ConvBlock

NEAR_M = 3.0
"""Depth of the nearest cell of a column (m)."""

_PLANE_ROWS = 2.0
"""Rows of features around the plane's row that attention starts with (1 sigma, over sqrt 2)."""
_DEEPEST = 8.0
"""Bound of the plane's logits: far rows are nearly silent, and can be learned all the same."""


class ColumnLift(nn.Module):
    """Features (B, C, h, w) of a ground image -> (B, F, depths, w) and confidence
    (B, 1, depths, w) in (0, 1): for each column, cells `step_m` apart in depth along the optical
    axis, the first at NEAR_M, the last beyond `reach_m`. `width` channels in between.
    """

    depths: Tensor

    def __init__(
        self, channels: int, width: int, features: int, reach_m: float, step_m: float
    ) -> None:
        super().__init__()
        depths = NEAR_M + step_m * torch.arange(round(reach_m / step_m))
        self.step_m = step_m
        self.register_buffer("depths", depths, persistent=False)
        self.query = nn.Conv2d(channels, len(depths), 1)
        self.refine = ConvBlock(channels, width)
        self.head = nn.Conv2d(width, features, 1)
        self.confidence = nn.Conv2d(width, 1, 1)

    def forward(self, features: Tensor, K: Tensor, T_base_camera: Tensor) -> tuple[Tensor, Tensor]:
        """Lift features by K (B, 3, 3) of the feature map and T_base_camera (B, 4, 4)."""
        height, columns_across = features.shape[-2:]
        row = ground_rows(self.depths, K, T_base_camera, columns_across)
        rows = torch.arange(height, device=features.device)[:, None]
        plane = -((rows - row[:, :, None]) / _PLANE_ROWS).square().clamp_max(_DEEPEST)
        attention = torch.softmax(self.query(features) + plane, dim=2)
        columns = self.refine(torch.einsum("bdhw,bchw->bcdw", attention, features))
        return self.head(columns), torch.sigmoid(self.confidence(columns))


def ground_rows(depths: Tensor, K: Tensor, T_base_camera: Tensor, width: int) -> Tensor:
    """Return rows (B, depths, width) at which each column sees the ground at each depth."""
    R, t = T_base_camera[:, :3, :3], T_base_camera[:, :3, 3]
    column = torch.arange(width, device=K.device)
    x = (column - K[:, 0, 2, None]) / K[:, 0, 0, None]
    # the base's z of the point depth * (x, y, 1) is zero
    down, side, ahead = (R[:, 2, i, None, None] for i in (1, 0, 2))
    y = -(t[:, 2, None, None] / depths[:, None] + side * x[:, None] + ahead) / down
    return K[:, 1, 1, None, None] * y + K[:, 1, 2, None, None]


@dataclass(frozen=True)
class LiftedColumns:
    """Columns of ground images over depth, and the cameras of their feature maps."""

    columns: Tensor
    """(B, C + 1, depths, w), confidence last; depths are `step_m` apart, the first at NEAR_M"""
    step_m: float
    K: Tensor
    """(B, 3, 3)"""
    T_base_camera: Tensor
    """(B, 4, 4)"""

    def __getitem__(self, image: Tensor) -> LiftedColumns:
        """Select the images (N,) int64, as often as they are named."""
        return LiftedColumns(
            self.columns[image], self.step_m, self.K[image], self.T_base_camera[image]
        )


def columns_at(ground: LiftedColumns, base: Tensor) -> tuple[Tensor, Tensor]:
    """Return columns at points base (B, H, W, 2) of the ground in base_link (m): (B, C + 1, H, W),
    and whether each is seen, (B, H, W). Bilinear; zero where unseen.
    """
    place, seen = _places(ground, base)
    return sample_features(ground.columns, place, seen), seen


def _places(ground: LiftedColumns, base: Tensor) -> tuple[Tensor, Tensor]:
    """Return the points' places in the columns, (B, H, W, 2), and which lie within."""
    depths, width = ground.columns.shape[-2:]
    camera = camera_points(base, ground.T_base_camera)
    uv, depth = pinhole_pixels(camera, ground.K)
    place = torch.stack([uv[..., 0], (depth - NEAR_M) / ground.step_m], dim=-1)
    return place, inside(place, width, depths)


def columns_to_overhead(
    ground: LiftedColumns, yaw: Tensor, cells: int, cell_m: float
) -> tuple[Tensor, Tensor]:
    """Return the overhead view, in map axes, around the vehicle, of lifted columns.

    As `projection.ground_to_overhead`: yaw (B,) is the vehicle's heading, and the view comes
    with its validity (B, 1, cells, cells).
    """
    east_north = overhead_xy(cells, cell_m, ground.columns.device)
    view, seen = columns_at(ground, rotate_xy(east_north, -yaw))
    reach = cells * cell_m / 2.0
    mask = (seen & (east_north.square().sum(-1) < reach**2))[:, None].to(view.dtype)
    return view * mask, mask


def overhead_views(
    ground: LiftedColumns, yaws: Tensor, cells: int, cell_m: float
) -> tuple[Tensor, Tensor]:
    """Return the `columns_to_overhead` of one image at each of the headings yaws (R,), as R views.

    Only the cells that are seen are sampled: of the square one in six.
    """
    east_north = overhead_xy(cells, cell_m, ground.columns.device)
    # all views one below the other, since there is one image
    base = rotate_xy(east_north, -yaws).view(1, -1, cells, 2)
    place, seen = _places(ground, base)
    near = east_north.square().sum(-1) < (cells * cell_m / 2.0) ** 2
    seen = seen & near.repeat(len(yaws), 1)
    at = seen.flatten().nonzero()[:, 0]
    visible = at.new_ones(1, 1, len(at), dtype=torch.bool)
    sampled = sample_features(ground.columns, place.view(1, 1, -1, 2)[:, :, at], visible)
    views = sampled.new_zeros(sampled.shape[1], seen.numel())
    views[:, at] = sampled[0, :, 0]
    mask = seen.view(len(yaws), 1, cells, cells).to(views.dtype)
    return views.view(-1, len(yaws), cells, cells).transpose(0, 1), mask
