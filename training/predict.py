# SPDX-License-Identifier: Apache-2.0
"""What a network says of each pair of a dataset, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from g2s_localizer.estimator.localizer import MODE_RADIUS_M
from g2s_localizer.geometry import Pose2D
from g2s_localizer.geometry.pose import rotation
from g2s_localizer.model import CameraInput, Registration, RegistrationNet, ScoreMap
from g2s_localizer.model.correlation import correlate
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
    score_map: ScoreMap
    """in the crop's axes"""
    peak_ratio: float
    border_cells: int
    """cells between the peak and the nearest edge of the score map"""
    crop: Tensor
    """(3, S, S) uint8"""
    gsd: float
    """metres per pixel of the crop"""
    crop_yaw: float
    """yaw in the label's frame of the crop's u axis (rad)"""


def predict(
    network: RegistrationNet, dataset: PairDataset, size: int = 8
) -> Iterator[Prediction | Unreadable]:
    """One prediction for each pair, in order, with no more than `size` pairs in memory; pairs
    that cannot be read are passed on.
    """
    network.eval()
    labels = dataset.labels
    for first in range(0, len(dataset), size):
        read = [dataset[i] for i in range(first, min(first + size, len(dataset)))]
        samples = [sample for sample in read if isinstance(sample, Sample)]
        found = iter(_register(network, collate(samples)) if samples else ())
        for sample in read:
            if isinstance(sample, Unreadable):
                yield sample
            else:
                yield _prediction(network, sample, labels[sample.index], next(found))


@torch.inference_mode()
def _register(network: RegistrationNet, batch: Batch) -> list[Registration]:
    """What `network.register` says of each pair, for a batch and for crops of any gsd."""
    batch = batch.to(network.temperature.device)
    camera = CameraInput(batch.K, batch.T_base_camera)
    satellite = network.encode_satellite(batch.satellite)
    ground = network.encode_ground(batch.ground, camera)
    residual, variance = network.residual_yaw(ground, camera, batch.yaw, satellite)
    view, weight = network.overhead(ground, camera, batch.yaw + residual, batch.gsd)
    scores = network.central(correlate(view, weight, satellite.fine))
    cells = (batch.gsd * network.config.stride).tolist()
    yaw, spread = batch.yaw + residual, variance * network.covariance_scale[1]
    return [
        Registration(
            float(yaw[i]),
            float(spread[i]),
            ScoreMap.from_scores(scores[i], network.temperature, cells[i]),
        )
        for i in range(len(batch))
    ]


def _prediction(
    network: RegistrationNet, sample: Sample, label: Pose2D, found: Registration
) -> Prediction:
    modes = found.score_map.modes(2, MODE_RADIUS_M)
    turn = rotation(sample.crop_yaw)
    x, y = turn @ modes[0].xy.double().cpu().numpy()
    covariance = np.zeros((3, 3))
    scale = float(network.covariance_scale[0])
    covariance[:2, :2] = turn @ modes[0].covariance.double().cpu().numpy() @ turn.T * scale
    covariance[2, 2] = found.yaw_variance
    return Prediction(
        index=sample.index,
        pose=Pose2D(label.x + x, label.y + y, found.yaw + sample.crop_yaw),
        covariance=covariance,
        score_map=found.score_map,
        peak_ratio=modes[1].mass / modes[0].mass if len(modes) > 1 else 0.0,
        border_cells=modes[0].border_cells,
        crop=sample.satellite,
        gsd=sample.gsd,
        crop_yaw=sample.crop_yaw,
    )
