# SPDX-License-Identifier: Apache-2.0
"""After training: the constant offset from weak labels, honest covariances from known poses."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from g2s_localizer.geometry import Pose2D
from g2s_localizer.geometry.pose import wrap_angle
from g2s_localizer.model import G2SNet
from training.datasets.sample import DriveDataset
from training.evaluate import Prediction, predict
from training.metrics import squared_mahalanobis

_TEMPERATURES = np.geomspace(5.0, 400.0, 40)
_SHARE = 0.9


def calibrate_offset(network: G2SNet, datasets: Sequence[DriveDataset]) -> list[float]:
    """Set `network.offset` to the mean of prediction minus label, and return its standard error.

    The labels' noise has zero mean and is independent of what the network sees, so over all
    frames, none chosen, the mean of (prediction - label) in the vehicle's axes is the constant
    that the weak loss leaves free. Axes are those of the predicted heading.
    """
    network.offset.zero_()
    differences = np.array(
        [
            _seen_from(prediction.pose, label)
            for dataset in datasets
            for prediction, label in zip(predict(network, dataset), dataset.labels, strict=True)
        ]
    )
    network.offset.copy_(torch.tensor(differences.mean(axis=0)))
    return [float(e) for e in differences.std(axis=0) / math.sqrt(len(differences))]


def calibrate_covariance(
    network: G2SNet, datasets: Sequence[DriveDataset], truths: Sequence[Pose2D]
) -> None:
    """Set temperature and covariance scales from drives whose poses are known.

    The temperature maximises the likelihood of the true cell. The scales make the ellipse, and
    the interval of yaw, that should hold 90 % of the errors hold 90 %.
    """
    network.temperature.fill_(1.0)
    network.covariance_scale.fill_(1.0)
    labels = [label for dataset in datasets for label in dataset.labels]
    raw = [p for dataset in datasets for p in predict(network, dataset)]
    likelihood = [
        np.mean(
            [
                _log_likelihood(p, label, truth, t)
                for p, label, truth in zip(raw, labels, truths, strict=True)
            ]
        )
        for t in _TEMPERATURES
    ]
    network.temperature.fill_(float(_TEMPERATURES[int(np.argmax(likelihood))]))
    predictions = [p for dataset in datasets for p in predict(network, dataset)]
    poses = [p.pose for p in predictions]
    nees = squared_mahalanobis(poses, np.array([p.covariance for p in predictions]), truths)
    yaw = [
        wrap_angle(p.pose.yaw - truth.yaw) ** 2 / p.covariance[2, 2]
        for p, truth in zip(predictions, truths, strict=True)
    ]
    scales = (
        np.quantile(nees, _SHARE) / (-2.0 * math.log(1.0 - _SHARE)),
        np.quantile(yaw, _SHARE) / 1.6449**2,
    )
    network.covariance_scale.copy_(torch.tensor(scales).clamp_min(1.0))


def _seen_from(pose: Pose2D, label: Pose2D) -> tuple[float, float, float]:
    c, s = math.cos(pose.yaw), math.sin(pose.yaw)
    x, y = pose.x - label.x, pose.y - label.y
    return c * x + s * y, -s * x + c * y, wrap_angle(pose.yaw - label.yaw)


def _log_likelihood(
    prediction: Prediction, label: Pose2D, truth: Pose2D, temperature: float
) -> float:
    scores = prediction.score_map.log_probability
    log_probability = torch.log_softmax(scores.flatten() * temperature, 0).view_as(scores)
    rows, columns = scores.shape
    cell = prediction.score_map.cell_m
    row = round((rows - 1) / 2 - (truth.y - label.y) / cell)
    column = round((columns - 1) / 2 + (truth.x - label.x) / cell)
    return float(log_probability[min(max(row, 0), rows - 1), min(max(column, 0), columns - 1)])
