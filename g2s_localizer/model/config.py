# SPDX-License-Identifier: Apache-2.0
"""ModelConfig: crop, images and search, as every network's configuration has them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from g2s_localizer.model.limits import (
    MAX_CROP_PIXELS,
    check_activations,
    check_field,
    check_search,
)

COMPACT = "compact"
LIFT = "lift"
PAPER_KITTI = "paper-kitti"
PAPER_VIGOR = "paper-vigor"


@dataclass(frozen=True)
class ModelConfig(ABC):
    """Configuration of a network as localizer and training use it; each network has one of its
    own, made by `presets.model_config`.

    Raises ValueError naming a field that is out of range.
    """

    preset: str
    """compact, lift: this project's own networks, over a ground plane and with an overhead view
    that is lifted column by column; paper-kitti, paper-vigor: that of Shi et al., ECCV 2024, for
    a pinhole camera and for a panorama"""
    crop_m: float = 96.0
    """side of the satellite crop (m)"""
    gsd: float = 0.25
    """ground sample distance of the satellite crop (m per pixel)"""
    reach_m: float = 24.0
    """radius of the overhead view (m); positions up to crop_m / 2 - reach_m from the crop's
    centre can be scored. The paper's presets round it to cells by rules of their own"""
    ground_height: int = 128
    ground_width: int = 512
    yaw_range_deg: float = 12.0
    """largest residual yaw; 0: the heading is taken as known (paper-vigor)"""

    is_own: ClassVar[bool] = True
    """True for this project's own networks, false for the paper's."""
    whole_image: ClassVar[bool] = False
    """True where the ground image is taken whole, false for the part that can show the ground."""
    turned_crop: ClassVar[bool] = False
    """True where the crop's u axis points along the prior's heading, false for north-up crops."""
    panorama: ClassVar[bool] = False
    """True where ground images are panoramas, false for those of a pinhole camera."""
    may_be_zero: ClassVar[frozenset[str]] = frozenset()
    formerly: ClassVar[dict[str, Any]] = {}
    """Further keys of descriptions that were written when all presets had one configuration, each
    with the only value that it could have."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value, may_be_zero = getattr(self, field.name), field.name in self.may_be_zero
            check_field(field.name, str(field.type), value, may_be_zero)
        if self.overhead_cells <= 0 or self.search_m <= 0:
            raise ValueError(f"reach_m {self.reach_m} leaves nothing of crop_m {self.crop_m}")
        side = self.crop_m / self.gsd
        if side > MAX_CROP_PIXELS:
            raise ValueError(
                f"crop_m {self.crop_m} and gsd {self.gsd} make a crop of {side:.0f} pixels a side; "
                f"the limit is {MAX_CROP_PIXELS}"
            )
        check_activations("crop_m and gsd", side**2, self.channels)
        pixels = self.ground_height * self.ground_width
        check_activations("ground_height and ground_width", pixels, self.channels)

    @property
    @abstractmethod
    def channels(self) -> int:
        """Return channels of the extractors' finest level."""

    @property
    def stride(self) -> int:
        """Return pixels of the image that a feature cell spans, along each axis."""
        return 2

    @property
    def imagery_m(self) -> float:
        """Return the side of the north-up square that holds the crop under every heading (m)."""
        return math.sqrt(2.0) * self.crop_m if self.turned_crop else self.crop_m

    @property
    def max_prior_yaw_deg(self) -> float:
        """Return the largest 2 sigma of the prior's heading (degrees) that the network takes."""
        return self.yaw_range_deg

    @property
    def cell_m(self) -> float:
        """Return metres per cell of the satellite features, the overhead view and the score map."""
        return self.gsd * self.stride

    @property
    def satellite_cells(self) -> int:
        return round(self.crop_m / self.cell_m)

    @property
    def overhead_cells(self) -> int:
        """Return the overhead view's cells a side, as correlated with satellite features."""
        return round(2.0 * self.reach_m / self.cell_m)

    @property
    def score_cells(self) -> int:
        """Return cells a side of the score map."""
        return self.satellite_cells - self.overhead_cells + 1

    @property
    def search_m(self) -> float:
        """Return largest offset (m) from the crop's centre, along each axis, that can be scored."""
        return (self.score_cells - 1) / 2 * self.cell_m


@dataclass(frozen=True)
class SearchConfig(ModelConfig):
    """And what the project's own networks have in common: U-Nets, and a search over the heading."""

    width: int = 16
    """channels of the extractors' finest level; level l has (l + 1) times as many"""
    levels: int = 5
    """resolutions of the extractors"""
    features: int = 16
    """channels of the features"""
    yaw_step_deg: float = 2.0
    """step of the search over yaw"""

    formerly: ClassVar[dict[str, Any]] = {
        "level": 0,
        "share": False,
        "ground_confidence": True,
        "satellite_confidence": False,
        "wrap_panorama": False,
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.satellite_cells % 2 or self.overhead_cells % 2:
            raise ValueError(
                f"crop_m {self.crop_m} and reach_m {self.reach_m} must span an even number of "
                f"cells of {self.cell_m} m, got {self.satellite_cells} and {self.overhead_cells}"
            )
        check_search(self.yaw_step_deg, self.features, self.satellite_cells)

    @property
    def channels(self) -> int:
        return self.width
