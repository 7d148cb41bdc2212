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
from g2s_localizer.model import G2SNet, ScoreMap
from training.datasets.sample import PairDataset, Unreadable, collate


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


def predict(network: G2SNet, dataset: PairDataset) -> Iterator[Prediction | Unreadable]:
    """One prediction for each pair, in order, with no more than one pair in memory; pairs that
    cannot be read are passed on.
    """
    network.eval()
    device = network.temperature.device
    labels = dataset.labels
    for i, label in enumerate(labels):
        sample = dataset[i]
        if isinstance(sample, Unreadable):
            yield sample
            continue
        batch = collate([sample]).to(device)
        with torch.inference_mode():
            satellite = network.encode_satellite(batch.satellite)
        found = network.register(batch.ground, batch.K, batch.T_base_camera, sample.yaw, satellite)
        modes = found.score_map.modes(2, MODE_RADIUS_M)
        turn = rotation(sample.crop_yaw)
        x, y = turn @ modes[0].xy.double().cpu().numpy()
        covariance = np.zeros((3, 3))
        scale = float(network.covariance_scale[0])
        covariance[:2, :2] = turn @ modes[0].covariance.double().cpu().numpy() @ turn.T * scale
        covariance[2, 2] = found.yaw_variance
        yield Prediction(
            index=i,
            pose=Pose2D(label.x + x, label.y + y, found.yaw + sample.crop_yaw),
            covariance=covariance,
            score_map=found.score_map,
            peak_ratio=modes[1].mass / modes[0].mass if len(modes) > 1 else 0.0,
            border_cells=modes[0].border_cells,
            crop=sample.satellite,
            gsd=sample.gsd,
            crop_yaw=sample.crop_yaw,
        )
