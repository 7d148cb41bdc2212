# SPDX-License-Identifier: Apache-2.0
"""The configuration of the recipe `lift`."""

from __future__ import annotations

from dataclasses import dataclass, field

from g2s_localizer.model.config import LIFT
from training.data.config import require
from training.data.prior_fit import require_prior_fits
from training.lift.trajectory import OdometryNoise
from training.loop.config import StageConfig, TrainingConfig

LABELS = ("uniform", "gaussian", "exact")


@dataclass(frozen=True, kw_only=True)
class CropsStage(StageConfig):
    """A stage on crops that several frames share.

    steps            how long
    crops, per_crop  crops of a batch on each rank, and frames on each of them
    crop_m           side of a crop (m)
    """

    steps: int
    crops: int
    per_crop: int
    crop_m: float
    weight_decay: float = 1e-3
    schedule: str = "one_cycle"
    clip_norm: float | None = 1.0
    save_every: int = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, steps=self.steps >= 1, crops=self.crops >= 1, per_crop=self.per_crop >= 1)


@dataclass(frozen=True, kw_only=True)
class LiftConfig(TrainingConfig):
    """labels      how wrong the labels are, by data.noise: uniform within these bounds, gaussian of
                   the same variance (simulated labels are drawn so); exact: the truth, for the
                   upper bound
    odometry    what simulated odometry gets wrong; KITTI's is integrated from its speed and turn
                rate, that of bags is recorded
    independent share of gaussian labels that counts: 0.03 for fixes 3 m apart whose errors last
                for 100 m
    fuse_every  frames from one score map to the next where drives are placed again
    first       None: the drives are placed again by the network of init_from as it is
    second      None: the first placing is all
    """

    recipe: str = "lift"
    labels: str = "uniform"
    odometry: OdometryNoise = field(default_factory=OdometryNoise)
    independent: float = 1.0
    fuse_every: int = 6
    first: CropsStage | None = None
    second: CropsStage | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, independent=0.0 < self.independent <= 1.0, fuse_every=self.fuse_every >= 1)
        if self.labels not in LABELS:
            raise ValueError(f"labels must be one of {', '.join(LABELS)}, got {self.labels!r}")
        if self.model.preset != LIFT:
            raise ValueError(f"the recipe lift trains the preset lift, not {self.model.preset}")
        if self.first is None and self.second is None:
            raise ValueError("needs at least one stage: first or second")
        for stage in filter(None, (self.first, self.second)):
            if not 2.0 * self.model.reach_m + 8.0 <= stage.crop_m <= self.model.crop_m:
                raise ValueError(
                    f"a stage's crop_m must lie between {2.0 * self.model.reach_m + 8.0} (twice "
                    f"the reach and 8) and the model's {self.model.crop_m}, got {stage.crop_m}"
                )
            side, step = round(stage.crop_m / self.model.gsd), 2**self.model.levels
            if side % step:
                raise ValueError(
                    f"a stage's crop_m of {stage.crop_m} is {side} pixels a side, not divisible "
                    f"by {step} as the extractors need"
                )
        if self.data.vigor is not None:
            raise ValueError("data.vigor has single panoramas, and no odometry between them")
        if self.data.bags is not None and not self.data.bags.bag.odometry:
            raise ValueError("data.bags.bag.odometry must name a topic")
        along_heading = self.data.kitti is not None
        require_prior_fits(self.model, self.data.noise, along_heading=along_heading, aligned=False)
