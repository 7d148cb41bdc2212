# SPDX-License-Identifier: Apache-2.0
"""The training configuration: a YAML file into frozen dataclasses, unknown keys refused."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from g2s_localizer.model import ModelConfig
from training.datasets.sample import PriorNoise


@dataclass(frozen=True)
class DataConfig:
    folder: str
    drives: dict[str, list[int]]
    """seeds of the drives to train on, for each difficulty"""
    calibration: dict[str, list[int]]
    """seeds of the drives to calibrate on, for each difficulty"""
    frames: int
    rate: float
    noise: PriorNoise


@dataclass(frozen=True)
class StageConfig:
    steps: int
    batch: int
    learning_rate: float

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 2 or self.learning_rate <= 0:
            raise ValueError(
                f"a stage needs steps >= 1, batch >= 2 and learning_rate > 0, got {self}"
            )


@dataclass(frozen=True)
class TrainingConfig:
    out: str
    seed: int
    precision: str
    model: ModelConfig
    data: DataConfig
    rotation: StageConfig
    translation: StageConfig


def load_config(path: Path) -> TrainingConfig:
    """Raises ValueError naming the file and the key that is unknown, missing or out of range."""
    try:
        config = _build(TrainingConfig, yaml.safe_load(path.read_text()), "")
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
    assert isinstance(config, TrainingConfig)
    return config


def _build(kind: type, values: Any, where: str) -> Any:
    if not isinstance(values, dict):
        raise ValueError(f"{where or 'the file'} must be a mapping, got {values!r}")
    types = get_type_hints(kind)
    unknown = sorted(set(values) - {field.name for field in fields(kind)})
    if unknown:
        raise ValueError(f"unknown key {where}{unknown[0]}")
    built = {
        name: _build(types[name], value, f"{where}{name}.") if is_dataclass(types[name]) else value
        for name, value in values.items()
    }
    try:
        return kind(**built)
    except TypeError as error:
        raise ValueError(f"{where or 'the file'}: {error}") from error
