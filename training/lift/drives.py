# SPDX-License-Identifier: Apache-2.0
"""The drives of the recipe: with odometry, cut into pieces, and what their labels say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from g2s_localizer.geometry import Pose2D
from training.data.config import BagsConfig, KittiConfig, SimulatedConfig
from training.data.drives import LabelledDrive, pieces
from training.data.sample import PairDataset
from training.data.simulated import SimulatedDrive, open_drives, simulated_dataset
from training.lift.config import LiftConfig
from training.lift.trajectory import (
    Evidence,
    draw_gaussian,
    gaussian_labels,
    pseudo_poses,
    uniform_labels,
)
from training.sources import bag_dataset, hold_out, kitti_dataset

_GAUSS_SHARE = 1.0 / math.sqrt(3.0)
"""Standard deviation of a uniform label as a share of its bound: Gaussian labels have the same."""
_SPACING_M = 2.0
_PIECE = 100
"""Frames from which a recorded drive is placed as one curve."""


@dataclass(frozen=True, eq=False)
class TrackedDrive:
    """motions (N - 1, 3) odometry between its frames; evidence of their poses by the labels."""

    labelled: LabelledDrive
    motions: NDArray[np.float64]
    evidence: Evidence
    seed: int

    def place(self, *seen: Evidence) -> list[Pose2D]:
        """Poses of the frames by labels, odometry and what has been seen."""
        return pseudo_poses(self.motions, [self.evidence, *seen], self.labelled.labels, self.seed)


@dataclass(frozen=True)
class Sources:
    """training    what the loss sees
    validation  what the criterion sees; never trained on
    calibration pairs with exact poses for temperature and covariance; None where there are none
    description what a checkpoint's provenance says of the data
    """

    training: list[TrackedDrive]
    validation: list[TrackedDrive]
    calibration: PairDataset | None
    description: str


def open_sources(config: LiftConfig) -> Sources:
    """Open the drives that a configuration names. Raises ValueError for one without odometry, or
    without a truth where exact labels are asked for.
    """
    data = config.data
    if data.simulated is not None:
        return _simulated(config, data.simulated)
    if data.kitti is not None:
        return _kitti(config, data.kitti)
    assert data.bags is not None
    return _bags(config, data.bags)


def _tracked(drives: Sequence[LabelledDrive], config: LiftConfig) -> list[TrackedDrive]:
    cut = [piece for drive in drives for piece in pieces(drive, _SPACING_M, _PIECE)]
    return [
        TrackedDrive(piece, piece.motions(), _evidence(piece, config), seed)
        for seed, piece in enumerate(cut)
    ]


def _evidence(drive: LabelledDrive, config: LiftConfig) -> Evidence:
    noise = config.data.noise
    if config.labels == "gaussian":
        sigma = (noise.position_m * _GAUSS_SHARE, noise.yaw_deg * _GAUSS_SHARE)
        return gaussian_labels(drive.labels, *sigma, config.independent)
    if config.labels == "exact" and drive.truths is None:
        raise ValueError(f"{drive.name}: exact labels were asked for, but nobody knows its poses")
    return uniform_labels(
        drive.labels, noise.position_m, noise.yaw_deg, along_heading=config.data.kitti is not None
    )


def _simulated(config: LiftConfig, data: SimulatedConfig) -> Sources:
    def opened(seeds: dict[str, list[int]]) -> list[SimulatedDrive]:
        return [
            drive
            for difficulty, chosen in seeds.items()
            for drive in open_drives(Path(data.folder), difficulty, chosen, data.frames, data.rate)
        ]

    def tracked(drive: SimulatedDrive) -> TrackedDrive:
        noise = config.data.noise
        labelled = drive.labelled(noise)
        if config.labels == "gaussian":
            sigma = (noise.position_m * _GAUSS_SHARE, noise.yaw_deg * _GAUSS_SHARE)
            labels = draw_gaussian(drive.truths, *sigma, seed=(drive.seed, 7))
            labelled = replace(labelled, labels=labels)
        motions = config.odometry.measure(drive.truths, seed=(drive.seed, 8))
        return TrackedDrive(labelled, motions, _evidence(labelled, config), drive.seed)

    calibration = opened(data.calibration)
    return Sources(
        [tracked(drive) for drive in opened(data.drives)],
        [tracked(d) for d in (opened(data.validation) if data.validation else calibration)],
        simulated_dataset(calibration, config.model, config.data.noise),
        "synthetic: drives simulated by training.simulate",
    )


def _kitti(config: LiftConfig, data: KittiConfig) -> Sources:
    split = Path(data.split)
    dataset = kitti_dataset(
        Path(data.root), split, data.imagery, config.model, config.data.noise, config.seed
    )
    _, held_out = hold_out(dataset, data.validation_share, config.seed)
    apart = {held_out.group(i) for i in range(len(held_out))}
    training, validation = (
        [drive for k, drive in enumerate(dataset.drives) if (k in apart) == of_those]
        for of_those in (False, True)
    )
    return Sources(
        _tracked(training, config),
        _tracked(validation, config),
        held_out,
        f"KITTI raw, {split.name}",
    )


def _bags(config: LiftConfig, data: BagsConfig) -> Sources:
    training, held_out = (
        bag_dataset(bags, data, config.model) for bags in (data.train, data.held_out)
    )
    return Sources(
        _tracked(training.drives, config),
        _tracked(held_out.drives, config),
        held_out if held_out.truths is not None else None,
        f"recorded bags {', '.join(data.train)}",
    )
