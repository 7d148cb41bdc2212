# SPDX-License-Identifier: Apache-2.0
"""After training: how much a score map and a yaw distribution are worth, from known poses."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from g2s_localizer.estimator.config import LocalizerConfig
from g2s_localizer.geometry import Pose2D
from g2s_localizer.geometry.pose import rotation, wrap_angle
from g2s_localizer.model import Network
from training.data.sample import PairDataset, Unreadable
from training.data.selection import Part
from training.score.belonging import learn_belonging
from training.score.metrics import squared_mahalanobis
from training.score.predict import Prediction, predict

_TEMPERATURES = np.geomspace(5.0, 200.0, 60)
_ASTRAY = 0.1
_SHARE = 0.9
_SCALES = np.geomspace(1.0, 100.0, 150)
MAX_PAIRS = 500
"""Most pairs that calibration uses, spread over the dataset: they tell a share of 90 % to 1.3 per
cent (one standard deviation), two steps of `_SCALES`; four times as many would take hours."""


def calibrate(network: Network, dataset: PairDataset) -> None:
    """Set temperature, covariance scales and evidence from pairs whose poses are known.

    The temperature maximises the likelihood of the true cell, a tenth of the frames being taken
    for plainly wrong, so that they do not flatten all others. The scales make the ellipse, and
    the interval of yaw, that should hold 90 % of the errors hold 90 %, with the floor of the
    imagery's georeferencing that is published with them. For the evidence see `learn_belonging`.
    Raises ValueError when nobody knows the poses, or no pair can be read. No more than MAX_PAIRS
    are looked at.
    """
    dataset = Part.spread(dataset, MAX_PAIRS)
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
    learn_belonging(network, dataset)


def _scales(network: Network, dataset: PairDataset, truths: list[Pose2D]) -> torch.Tensor:
    """Return (2,) scales of position and yaw: the smallest of `_SCALES` that hold their share."""
    poses, within, beyond, true = [], [], [], []
    for found in predict(network, dataset):
        if not isinstance(found, Unreadable):
            poses.append(found.pose)
            within.append(found.within)
            beyond.append(found.beyond)
            true.append(truths[found.index])
    turn = np.array([wrap_angle(a.yaw - b.yaw) for a, b in zip(poses, true, strict=True)])

    def ellipse_holds(total: NDArray[np.float64]) -> NDArray[np.bool_]:
        nees = squared_mahalanobis(poses, total, true)
        return np.asarray(nees <= -2.0 * math.log(1.0 - _SHARE))

    def interval_holds(total: NDArray[np.float64]) -> NDArray[np.bool_]:
        # a network that takes the heading as known has no variance of it to scale
        variance = total[:, 2, 2]
        return np.asarray((turn**2 <= variance * 1.6449**2) | (variance == 0.0))

    map_covariance = np.diag([LocalizerConfig.map_sigma_m**2, LocalizerConfig.map_sigma_m**2, 0.0])
    totals = [scale * np.array(within) + np.array(beyond) + map_covariance for scale in _SCALES]
    chosen = [
        next(
            (k for k, total in zip(_SCALES, totals, strict=True) if holds(total).mean() >= _SHARE),
            _SCALES[-1],
        )
        for holds in (ellipse_holds, interval_holds)
    ]
    return torch.tensor(chosen)


def _log_likelihoods(found: Prediction, label: Pose2D, truth: Pose2D) -> NDArray[np.float64]:
    """Return the log-likelihood of the true cell at each of the temperatures."""
    scores = found.score_map.log_probability.double().cpu()
    rows, columns = scores.shape
    cell = found.score_map.cell_m
    x, y = rotation(found.crop_yaw).T @ (truth.x - label.x, truth.y - label.y)
    row = min(max(round((rows - 1) / 2 - y / cell), 0), rows - 1)
    column = min(max(round((columns - 1) / 2 + x / cell), 0), columns - 1)
    logits = scores.flatten() * torch.from_numpy(_TEMPERATURES)[:, None]
    true = torch.log_softmax(logits, dim=1)[:, row * columns + column]
    return np.asarray(torch.log((1.0 - _ASTRAY) * true.exp() + _ASTRAY / scores.numel()))
