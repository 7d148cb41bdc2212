# SPDX-License-Identifier: Apache-2.0
"""Predictions of a network for each pair of a dataset, in their order."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from g2s_localizer.estimator.gate import Region
from g2s_localizer.geometry import Pose2D
from g2s_localizer.geometry.pose import rotation
from g2s_localizer.model import Network, Registration, ScoreMap
from g2s_localizer.model.registration import CameraInput
from training.data.sample import Batch, PairDataset, Sample, Unreadable, collate
from training.loop.loading import in_order

_GPU_BATCH = 16
_MAX_WORKERS = 8
_SILENT_S = 5.0


@dataclass(frozen=True)
class Prediction:
    """Answer of the network to one pair, before any gate."""

    index: int
    """of the pair in its dataset"""
    pose: Pose2D
    """in the frame of the pair's label"""
    within: NDArray[np.float64]
    """(3, 3) of (x, y, yaw) in that frame, if the vehicle stands at this peak; without the floor
    of the imagery's georeferencing"""
    beyond: NDArray[np.float64]
    """(3, 3) what other places add to it"""
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

    @property
    def covariance(self) -> NDArray[np.float64]:
        """Return the covariance (3, 3) of all places together."""
        return self.within + self.beyond


def predict(
    network: Network,
    dataset: PairDataset,
    yaw_range: float | None = None,
    region: Region | None = None,
    *,
    batch: int | None = None,
    workers: int | None = None,
    progress: str = "predicting",
) -> Iterator[Prediction | Unreadable]:
    """Yield one prediction for each pair, in order; pairs that cannot be read are passed on.

    yaw_range (rad): as in `register`. region: the places, from the label, that the covariance
    takes for possible, None: all. batch: pairs that are encoded together and are in memory, None:
    one on a CPU, which gains nothing by more, else 16.
    workers: processes that read pairs, None: none on a CPU, else one a core, 8 at most.
    progress: what the bar is called that is shown where this takes more than some seconds.
    """
    network.eval()
    labels = dataset.labels
    on_gpu = network.temperature.device.type == "cuda"
    batch = batch or (_GPU_BATCH if on_gpu else 1)
    if workers is None:
        workers = min(_MAX_WORKERS, os.cpu_count() or 1) if on_gpu else 0
    read = in_order(dataset.__getitem__, len(dataset), workers)
    shown = tqdm(
        total=len(dataset), desc=progress, delay=_SILENT_S, mininterval=_SILENT_S,
        dynamic_ncols=True,
    )  # fmt: skip
    while samples := list(islice(read, batch)):
        pairs = [sample for sample in samples if isinstance(sample, Sample)]
        found = iter(_register(network, collate(pairs), yaw_range) if pairs else [])
        for sample in samples:
            shown.update()
            if isinstance(sample, Unreadable):
                yield sample
            else:
                yield _prediction(sample, labels[sample.index], next(found), region)
    shown.close()


@torch.inference_mode()
def _register(network: Network, pairs: Batch, yaw_range: float | None) -> list[Registration]:
    """Register as the node does, but for images and crops that are encoded together."""
    pairs = pairs.to(network.temperature.device)
    camera = CameraInput(pairs.K, pairs.T_base_camera)
    satellite = network.encode_satellite(pairs.satellite)
    ground = network.encode_ground(pairs.ground, camera)
    found = []
    for i, (yaw, gsd) in enumerate(zip(pairs.yaw.tolist(), pairs.gsd.tolist(), strict=True)):
        same = math.isclose(gsd, network.config.gsd, rel_tol=1e-6)
        pair = _one(ground, i), *_one(camera, i), yaw, _one(satellite, i)
        found.append(network.register(*pair, None if same else gsd, yaw_range))
    return found


def _one(features: Any, i: int) -> Any:
    """Return the i-th of B images' features as a batch of one, whatever holds tensors."""
    if isinstance(features, Tensor):
        return features[i : i + 1]
    if is_dataclass(features) and not isinstance(features, type):
        values = {field.name: _one(getattr(features, field.name), i) for field in fields(features)}
        return replace(features, **values)
    if isinstance(features, tuple):
        parts = [_one(value, i) for value in features]
        return type(features)(*parts) if hasattr(features, "_fields") else tuple(parts)
    return features


def _prediction(
    sample: Sample, label: Pose2D, found: Registration, region: Region | None
) -> Prediction:
    possible = None if region is None else region.holds(found.score_map.cell_xy())
    turn = np.eye(3)
    turn[:2, :2] = rotation(sample.crop_yaw)
    x, y, _ = turn @ (found.x, found.y, 0.0)
    return Prediction(
        index=sample.index,
        pose=Pose2D(label.x + x, label.y + y, found.yaw + sample.crop_yaw),
        within=turn @ found.within @ turn.T,
        beyond=turn @ found.beyond(possible) @ turn.T,
        score_map=found.score_map,
        peak_ratio=found.peak_ratio,
        correlation=found.correlation,
        evidence=found.evidence,
        border_cells=found.modes[0].border_cells,
        crop=sample.satellite,
        gsd=sample.gsd,
        crop_yaw=sample.crop_yaw,
    )
