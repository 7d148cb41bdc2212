# SPDX-License-Identifier: Apache-2.0
"""ModelConfig: what a checkpoint's network is built from, by preset."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from g2s_localizer.model.limits import (
    MAX_CROP_PIXELS,
    check_activations,
    check_field,
    check_search,
    shown,
)

COMPACT = "compact"
LIFT = "lift"
PAPER_KITTI = "paper-kitti"
PAPER_VIGOR = "paper-vigor"

UNET = "unet"
EFFICIENTNET = "efficientnet-lite0"
EXTRACTORS = (UNET, EFFICIENTNET)

_PAPER: dict[str, Any] = {
    "extractor": "",
    "width": 0,
    "levels": 0,
    "features": 0,
    "yaw_step_deg": 0.0,
    "level": 1,
    "ground_confidence": True,
    "satellite_confidence": False,
    "wrap_panorama": False,
}
# Zoom 18 at scale 2 and latitude 49.015, as the paper's KITTI imagery: metres per pixel.
_KITTI_GSD = 0.195828505
# New York's 640 pixel tiles resized to 512; other cities give their own with each sample.
_VIGOR_GSD = 0.113248 * 640 / 512

_OWN: dict[str, Any] = {
    "crop_m": 96.0,
    "gsd": 0.25,
    "reach_m": 24.0,
    "ground_height": 128,
    "ground_width": 512,
    "yaw_range_deg": 12.0,
    "extractor": UNET,
    "width": 16,
    "levels": 5,
    "features": 16,
    "yaw_step_deg": 2.0,
    "level": 0,
    "share": False,
    "ground_confidence": True,
    "satellite_confidence": False,
    "wrap_panorama": False,
}
_EFFICIENTNET = {"width": 16, "levels": 4}
"""What that extractor's layers are; it has no others."""
_PRESETS: dict[str, dict[str, Any]] = {
    COMPACT: _OWN,
    LIFT: _OWN,
    PAPER_KITTI: _PAPER
    | {
        "crop_m": 512 * _KITTI_GSD,
        "gsd": _KITTI_GSD,
        "reach_m": 20.0,
        "ground_height": 256,
        "ground_width": 1024,
        "yaw_range_deg": 10.0,
        "share": True,
    },
    PAPER_VIGOR: _PAPER
    | {
        "crop_m": 512 * _VIGOR_GSD,
        "gsd": _VIGOR_GSD,
        "reach_m": 0.2 * 512 * _VIGOR_GSD,
        "ground_height": 320,
        "ground_width": 640,
        "yaw_range_deg": 0.0,
        "share": False,
    },
}
_BORNE_YAW_DEG = 6.0
"""Where the heading is not looked for: at half the radius of the overhead view things then lie
0.8 m beside their place."""
_KITTI_SEARCH_SIDE_M = 60.0
"""Side of the square of positions that the paper's KITTI score map holds (m)."""
PRESETS = tuple(_PRESETS)

_MAY_BE_ZERO = {
    COMPACT: {"level"},
    LIFT: {"level"},
    PAPER_KITTI: {"width", "levels", "features", "yaw_step_deg", "level"},
    PAPER_VIGOR: {"width", "levels", "features", "yaw_step_deg", "level", "yaw_range_deg"},
}
_PAPER_CHANNELS = 64
"""Of the finest level of its extractor."""

_ONLY_OWN = ("extractor", "width", "levels", "features", "yaw_step_deg")
_ONLY_PAPER = ("level", "share", "ground_confidence", "satellite_confidence", "wrap_panorama")
_FOREIGN = {
    COMPACT: ("extractor", *_ONLY_PAPER),
    LIFT: _ONLY_PAPER,
    PAPER_KITTI: _ONLY_OWN,
    PAPER_VIGOR: _ONLY_OWN,
}


