# SPDX-License-Identifier: Apache-2.0
"""The configuration of the recipe `paper`."""

from __future__ import annotations

from dataclasses import dataclass, field

from g2s_localizer.model.config import LIFT
from training.data.config import UNKNOWN, require, require_heading_sought
from training.loop.config import StageConfig, TrainingConfig


@dataclass(frozen=True)
class LossConfig:
    """Weights of the terms of the translation loss; a weight of 0 leaves a term out.

    weak          right crops before wrong ones (`contrastive_coe`)
    gps_window    the best match lies near a GNSS fix (`GPS_error_coe`)
    supervised    dense triplet loss of the exact cell: the only term that sees exact poses
    gps_error_m   half width of the window around the fix, and the largest error of the fix
                  itself along each axis (m) (`GPS_error`)
    """

    weak: float = 1.0
    gps_window: float = 0.0
    supervised: float = 0.0
    gps_error_m: float = 5.0

    def __post_init__(self) -> None:
        terms = {name: getattr(self, name) for name in ("weak", "gps_window", "supervised")}
        require(self, **{name: value >= 0 for name, value in terms.items()})
        require(self, gps_error_m=self.gps_error_m > 0)
        if not any(terms.values()):
            raise ValueError(f"a loss needs a term with a weight, got {terms}")


@dataclass(frozen=True, kw_only=True)
class PairsStage(StageConfig):
    """A stage that contrasts pairs with each other.

    steps or epochs   how long, exactly one of them
    batch             pairs that are contrasted with each other, on each rank
    per_drive         pairs of a batch from each drive; null: as the shuffle has it
    """

    batch: int
    steps: int | None = None
    epochs: float | None = None
    per_drive: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.steps is None) == (self.epochs is None):
            raise ValueError(f"needs steps or epochs, not both, got {self.steps} and {self.epochs}")
        require(
            self,
            batch=self.batch >= 2,
            steps=self.steps is None or self.steps >= 1,
            epochs=self.epochs is None or self.epochs > 0,
            per_drive=self.per_drive is None or self.batch % self.per_drive == 0,
        )


@dataclass(frozen=True, kw_only=True)
class TranslationConfig(PairsStage):
    loss: LossConfig = field(default_factory=LossConfig)


@dataclass(frozen=True, kw_only=True)
class PaperConfig(TrainingConfig):
    """vgg16  torchvision-format state dict of VGG-16 trained on ImageNet, from which the
    extractors of the paper's presets start; "": random ones
    """

    recipe: str = "paper"
    vgg16: str = ""
    rotation: PairsStage | None = None
    translation: TranslationConfig | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model.preset == LIFT:
            raise ValueError("the preset lift is trained by the recipe lift")
        if self.rotation is None and self.translation is None:
            raise ValueError("needs at least one stage: rotation or translation")
        if self.rotation is not None and self.model.yaw_range_deg == 0:
            raise ValueError(
                "there is no rotation to train with a model.yaw_range_deg of 0: leave out the "
                "rotation stage, or say how far the heading may lie from the prior's"
            )
        vigor = self.data.vigor
        if vigor is not None:
            require_heading_sought(vigor.rotation_deg, vigor.heading, self.model.yaw_range_deg)
            sought = vigor.rotation_deg > 0 and vigor.heading == UNKNOWN
            if sought and self.rotation is None and not self.init_from:
                raise ValueError(
                    "data.vigor.heading is unknown and nothing learns to find it: needs a "
                    "rotation stage, or init_from a network that had one"
                )
