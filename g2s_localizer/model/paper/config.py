# SPDX-License-Identifier: Apache-2.0
"""The configurations of the paper's network, for KITTI's pinhole camera and for panoramas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from g2s_localizer.model.config import PAPER_KITTI, PAPER_VIGOR, ModelConfig

# Zoom 18 at scale 2 and latitude 49.015, as the paper's KITTI imagery: metres per pixel.
_KITTI_GSD = 0.195828505
_KITTI_SEARCH_SIDE_M = 60.0
"""Side of the square of positions that the paper's KITTI score map holds (m)."""
# New York's 640 pixel tiles resized to 512; other cities give their own with each sample.
_VIGOR_GSD = 0.113248 * 640 / 512
_MAX_PRIOR_YAW_DEG = 6.0
"""Largest error of a heading that is not looked for: at half the radius of the overhead view things
then lie 0.8 m beside their place."""


@dataclass(frozen=True)
class PaperNetConfig(ModelConfig):
    """Configuration that both presets share."""

    level: int = 1
    """level of the features, 0 to 3; a cell spans 2^(3 - level) pixels"""
    share: bool = False
    """one extractor for both views (translation)"""
    ground_confidence: bool = True
    """the overhead view is weighted by its confidence"""
    satellite_confidence: bool = False
    """satellite features are weighted by theirs"""
    wrap_panorama: bool = False
    """paper-vigor: sampling goes on across the panorama's seam; the original left a gap there"""

    is_own: ClassVar[bool] = False
    whole_image: ClassVar[bool] = True
    may_be_zero: ClassVar[frozenset[str]] = frozenset({"level"})
    formerly: ClassVar[dict[str, Any]] = {
        "extractor": "",
        "width": 0,
        "levels": 0,
        "features": 0,
        "yaw_step_deg": 0.0,
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.level == 3 and self.yaw_range_deg > 0:
            raise ValueError("ModelConfig.level 3 has no rotation regressor; use 0, 1 or 2")

    @property
    def channels(self) -> int:
        return 64

    @property
    def stride(self) -> int:
        return int(2 ** (3 - self.level))


@dataclass(frozen=True)
class PaperKittiConfig(PaperNetConfig):
    preset: str = PAPER_KITTI
    crop_m: float = 512 * _KITTI_GSD
    gsd: float = _KITTI_GSD
    reach_m: float = 20.0
    ground_height: int = 256
    ground_width: int = 1024
    yaw_range_deg: float = 10.0
    share: bool = True

    turned_crop: ClassVar[bool] = True

    @property
    def overhead_cells(self) -> int:
        return int(self.satellite_cells - _KITTI_SEARCH_SIDE_M / self.cell_m)

    @property
    def score_cells(self) -> int:
        return int(_KITTI_SEARCH_SIDE_M / self.cell_m)


@dataclass(frozen=True)
class PaperVigorConfig(PaperNetConfig):
    preset: str = PAPER_VIGOR
    crop_m: float = 512 * _VIGOR_GSD
    gsd: float = _VIGOR_GSD
    reach_m: float = 0.2 * 512 * _VIGOR_GSD
    ground_height: int = 320
    ground_width: int = 640
    yaw_range_deg: float = 0.0

    panorama: ClassVar[bool] = True
    may_be_zero: ClassVar[frozenset[str]] = frozenset({"level", "yaw_range_deg"})

    @property
    def max_prior_yaw_deg(self) -> float:
        return self.yaw_range_deg or _MAX_PRIOR_YAW_DEG

    @property
    def overhead_cells(self) -> int:
        return int(0.4 * self.satellite_cells)
