# SPDX-License-Identifier: Apache-2.0
"""From the data part of a configuration to the pairs of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from g2s_localizer.model import ModelConfig
from training.config import SimulatedConfig, TrainingConfig
from training.datasets.sample import PairDataset, PriorNoise
from training.datasets.selection import Part, Remembered
from training.datasets.simulated import open_drives, simulated_dataset
from training.prior_fit import require_prior_fits


@dataclass(frozen=True)
class Pairs:
    """training    what the losses see
    validation  what the label-free criterion sees; no place of it is trained on
    calibration pairs with exact poses for temperature and covariance; None where there are none
    description what a checkpoint's provenance says of them
    """

    training: PairDataset
    validation: PairDataset
    calibration: PairDataset | None
    description: str


def open_pairs(config: TrainingConfig) -> Pairs:
    """Raises ValueError when the prior's noise does not fit the crop, or what the dataset raises
    for files that are missing or broken.
    """
    data, model = config.data, config.model
    if data.simulated is not None:
        pairs = _simulated(data.simulated, data.noise, model)
    else:
        raise ValueError("not yet")
    training = pairs.training
    if data.share < 1.0:
        training = Part.share(training, data.share, config.seed)
    if data.workers == 0:
        training = Remembered(training)
    return Pairs(training, pairs.validation, pairs.calibration, pairs.description)


def _simulated(config: SimulatedConfig, noise: PriorNoise, model: ModelConfig) -> Pairs:
    require_prior_fits(
        model, noise.position_m, along_heading=False, aligned=False, yaw_deg=noise.yaw_deg
    )

    def dataset(seeds: dict[str, list[int]]) -> PairDataset:
        drives = [
            drive
            for difficulty, chosen in seeds.items()
            for drive in open_drives(
                Path(config.folder), difficulty, chosen, config.frames, config.rate
            )
        ]
        return simulated_dataset(drives, model, noise)

    calibration = dataset(config.calibration)
    validation = dataset(config.validation) if config.validation else calibration
    return Pairs(
        dataset(config.drives),
        Remembered(validation),
        calibration,
        "synthetic: drives simulated by training.simulate",
    )
