# SPDX-License-Identifier: Apache-2.0
"""From the data part of a configuration to the pairs of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from g2s_localizer.imagery import Imagery
from g2s_localizer.model import ModelConfig
from training.data.config import (
    KNOWN,
    BagsConfig,
    KittiConfig,
    SimulatedConfig,
    VigorConfig,
    require_heading_sought,
)
from training.data.kitti import KittiDataset, SplitLine
from training.data.prior_fit import require_prior_fits
from training.data.process_imagery import ProcessImagery
from training.data.rosbag import RosbagDataset
from training.data.sample import PairDataset, PriorNoise
from training.data.selection import Part, Remembered
from training.data.simulated import open_drives, simulated_dataset
from training.data.vigor import VigorDataset
from training.loop.config import TrainingConfig


@dataclass(frozen=True)
class Pairs:
    """training    what the losses see
    validation  what the criterion sees; never trained on
    calibration pairs with exact poses for temperature and covariance; None where there are none
    description what a checkpoint's provenance says of them
    """

    training: PairDataset
    validation: PairDataset
    calibration: PairDataset | None
    description: str


def open_pairs(config: TrainingConfig) -> Pairs:
    """Open the pairs that a configuration names. Raises ValueError when the prior's noise does not
    fit the crop, or what the dataset raises for files that are missing or broken.
    """
    data, model = config.data, config.model
    if data.simulated is not None:
        pairs = _simulated(data.simulated, data.noise, model)
    elif data.kitti is not None:
        pairs = _kitti(data.kitti, data.noise, model, config.seed)
    elif data.vigor is not None:
        pairs = _vigor(data.vigor, model, config.seed)
    else:
        assert data.bags is not None
        pairs = _bags(data.bags, data.noise, model)
    training = pairs.training
    if data.share < 1.0:
        training = Part.share(training, data.share, config.seed)
    if data.workers == 0 and data.simulated is not None:
        training = Remembered(training)  # the real data sets are too large for that
    return Pairs(training, pairs.validation, pairs.calibration, pairs.description)


def kitti_dataset(
    root: Path,
    split: Path | Sequence[SplitLine],
    imagery: str,
    model: ModelConfig,
    noise: PriorNoise,
    seed: int,
) -> KittiDataset:
    """Return the pairs of a split list, or of lines: as in the papers for their presets, else
    north-up.

    Raises ValueError when the noise, along the vehicle's axes, does not fit the crop.
    """
    paper = model.turned_crop
    require_prior_fits(model, noise, along_heading=True, aligned=paper)
    store: Imagery = ProcessImagery(imagery)
    return KittiDataset(root, split, store, model, noise=noise, seed=seed, paper=paper)


def vigor_dataset(
    root: Path,
    area: str,
    part: str,
    model: ModelConfig,
    rotation_deg: float,
    heading: str,
    seed: int,
) -> VigorDataset:
    """Return the pairs of an area ("same" or "cross") and part ("train" or "test"), rolled by up to
    `rotation_deg` to a heading that the prior knows ("known") or not ("unknown"). Raises
    ValueError where the network does not look for an unknown one.
    """
    require_heading_sought(rotation_deg, heading, model.yaw_range_deg)
    noise = vigor_noise(model, rotation_deg, heading)
    require_prior_fits(model, noise, along_heading=False, aligned=False)
    return VigorDataset(
        root,
        area,
        part,
        rotation_range=rotation_deg,
        heading_known=heading == KNOWN,
        seed=seed,
        ground_size=(model.ground_height, model.ground_width),
        satellite_size=round(model.crop_m / model.gsd),
    )


def vigor_noise(model: ModelConfig, rotation_deg: float, heading: str) -> PriorNoise:
    """Return the noise of labels of VIGOR, whose camera stands in the tile's middle quarter."""
    return PriorNoise(model.crop_m / 4.0, 0.0 if heading == KNOWN else rotation_deg)


def _simulated(config: SimulatedConfig, noise: PriorNoise, model: ModelConfig) -> Pairs:
    require_prior_fits(model, noise, along_heading=False, aligned=model.turned_crop)

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


def _kitti(config: KittiConfig, noise: PriorNoise, model: ModelConfig, seed: int) -> Pairs:
    dataset = kitti_dataset(
        Path(config.root), Path(config.split), config.imagery, model, noise, seed
    )
    rest, held_out = hold_out(dataset, config.validation_share, seed)
    return Pairs(rest, held_out, held_out, f"KITTI raw, {Path(config.split).name}")


def _vigor(config: VigorConfig, model: ModelConfig, seed: int) -> Pairs:
    dataset = vigor_dataset(
        Path(config.root), config.area, "train", model, config.rotation_deg, config.heading, seed
    )
    order = np.random.default_rng([seed, 13]).permutation(len(dataset)).tolist()
    count = max(1, round(config.validation_share * len(dataset)))
    rest, held_out = Part(dataset, sorted(order[count:])), Part(dataset, sorted(order[:count]))
    return Pairs(rest, held_out, held_out, f"VIGOR, {config.area} area")


def bag_dataset(bags: Sequence[str], config: BagsConfig, model: ModelConfig) -> RosbagDataset:
    paths = [Path(bag) for bag in bags]
    return RosbagDataset(paths, ProcessImagery(config.imagery), model, config.bag)


def _bags(config: BagsConfig, noise: PriorNoise, model: ModelConfig) -> Pairs:
    require_prior_fits(model, noise, along_heading=False, aligned=model.turned_crop)
    training, held_out = (
        bag_dataset(bags, config, model) for bags in (config.train, config.held_out)
    )
    known = held_out if held_out.truths is not None else None
    return Pairs(training, held_out, known, f"recorded bags {', '.join(config.train)}")


def hold_out(dataset: PairDataset, share: float, seed: int) -> tuple[Part, Part]:
    """All drives but some, and whole drives that make up at least `share` of the pairs.

    Raises ValueError when that would leave nothing to train on.
    """
    groups = np.array([dataset.group(i) for i in range(len(dataset))])
    chosen: list[int] = []
    for drive in np.random.default_rng([seed, 13]).permutation(np.unique(groups)).tolist():
        if np.isin(groups, chosen).sum() >= share * len(groups):
            break
        chosen.append(drive)
    held_out = np.isin(groups, chosen)
    if held_out.all():
        raise ValueError(f"{len(chosen)} drives leave none to train on beside {share:.0%} held out")
    return Part(dataset, np.flatnonzero(~held_out).tolist()), Part(
        dataset, np.flatnonzero(held_out).tolist()
    )
