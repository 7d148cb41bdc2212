# SPDX-License-Identifier: Apache-2.0
"""Two views of one place for stage 0, cut from a wider crop so that neither is padded.

Black wedges at the rim of a padded view tell shift and heading by themselves: a network can then
solve stage 0 from grey crops, and has learned nothing.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from g2s_localizer.model import ModelConfig
from g2s_localizer.model.config import PAPER_KITTI
from g2s_localizer.model.grid import overhead_xy, rotate_xy
from training.data.sample import PairDataset, Unreadable
from training.paper.label_cells import SHIFT_RANGE_M

_OWN_SHARE = 0.9
"""Share of search window and yaw range that our own network's pairs are drawn from."""
_STEP = 8
"""Pixels that a wide crop grows by, so that it has the crop's own middle."""
_TRIED = 8
"""Samples that are asked for their surroundings before the first step."""


def motion_range(config: ModelConfig) -> tuple[float, float]:
    """Return the largest shift along each axis (m) and turn (rad) between the two views."""
    yaw = math.radians(config.yaw_range_deg)
    if config.is_own:
        return _OWN_SHARE * config.search_m, _OWN_SHARE * yaw
    return (SHIFT_RANGE_M if config.preset == PAPER_KITTI else config.crop_m / 4), yaw


def wide_pixels(config: ModelConfig) -> int:
    """Return the pixels a side of the crop that both views are cut from.

    Each view is turned and shifted by half of what lies between them.
    """
    shift, yaw = motion_range(config)
    turn = min(yaw / 2, math.pi / 4)
    side = _side(config)
    half = ((side - 1) / 2 + shift / config.gsd / 2) * (math.cos(turn) + math.sin(turn))
    return side + _STEP * max(0, math.ceil((2 * half + 1 - side) / _STEP))


def two_views(
    wide: Tensor, yaw: Tensor, offset: Tensor, config: ModelConfig
) -> tuple[Tensor, Tensor]:
    """Cut two views (B, 3, S, S) from wide crops (B, 3, W, W), each by one bilinear resampling.

    What the second shows at xy (metres right and up of its centre), the first shows at
    R(yaw) xy + offset, for yaw (B,) in rad and offset (B, 2) in m within `motion_range`.
    Raises ValueError where W is less than `wide_pixels`: a view would be padded.
    """
    if wide.shape[-1] < wide_pixels(config):
        raise ValueError(
            f"both views of stage 0 are cut from {wide_pixels(config)} pixels a side, so that "
            f"nothing is padded, and the crop has {wide.shape[-1]}"
        )
    half = rotate_xy(offset[:, None, None] / 2, -yaw / 2)[:, 0, 0]
    return _view(wide, -yaw / 2, -half, config), _view(wide, yaw / 2, half, config)


def surroundings(dataset: PairDataset, config: ModelConfig) -> PairDataset:
    """Return the dataset with the wide crops that `two_views` needs in place of its own.

    Raises ValueError naming the metres and the reason where none of some samples has them.
    """
    wide = dataset.widened(wide_pixels(config))
    tried = torch.linspace(0, len(wide) - 1, min(_TRIED, len(wide))).long().tolist()
    reasons = []
    for index in tried:
        sample = wide[index]
        if not isinstance(sample, Unreadable):
            return wide
        if not isinstance(dataset[index], Unreadable):
            reasons.append(f"{sample.name}: {sample.reason}")
    if reasons:
        raise ValueError(
            f"stage 0 cuts both views of a place from {wide_pixels(config) * config.gsd:.0f} m of "
            f"imagery around it, more than the crop's {config.crop_m:.0f} m, so that nothing is "
            f"padded: none of {len(reasons)} samples that were tried has them. {reasons[0]}"
        )
    return wide


def _view(wide: Tensor, yaw: Tensor, centre: Tensor, config: ModelConfig) -> Tensor:
    """Return views whose point xy lies at R(yaw) xy + centre of the wide crop."""
    xy = rotate_xy(overhead_xy(_side(config), config.gsd, wide.device), yaw)
    xy = xy + centre[:, None, None]
    grid = torch.stack([xy[..., 0], -xy[..., 1]], dim=-1) * (2.0 / (wide.shape[-1] * config.gsd))
    return F.grid_sample(wide, grid, mode="bilinear", align_corners=False)


def _side(config: ModelConfig) -> int:
    return round(config.crop_m / config.gsd)
