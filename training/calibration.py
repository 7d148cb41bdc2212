# SPDX-License-Identifier: Apache-2.0
"""After training: how much a score map and a yaw distribution are worth, from known poses."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from g2s_localizer.estimator.gate import GateConfig
from g2s_localizer.geometry import Pose2D
from g2s_localizer.geometry.pose import wrap_angle
from g2s_localizer.model import G2SNet, LiftNet
from training.datasets.sample import DriveDataset
from training.evaluate import Prediction, predict
from training.metrics import squared_mahalanobis

_TEMPERATURES = np.geomspace(5.0, 200.0, 60)
_ASTRAY = 0.1
_SHARE = 0.9


def calibrate(
    network: G2SNet | LiftNet, datasets: Sequence[DriveDataset], truths: Sequence[Pose2D]
) -> None:
    """Set temperature and covariance scales from drives whose poses are known.

    The temperature maximises the likelihood of the true cell, a tenth of the frames being taken
    for plainly wrong, so that they do not flatten all others. The scales make the ellipse, and
    the interval of yaw, that should hold 90 % of the errors hold 90 % of those that the default
    gate lets pass for the shape of their score map.
    """
    network.temperature.fill_(1.0)
    network.covariance_scale.fill_(1.0)
    labels = [label for dataset in datasets for label in dataset.labels]
    raw = [p for dataset in datasets for p in predict(network, dataset)]
    likelihood = [
        np.mean([_log_likelihood(*triple, t) for triple in zip(raw, labels, truths, strict=True)])
        for t in _TEMPERATURES
    ]
    network.temperature.fill_(float(_TEMPERATURES[int(np.argmax(likelihood))]))
    limits = GateConfig()
    predictions = [p for dataset in datasets for p in predict(network, dataset)]
    passed = [
        (p, truth)
        for p, truth in zip(predictions, truths, strict=True)
        if p.score_map.entropy <= limits.max_entropy and p.peak_ratio <= limits.max_peak_ratio
    ]
    if not passed:
        raise ValueError(f"none of {len(predictions)} calibration frames passes the gate")
    nees = squared_mahalanobis(
        [p.pose for p, _ in passed], [p.covariance for p, _ in passed], [t for _, t in passed]
    )
    yaw = [wrap_angle(p.pose.yaw - truth.yaw) ** 2 / p.covariance[2, 2] for p, truth in passed]
    scales = (
        np.quantile(nees, _SHARE) / (-2.0 * math.log(1.0 - _SHARE)),
        np.quantile(yaw, _SHARE) / 1.6449**2,
    )
    network.covariance_scale.copy_(torch.tensor(scales).clamp_min(1.0))


def _log_likelihood(
    prediction: Prediction, label: Pose2D, truth: Pose2D, temperature: float
) -> float:
    scores = prediction.score_map.log_probability
    log_probability = torch.log_softmax(scores.flatten() * temperature, 0).view_as(scores)
    rows, columns = scores.shape
    cell = prediction.score_map.cell_m
    row = round((rows - 1) / 2 - (truth.y - label.y) / cell)
    column = round((columns - 1) / 2 + (truth.x - label.x) / cell)
    found = log_probability[min(max(row, 0), rows - 1), min(max(column, 0), columns - 1)]
    return math.log((1.0 - _ASTRAY) * math.exp(float(found)) + _ASTRAY / scores.numel())
