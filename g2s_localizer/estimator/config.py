# SPDX-License-Identifier: Apache-2.0
"""The parts of a localizer."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from g2s_localizer.estimator.gate import GateConfig

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

CACHE_MB = 64.0
"""28 crops of the shipped network: more were never asked for again on a drive without a loop."""


@dataclass(frozen=True)
class LocalizerConfig:
    """imagery: URI as `open_imagery` takes it; checkpoint: file, "" for the one that comes with
    the package; map_sigma_m: standard deviation of the imagery's georeferencing (m per axis),
    the floor of the published covariance; where the imagery itself states a larger one, that
    is the floor; checkpoint_sha256: what `load_checkpoint` shall find, "" for any;
    cache_mb: bound of the crops and features kept, MiB; threads: that compute on the CPU, in all
    of the process, 0: as PyTorch chooses.
    """

    imagery: str
    checkpoint: str = ""
    device: str = "cpu"
    precision: str = "fp32"
    map_sigma_m: float = 0.3
    gate: GateConfig = field(default_factory=GateConfig)
    checkpoint_sha256: str = ""
    cache_mb: float = CACHE_MB
    threads: int = 0

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(
                f"precision must be one of {', '.join(PRECISIONS)}, got '{self.precision}'"
            )
        if not (math.isfinite(self.map_sigma_m) and self.map_sigma_m >= 0):
            raise ValueError(f"map_sigma_m must be finite and >= 0, got {self.map_sigma_m}")
        if not (math.isfinite(self.cache_mb) and self.cache_mb > 0):
            raise ValueError(f"cache_mb must be finite and positive, got {self.cache_mb}")
        if self.threads < 0:
            raise ValueError(f"threads must be >= 0, got {self.threads}")