@dataclass(frozen=True, init=False)
class ModelConfig:
    """`ModelConfig(preset="paper-kitti", level=2)`: a preset, and what differs from it.

    Raises ValueError naming a preset that is unknown, a field that the preset does not have, or
    one out of range; TypeError for a name that is no field.
    """

    preset: str
    """compact, lift: this project's own networks, over a ground plane and with an overhead view
    that is lifted column by column; paper-kitti, paper-vigor: that of Shi et al., ECCV 2024, for
    a pinhole camera and for a panorama"""
    crop_m: float
    """side of the satellite crop (m)"""
    gsd: float
    """ground sample distance of the satellite crop (m per pixel)"""
    reach_m: float
    """radius of the overhead view (m); positions up to crop_m / 2 - reach_m from the crop's
    centre can be scored. The paper's presets round it to cells by rules of their own"""
    ground_height: int
    ground_width: int
    yaw_range_deg: float
    """largest residual yaw; 0: the heading is taken as known (paper-vigor)"""
    extractor: str
    """own: unet; lift also efficientnet-lite0, whose encoder's training begins with ImageNet
    weights and whose width and levels are fixed"""
    width: int
    """own: channels of the extractors' finest level; level l has (l + 1) times as many"""
    levels: int
    """own: resolutions of the extractors"""
    features: int
    """own: channels of the features"""
    yaw_step_deg: float
    """own: step of the search over yaw"""
    level: int
    """paper: level of the features, 0 to 3; a cell spans 2^(3 - level) pixels"""
    share: bool
    """paper: one extractor for both views (translation)"""
    ground_confidence: bool
    """paper: the overhead view is weighted by its confidence"""
    satellite_confidence: bool
    """paper: satellite features are weighted by theirs"""
    wrap_panorama: bool
    """paper-vigor: sampling goes on across the panorama's seam; the original left a gap there"""

    def __init__(self, preset: str = COMPACT, **changes: Any) -> None:
        if not isinstance(preset, str) or preset not in _PRESETS:
            raise ValueError(
                f"ModelConfig.preset must be one of {', '.join(_PRESETS)}, got {preset!r}"
            )
        values = {"preset": preset, **_PRESETS[preset]}
        unknown = sorted(set(changes) - set(values))
        if unknown:
            raise TypeError(f"ModelConfig has no field {', '.join(unknown)}")
        if changes.get("extractor") == EFFICIENTNET:
            values |= _EFFICIENTNET
        foreign = _FOREIGN[preset]
        for name in foreign:
            if changes.get(name, values[name]) != values[name]:
                raise ValueError(f"ModelConfig.{name} is no field of the preset {preset}")
        for field in fields(self):
            object.__setattr__(self, field.name, changes.get(field.name, values[field.name]))
        self._check()

    def _check(self) -> None:
        for field in fields(self):
            value, may_be_zero = getattr(self, field.name), field.name in _MAY_BE_ZERO[self.preset]
            check_field(field.name, str(field.type), value, may_be_zero)
        if self.is_own and self.extractor not in EXTRACTORS:
            raise ValueError(
                f"ModelConfig.extractor must be one of {', '.join(EXTRACTORS)}, "
                f"got {self.extractor!r}"
            )
        for name, fixed in _EFFICIENTNET.items() if self.extractor == EFFICIENTNET else ():
            if getattr(self, name) != fixed:
                raise ValueError(
                    f"ModelConfig.{name} of the extractor {EFFICIENTNET} is {fixed}, "
                    f"got {getattr(self, name)}"
                )
        if self.is_own and (self.satellite_cells % 2 or self.overhead_cells % 2):
            raise ValueError(
                f"crop_m {self.crop_m} and reach_m {self.reach_m} must span an even number of "
                f"cells of {self.cell_m} m, got {self.satellite_cells} and {self.overhead_cells}"
            )
        if self.level == 3 and self.yaw_range_deg > 0:
            raise ValueError("ModelConfig.level 3 has no rotation regressor; use 0, 1 or 2")
        if self.overhead_cells <= 0 or self.search_m <= 0:
            raise ValueError(f"reach_m {self.reach_m} leaves nothing of crop_m {self.crop_m}")

        self._check_size()

    def _check_size(self) -> None:
        """Refuse what only several fields together make too large."""
        side = self.crop_m / self.gsd
        if side > MAX_CROP_PIXELS:
            raise ValueError(
                f"crop_m {self.crop_m} and gsd {self.gsd} make a crop of {side:.0f} pixels a side; "
                f"the limit is {MAX_CROP_PIXELS}"
            )
        channels = self.width if self.is_own else _PAPER_CHANNELS
        check_activations("crop_m and gsd", side**2, channels)
        pixels = self.ground_height * self.ground_width
        check_activations("ground_height and ground_width", pixels, channels)
        if self.is_own:
            check_search(self.yaw_step_deg, self.features, self.satellite_cells)

    @property
    def is_own(self) -> bool:
        """Whether the network is one of this project's own, not the paper's."""
        return self.preset in (COMPACT, LIFT)

    @property
    def whole_image(self) -> bool:
        """Whether the ground image is taken whole; else the part that can show the ground."""
        return not self.is_own

    @property
    def turned_crop(self) -> bool:
        """Whether the crop's u axis points along the prior's heading; else it is north-up."""
        return self.preset == PAPER_KITTI

    @property
    def imagery_m(self) -> float:
        """Side of the north-up square that holds the crop under every heading (m)."""
        return math.sqrt(2.0) * self.crop_m if self.turned_crop else self.crop_m

    @property
    def prior_yaw_deg(self) -> float:
        """Largest 2 sigma of the prior's heading (degrees) that the network bears."""
        return math.inf if self.preset == LIFT else self.yaw_range_deg or _BORNE_YAW_DEG

    @property
    def panorama(self) -> bool:
        """Whether ground images are panoramas; else those of a pinhole camera."""
        return self.preset == PAPER_VIGOR

    @property
    def stride(self) -> int:
        """Pixels of the image that a feature cell spans, along each axis."""
        return 2 if self.is_own else int(2 ** (3 - self.level))

    @property
    def cell_m(self) -> float:
        """Metres per cell of the satellite features, the overhead view and the score map."""
        return self.gsd * self.stride

    @property
    def satellite_cells(self) -> int:
        return round(self.crop_m / self.cell_m)

    @property
    def overhead_cells(self) -> int:
        """Cells a side of the overhead view that is correlated with the satellite features."""
        if self.preset == PAPER_KITTI:
            return int(self.satellite_cells - _KITTI_SEARCH_SIDE_M / self.cell_m)
        if self.preset == PAPER_VIGOR:
            return int(0.4 * self.satellite_cells)
        return round(2.0 * self.reach_m / self.cell_m)

    @property
    def score_cells(self) -> int:
        """Cells a side of the score map."""
        if self.preset == PAPER_KITTI:
            return int(_KITTI_SEARCH_SIDE_M / self.cell_m)
        return self.satellite_cells - self.overhead_cells + 1

    @property
    def search_m(self) -> float:
        """Largest offset from the crop's centre, along each axis, that can be scored (m)."""
        return (self.score_cells - 1) / 2 * self.cell_m

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """Return the configuration that a mapping describes. Raises ValueError naming unknown
        keys and what is no mapping.
        """
        if not isinstance(values, dict):
            raise ValueError(f"must be a mapping, got {shown(values)}")
        unknown = sorted(set(values) - set(cls.__dataclass_fields__))
        if unknown:
            raise ValueError(f"unknown keys in the model's configuration: {', '.join(unknown)}")
        return cls(**values)
