# SPDX-License-Identifier: Apache-2.0
"""The common part of all recipes' configurations."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from g2s_localizer.estimator.config import PRECISIONS
from g2s_localizer.model import ModelConfig, model_config
from training.data.config import DataConfig, require
from training.loop.devices import AUTO
from training.sizes import require_sizes


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """One stage. A step is one update of the weights.

    accumulate        batches of a step on each rank
    weight_decay      of AdamW; 0 makes it Adam
    schedule          "one_cycle" or "constant" learning rate
    clip_norm         largest norm of the gradient
    ema               decay of the averaged weights, which are what is validated and kept;
                      0: the weights themselves
    validate_every    steps between validations (each saves the state); 0: at the end only
    validation_batches  held-out batches of a validation
    patience          validations without a better criterion before the stage stops; 0: never
    save_every        steps between two saves of the state; 0: with each validation only
    """

    learning_rate: float
    accumulate: int = 1
    weight_decay: float = 0.0
    schedule: str = "constant"
    clip_norm: float | None = None
    ema: float = 0.0
    validate_every: int = 0
    validation_batches: int = 8
    patience: int = 0
    save_every: int = 0

    def __post_init__(self) -> None:
        require(
            self,
            learning_rate=self.learning_rate > 0,
            accumulate=self.accumulate >= 1,
            weight_decay=self.weight_decay >= 0,
            schedule=self.schedule in ("one_cycle", "constant"),
            clip_norm=self.clip_norm is None or self.clip_norm > 0,
            ema=0 <= self.ema < 1,
            validate_every=self.validate_every >= 0,
            validation_batches=self.validation_batches >= 1,
            patience=self.patience >= 0,
            save_every=self.save_every >= 0,
        )


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """A run. A recipe's stages stand in their order; one that is left out is not trained.

    recipe      paper or lift: which stages there are, and what they learn from
    out         folder of the run; the finished checkpoint in it takes its name
    precision   of the extractors: fp32, bf16 or fp16; auto: bf16 on a GPU that has it, else fp32
    device      auto: a GPU where there is one; cpu
    init_from   checkpoint whose weights the first stage starts from; "": random ones
    keep_checkpoints  keep the network of every validation, to be scored by `training.evaluate`
    """

    recipe: str
    out: str
    data: DataConfig
    seed: int = 0
    precision: str = AUTO
    device: str = AUTO
    model: ModelConfig = field(default_factory=model_config)
    init_from: str = ""
    keep_checkpoints: bool = False

    def __post_init__(self) -> None:
        require(
            self,
            precision=self.precision in (AUTO, *PRECISIONS),
            device=self.device in (AUTO, "cpu"),
        )
        if Path(self.out).suffix == ".safetensors":
            raise ValueError(f"out is a folder, in which checkpoints are written: {self.out}")
        require_sizes(self.model)
