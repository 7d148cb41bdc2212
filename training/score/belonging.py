# SPDX-License-Identifier: Apache-2.0
"""Evidence that images belong to their crops: learned from pairs that do and pairs made not to."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from g2s_localizer.geometry import Pose2D
from g2s_localizer.model import Network
from g2s_localizer.model.calibrated import UNCALIBRATED, evidence_features
from training.data.sample import PairDataset, Sample, Unreadable
from training.score.predict import Prediction, predict

FloatArray = NDArray[np.float64]

KINDS = (
    "another place", "mirrored", "turned", "another place", "mirrored", "turned", "noise",
    "upside down",
)  # fmt: skip
"""Contradictions, in turn: another place's image, the image mirrored, a heading told wrong by more
than the search covers, pixels of noise, the camera upside down."""

RIGHT_M = 3.0
"""A pose so near the truth is the right one."""

FLOOR_SHARE = 0.005
"""Share of right answers that the floor of the correlation may cost."""

_TURNED = (math.radians(20.0), math.radians(340.0))
_APART_M = 150.0
_STEPS = 50
_RIDGE = 1e-2
_MIN_COUNT = 20


class Contradicted:
    """A PairDataset in which no image belongs to its crop: those of another one, spoilt in the ways
    of KINDS. What `[i]` gives depends on i alone.
    """

    def __init__(self, dataset: PairDataset) -> None:
        self._dataset = dataset
        self.labels: list[Pose2D] = dataset.labels
        self.truths: list[Pose2D] | None = dataset.truths

    def __len__(self) -> int:
        return len(self._dataset)

    def group(self, index: int) -> int:
        return self._dataset.group(index)

    def apart(self, index: int, others: list[int], spacing_m: float) -> bool:
        return self._dataset.apart(index, others, spacing_m)

    def __getitem__(self, index: int) -> Sample | Unreadable:
        sample = self._dataset[index]
        if isinstance(sample, Unreadable):
            return sample
        rng = np.random.default_rng((index, 11))
        kind = KINDS[index % len(KINDS)]
        if kind == "another place":
            other = self._elsewhere(index, rng)
            return replace(sample, ground=other.ground, K=other.K) if other else self._none(index)
        if kind == "mirrored":
            return replace(sample, ground=sample.ground.flip(-1))
        if kind == "upside down":
            return replace(sample, ground=sample.ground.flip(-1).flip(-2))
        if kind == "noise":
            noise = rng.integers(0, 256, tuple(sample.ground.shape), dtype=np.uint8)
            return replace(sample, ground=torch.from_numpy(noise))
        return replace(sample, yaw=sample.yaw + float(rng.uniform(*_TURNED)))

    def _elsewhere(self, index: int, rng: np.random.Generator) -> Sample | None:
        """Return an image of a place that the crop does not show, None where there is none."""
        for other in rng.permutation(len(self)).tolist():
            if self._dataset.apart(other, [index], _APART_M):
                sample = self._dataset[other]
                if isinstance(sample, Sample):
                    return sample
        return None

    def _none(self, index: int) -> Unreadable:
        return Unreadable(index, str(index), f"no image is {_APART_M:g} m from it")


def learn_belonging(network: Network, dataset: PairDataset) -> str:
    """Set the network's `evidence_weights` and `correlation_floor`; return what came out in words.

    Evidence is a logistic regression on `evidence_features` (Newton's method, both classes of
    equal weight) of right answers to the pairs, and of wrong answers to contradicted ones. The
    floor costs FLOOR_SHARE of the right answers. With too few answers of either kind every image
    belongs. Temperature and covariance scales must be set already. Raises ValueError when nobody
    knows the poses.
    """
    for name, value in UNCALIBRATED.items():
        network.get_buffer(name).copy_(torch.tensor(value))
    right = np.array(
        [features for features, error in _answers(network, dataset) if error < RIGHT_M]
    )
    answers = _answers(network, Contradicted(dataset))
    wrong = np.array([features for features, error in answers if error >= RIGHT_M])
    if len(right) < _MIN_COUNT or len(wrong) < _MIN_COUNT:
        return (
            f"no evidence: {len(right)} right answers and {len(wrong)} wrong ones to contradicted "
            f"pairs are too few to tell them apart, at least {_MIN_COUNT} of each are needed"
        )
    weights = _logistic(right, wrong)
    floor = float(np.quantile(right[:, 0], FLOOR_SHARE))
    network.evidence_weights.copy_(torch.from_numpy(weights))
    network.correlation_floor.fill_(floor)
    passed, fooled = (float((group @ weights >= 0.0).mean()) for group in (right, wrong))
    return (
        f"evidence from {len(right)} right and {len(wrong)} contradicted answers: "
        f"{100 * passed:.1f} % and {100 * fooled:.1f} % of them above even odds; "
        f"correlation at least {floor:.3f}"
    )


def _answers(network: Network, dataset: PairDataset) -> Iterator[tuple[FloatArray, float]]:
    """Yield the features of each answer and its distance from the truth (m)."""
    if dataset.truths is None:
        raise ValueError("calibration needs pairs whose poses are known")
    for found in predict(network, dataset):
        if isinstance(found, Prediction):
            truth = dataset.truths[found.index]
            error = math.hypot(found.pose.x - truth.x, found.pose.y - truth.y)
            yield evidence_features(found.correlation, found.within), error


def _logistic(right: FloatArray, wrong: FloatArray) -> FloatArray:
    """Return weights (F,) of the log-odds that a row of features (N, F), whose last column is 1,
    is of the first group, were both groups equally large.
    """
    rows = np.concatenate([right, wrong])
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    mean[-1], deviation[-1] = 0.0, 1.0
    scaled = (rows - mean) / deviation
    wanted = np.repeat([1.0, 0.0], [len(right), len(wrong)])
    weight = np.repeat([0.5 / len(right), 0.5 / len(wrong)], [len(right), len(wrong)]) * len(rows)
    found = np.zeros(rows.shape[1])
    for _ in range(_STEPS):
        share = 1.0 / (1.0 + np.exp(-scaled @ found))
        gradient = scaled.T @ (weight * (share - wanted)) + _RIDGE * found
        curvature = (scaled * (weight * share * (1.0 - share))[:, None]).T @ scaled
        found = found - np.linalg.solve(curvature + _RIDGE * np.eye(len(found)), gradient)
    weights: FloatArray = found / deviation
    weights[-1] = found[-1] - float((found[:-1] * mean[:-1] / deviation[:-1]).sum())
    return weights
