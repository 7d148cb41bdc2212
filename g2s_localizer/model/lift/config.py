# SPDX-License-Identifier: Apache-2.0
"""The configuration of the shipped network."""

from __future__ import annotations

import math
from dataclasses import dataclass

from g2s_localizer.model.config import LIFT, SearchConfig

UNET = "unet"
EFFICIENTNET = "efficientnet-lite0"
EXTRACTORS = (UNET, EFFICIENTNET)

OF_EFFICIENTNET = {"width": 16, "levels": 4}
"""Layers of that extractor; it has no others."""


@dataclass(frozen=True)
class LiftNetConfig(SearchConfig):
    preset: str = LIFT
    extractor: str = UNET
    """unet, or efficientnet-lite0, whose encoder's training begins with ImageNet weights and whose
    width and levels are fixed"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.extractor not in EXTRACTORS:
            raise ValueError(
                f"ModelConfig.extractor must be one of {', '.join(EXTRACTORS)}, "
                f"got {self.extractor!r}"
            )
        for name, fixed in OF_EFFICIENTNET.items() if self.extractor == EFFICIENTNET else ():
            if getattr(self, name) != fixed:
                raise ValueError(
                    f"ModelConfig.{name} of the extractor {EFFICIENTNET} is {fixed}, "
                    f"got {getattr(self, name)}"
                )

    @property
    def max_prior_yaw_deg(self) -> float:
        return math.inf
