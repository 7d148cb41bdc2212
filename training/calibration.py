# SPDX-License-Identifier: Apache-2.0
"""After training: how much a score map and a yaw distribution are worth, from known poses."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from g2s_localizer.estimator.gate import GateConfig
from g2s_localizer.geometry import Pose2D
from g2s_localizer.geometry.pose import rotation, wrap_angle
from g2s_localizer.model import RegistrationNet
from training.datasets.sample import PairDataset, Unreadable
from training.metrics import squared_mahalanobis
from training.predict import Prediction, predict

_TEMPERATURES = np.geomspace(5.0, 200.0, 60)
_ASTRAY = 0.1
_SHARE = 0.9
_ENOUGH = 10


def calibrate(network: RegistrationNet, dataset: PairDataset) -> None:
    """Set temperature and covariance scales from pairs whose poses are known.

    The temperature maximises the likelihood of the true cell, a tenth of the frames being taken
    for plainly wrong, so that they do not flatten all others. The scales make the ellipse, and
    the interval of yaw, that should hold 90 % of the errors hold 90 % of those that the default
    gate lets pass for the shape of their score map; of all where it passes fewer than ten.
    Raises ValueError when nobody knows the poses, or no pair can be read.
    """
    labels, truths = dataset.labels, dataset.truths
    if truths is None:
        raise ValueError("calibration needs pairs whose poses are known")
    network.temperature.fill_(1.0)
    network.covariance_scale.fill_(1.0)
    likelihood = [
        _log_likelihoods(found, labels[found.index], truths[found.index])
        for found in predict(network, dataset)
        if not isinstance(found, Unreadable)
    ]
    if not likelihood:
        raise ValueError(f"none of {len(labels)} calibration pairs can be read")
    best = int(np.argmax(np.mean(likelihood, axis=0)))
    network.temperature.fill_(float(_TEMPERATURES[best]))
    network.covariance_scale.copy_(_scales(network, dataset, truths))


def _scales(network: RegistrationNet, dataset: PairDataset, truths: list[Pose2D]) -> torch.Tensor:
    """(2,) of position and yaw, at least 1."""
    limits = GateConfig()
    nees, yaw, passed = [], [], []
    for found in predict(network, dataset):
        if isinstance(found, Unreadable):
            continue
        truth = truths[found.index]
        nees.append(squared_mahalanobis([found.pose], [found.covariance], [truth])[0])
        # a network that takes the heading as known has no variance of it to scale
        variance = found.covariance[2, 2] or math.inf
        yaw.append(wrap_angle(found.pose.yaw - truth.yaw) ** 2 / variance)
        passed.append(
            found.score_map.entropy <= limits.max_entropy
            and found.peak_ratio <= limits.max_peak_ratio
        )
    chosen = np.array(passed) if sum(passed) >= _ENOUGH else np.ones(len(passed), bool)
    scales = (
        np.quantile(np.array(nees)[chosen], _SHARE) / (-2.0 * math.log(1.0 - _SHARE)),
        np.quantile(np.array(yaw)[chosen], _SHARE) / 1.6449**2,
    )
    return torch.tensor(scales).clamp_min(1.0)


def _log_likelihoods(found: Prediction, label: Pose2D, truth: Pose2D) -> NDArray[np.float64]:
    """Of the true cell, at each of the temperatures."""
    scores = found.score_map.log_probability.double().cpu()
    rows, columns = scores.shape
    cell = found.score_map.cell_m
    x, y = rotation(found.crop_yaw).T @ (truth.x - label.x, truth.y - label.y)
    row = min(max(round((rows - 1) / 2 - y / cell), 0), rows - 1)
    column = min(max(round((columns - 1) / 2 + x / cell), 0), columns - 1)
    logits = scores.flatten() * torch.from_numpy(_TEMPERATURES)[:, None]
    true = torch.log_softmax(logits, dim=1)[:, row * columns + column]
    return np.asarray(torch.log((1.0 - _ASTRAY) * true.exp() + _ASTRAY / scores.numel()))
