# SPDX-License-Identifier: Apache-2.0
"""What a network says of each pair of a dataset, one after the other."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from g2s_localizer.geometry import Pose2D
from g2s_localizer.geometry.pose import rotation
from g2s_localizer.model import Registration, RegistrationNet, ScoreMap
from g2s_localizer.model.score_map import Region
from training.datasets.sample import Batch, PairDataset, Sample, Unreadable, collate


@dataclass(frozen=True)
class Prediction:
    """What the network says of one pair, before any gate."""

    index: int
    """of the pair in its dataset"""
    pose: Pose2D
    """in the frame of the pair's label"""
    covariance: NDArray[np.float64]
    """(3, 3) of (x, y, yaw) in that frame, without the floor of the imagery's georeferencing"""
    beyond: NDArray[np.float64]
    """(3, 3) the part of it that is for other places than this peak"""
    score_map: ScoreMap
    """in the crop's axes"""
    peak_ratio: float
    correlation: float
    """of image and imagery at the peak, -1..1"""
    evidence: float
    """log-odds that the image belongs to the crop"""
    border_cells: int
    """cells between the peak and the nearest edge of the score map"""
    crop: Tensor
    """(3, S, S) uint8"""
    gsd: float
    """metres per pixel of the crop"""
    crop_yaw: float
    """yaw in the label's frame of the crop's u axis (rad)"""


def predict(
    network: RegistrationNet,
    dataset: PairDataset,
    yaw_range: float | None = None,
    region: Region | None = None,
) -> Iterator[Prediction | Unreadable]:
    """One prediction for each pair, in order, with one pair at a time in memory; pairs that
    cannot be read are passed on. yaw_range (rad) and region: as `RegistrationNet.register`.
    """
    network.eval()
    labels = dataset.labels
    for i in range(len(dataset)):
        sample = dataset[i]
        if isinstance(sample, Unreadable):
            yield sample
        else:
            found = _register(network, collate([sample]), yaw_range, region)
            yield _prediction(network, sample, labels[i], found)


@torch.inference_mode()
def _register(
    network: RegistrationNet, pair: Batch, yaw_range: float | None, region: Region | None
) -> Registration:
    """As the node does."""
    pair = pair.to(network.temperature.device)
    satellite = network.encode_satellite(pair.satellite)
    gsd = float(pair.gsd)
    same = math.isclose(gsd, network.config.gsd, rel_tol=1e-6)
    return network.register(
        pair.ground,
        pair.K,
        pair.T_base_camera,
        float(pair.yaw),
        satellite,
        None if same else gsd,
        yaw_range,
        region,
    )


def _prediction(
    network: RegistrationNet, sample: Sample, label: Pose2D, found: Registration
) -> Prediction:
    turn = np.eye(3)
    turn[:2, :2] = rotation(sample.crop_yaw)
    x, y, _ = turn @ (found.x, found.y, 0.0)
    return Prediction(
        index=sample.index,
        pose=Pose2D(label.x + x, label.y + y, found.yaw + sample.crop_yaw),
        covariance=turn @ found.covariance @ turn.T,
        beyond=turn @ found.beyond @ turn.T,
        score_map=found.score_map,
        peak_ratio=found.peak_ratio,
        correlation=found.correlation,
        evidence=found.evidence,
        border_cells=found.modes[0].border_cells,
        crop=sample.satellite,
        gsd=sample.gsd,
        crop_yaw=sample.crop_yaw,
    )
