# SPDX-License-Identifier: Apache-2.0
"""The configuration of training.distil: a YAML file into frozen dataclasses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from g2s_localizer.estimator.localizer import PRECISIONS
from g2s_localizer.model import ModelConfig
from training.config import read_config
from training.data.config import DataConfig
from training.data.prior_fit import require_prior_fits
from training.lift.trajectory import OdometryNoise
from training.loop.devices import AUTO
from training.sizes import require_sizes

LABELS = ("uniform", "gaussian", "exact")


@dataclass(frozen=True)
class Phase:
    """One cycle of the learning rate. `crops` crops of `crop_m` metres a step and process, each
    with `per_crop` frames.
    """

    steps: int
    crops: int
    per_crop: int
    crop_m: float
    learning_rate: float
    save_every: int = 200

    def __post_init__(self) -> None:
        counts = (self.steps, self.crops, self.per_crop, self.save_every)
        if min(counts) < 1 or self.learning_rate <= 0:
            raise ValueError(
                "a phase needs steps, crops, per_crop and save_every of 1 or more and a positive "
                f"learning_rate, got {self}"
            )


@dataclass(frozen=True)
class DistilConfig:
    """labels      how wrong the labels are, by data.noise: uniform within these bounds, gaussian of
                   the same variance (simulated labels are drawn so); exact: the truth, for the
                   upper bound
    odometry    what simulated odometry gets wrong; KITTI's is integrated from its speed and turn
                rate, that of bags is recorded
    independent share of gaussian labels that counts: 0.03 for fixes 3 m apart whose errors last
                for 100 m
    precision   of the extractors: fp32, bf16 or fp16; auto: bf16 on a GPU that has it, else fp32
    device      auto: a GPU where there is one; cpu
    fuse_every  frames from one score map to the next where drives are placed again
    first       None: the drives are placed again by the network as it is
    second      None: the first placing is all
    """

    out: str
    seed: int
    precision: str
    labels: str
    model: ModelConfig
    data: DataConfig
    first: Phase | None
    second: Phase | None
    fuse_every: int
    odometry: OdometryNoise = field(default_factory=OdometryNoise)
    independent: float = 1.0
    device: str = AUTO

    def __post_init__(self) -> None:
        if self.labels not in LABELS:
            raise ValueError(f"labels must be one of {', '.join(LABELS)}, got {self.labels!r}")
        precisions = (AUTO, *PRECISIONS)
        if self.precision not in precisions:
            raise ValueError(
                f"precision must be one of {', '.join(precisions)}, got {self.precision!r}"
            )
        if self.device not in (AUTO, "cpu"):
            raise ValueError(f"device must be auto or cpu, got {self.device!r}")
        if self.fuse_every < 1:
            raise ValueError(f"fuse_every must be 1 or more, got {self.fuse_every}")
        require_sizes(self.model)
        for phase in filter(None, (self.first, self.second)):
            if not 2.0 * self.model.reach_m + 8.0 <= phase.crop_m <= self.model.crop_m:
                raise ValueError(
                    f"a phase's crop_m must lie between {2.0 * self.model.reach_m + 8.0} (twice "
                    f"the reach and 8) and the model's {self.model.crop_m}, got {phase.crop_m}"
                )
            side, step = round(phase.crop_m / self.model.gsd), 2**self.model.levels
            if side % step:
                raise ValueError(
                    f"a phase's crop_m of {phase.crop_m} is {side} pixels a side, not divisible "
                    f"by {step} as the extractors need"
                )
        if not 0.0 < self.independent <= 1.0:
            raise ValueError(f"independent must lie in (0, 1], got {self.independent}")
        if self.data.vigor is not None:
            raise ValueError("data.vigor has single panoramas, and no odometry between them")
        if self.data.bags is not None and not self.data.bags.bag.odometry:
            raise ValueError("data.bags.bag.odometry must name a topic")
        along_heading = self.data.kitti is not None
        require_prior_fits(self.model, self.data.noise, along_heading=along_heading, aligned=False)


def load_distil_config(path: Path, settings: Sequence[str] = ()) -> DistilConfig:
    """Return the configuration of training.distil; raises as `read_config`."""
    return read_config(DistilConfig, path, settings)
