# SPDX-License-Identifier: Apache-2.0
"""A network and the baselines, scored pair by pair against the truth."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from g2s_localizer.estimator.config import LocalizerConfig
from g2s_localizer.estimator.estimate import Prior
from g2s_localizer.estimator.gate import GateConfig, gate, within_reach
from g2s_localizer.estimator.presence import probability
from g2s_localizer.geometry import LatLon, LocalFrame, Pose2D
from g2s_localizer.geometry.pose import rotation
from g2s_localizer.model import Network
from training.data.sample import PairDataset, PriorNoise, Unreadable
from training.score.confidence import bootstrap, confidence_figures
from training.score.metrics import squared_mahalanobis, summarise, vehicle_errors, yaw_coverage
from training.score.predict import Prediction, predict

FloatArray = NDArray[np.float64]

NETWORK, GATED, PRIOR, CENTRE = "network", "after the gate", "the prior itself", "centre of patch"

PLACE_M = 50.0
"""Pairs closer than this along a drive show the same things and are no independent evidence."""

_NOWHERE = LocalFrame(LatLon(0.0, 0.0))
"""The gate compares poses of one frame; where on Earth it lies is not asked."""


@dataclass(frozen=True)
class Answers:
    """Poses of one method for some of a dataset's pairs."""

    indices: NDArray[np.int64]
    poses: list[Pose2D]
    covariances: FloatArray
    """(N, 3, 3) of (x, y, yaw)"""
    truths: list[Pose2D]

    @cached_property
    def errors(self) -> FloatArray:
        """Return (N, 3) longitudinal, lateral (m), yaw (rad)."""
        return vehicle_errors(self.poses, self.truths)

    @property
    def figures(self) -> dict[str, float]:
        nees = squared_mahalanobis(self.poses, self.covariances, self.truths)
        heading = {
            f"yaw_coverage_{percent}": yaw_coverage(self.errors, self.covariances, percent / 100.0)
            for percent in (50, 90, 99)
        }
        return {**summarise(self.errors, nees), **heading, "frames": len(self.poses)}


@dataclass(frozen=True)
class Picture:
    """A pair to look at: its crop (S, S, 3) and score map (n, n), with positions from the crop's
    centre in its own axes (m).
    """

    error_m: float
    name: str
    """of the drive (or city) and the frame"""
    crop: NDArray[np.uint8]
    log_probability: NDArray[np.float32]
    cell_m: float
    gsd: float
    estimate: tuple[float, float]
    truth: tuple[float, float]


@dataclass(frozen=True)
class Scores:
    """methods     answers by the name of their row; the prior's stand beside the network's
    worst       pictures of the pairs with the largest errors, the worst first
    confidence  (N,) of the network's answers: the probability that the pose is right
    places      (N,) of them: numbers of the stretches of PLACE_M that they were taken in
    unreadable  pairs that could not be read and are in no row
    """

    methods: dict[str, Answers]
    worst: list[Picture]
    confidence: FloatArray
    places: NDArray[np.int64]
    unreadable: list[Unreadable] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        """Return the network's figures before any gate, and those of gate and confidence."""
        found = self.methods[NETWORK].figures
        frames = found.pop("frames")
        everything = np.arange(len(self.confidence))
        return {**found, **self._uncertain(everything), "frames": frames}

    def intervals(self) -> dict[str, tuple[float, float]]:
        """Return intervals of some of the figures, by `bootstrap` over places."""
        return bootstrap(self.places, self._uncertain)

    def _uncertain(self, chosen: NDArray[np.int64]) -> dict[str, float]:
        """Return the figures that have intervals, of some answers."""
        network = self.methods[NETWORK]
        errors = network.errors[chosen]
        published = np.isin(network.indices, self.methods[GATED].indices)[chosen]
        distance = np.hypot(errors[:, 0], errors[:, 1])
        return {
            "median_m": float(np.median(distance)),
            "longitudinal_within_1m": float(np.mean(np.abs(errors[:, 0]) <= 1.0)),
            "lateral_within_1m": float(np.mean(np.abs(errors[:, 1]) <= 1.0)),
            "published_share": float(np.mean(published)),
            **confidence_figures(self.confidence[chosen], distance, published),
        }


def score(
    network: Network,
    dataset: PairDataset,
    noise: PriorNoise,
    worst: int = 0,
    limits: GateConfig | None = None,
) -> Scores:
    """Score every pair of a dataset whose truth is known, no more in memory than `predict` has.

    noise: of the labels, whose variance is the prior's in the gate and the baselines.
    Raises ValueError when nobody knows the truth, or no pair can be read.
    """
    truths, labels = dataset.truths, dataset.labels
    if truths is None:
        raise ValueError("scoring needs pairs whose poses are known")
    limits = (limits or GateConfig()).with_floor(network.correlation_floor.item())
    sigma = np.array([noise.position_m, noise.position_m, math.radians(noise.yaw_deg)])
    prior_covariance = np.diag(sigma**2 / 3.0)
    map_covariance = np.diag([LocalizerConfig.map_sigma_m**2, LocalizerConfig.map_sigma_m**2, 0.0])
    answered: list[_Answer] = []
    published: list[_Answer] = []
    confidence: list[float] = []
    unreadable: list[Unreadable] = []
    pictures: list[tuple[float, int, Picture]] = []
    # as the node does for a prior whose heading is that uncertain
    wider = network.any_heading and noise.yaw_deg > network.config.yaw_range_deg
    spread = map_covariance[:2, :2] + network.config.cell_m**2 * np.eye(2)
    # crops are centred on the label
    label_itself = Prior(0, Pose2D(0.0, 0.0, 0.0), prior_covariance, _NOWHERE)
    found_all = predict(
        network,
        dataset,
        math.radians(noise.yaw_deg) if wider else None,
        within_reach(label_itself, (0.0, 0.0), spread, limits),
        progress="scoring",
    )
    for found in found_all:
        if isinstance(found, Unreadable):
            unreadable.append(found)
            continue
        label = labels[found.index]
        answer = _Answer(found.index, found.pose, found.covariance + map_covariance)
        answered.append(answer)
        confidence.append(probability(found.evidence))
        if _passes(found, answer, Prior(0, label, prior_covariance, _NOWHERE), limits):
            published.append(answer)
        picture = _picture(found, dataset.name(found.index), label, truths[found.index])
        heapq.heappush(pictures, (picture.error_m, found.index, picture))
        if len(pictures) > worst:
            heapq.heappop(pictures)
    if not answered:
        raise ValueError(f"none of {len(labels)} pairs can be read: {unreadable[0].reason}")
    prior = [_Answer(a.index, labels[a.index], prior_covariance) for a in answered]
    methods = {
        NETWORK: answered,
        GATED: published,
        PRIOR: prior,
        # crops are centred on the prior, so both baselines give the same answer
        CENTRE: prior,
    }
    return Scores(
        {name: _together(answers, truths) for name, answers in methods.items()},
        [picture for _, _, picture in sorted(pictures, reverse=True)],
        np.array(confidence),
        _places(dataset, [answer.index for answer in answered]),
        unreadable,
    )


@dataclass(frozen=True)
class _Answer:
    index: int
    pose: Pose2D
    covariance: FloatArray


def _places(dataset: PairDataset, indices: Sequence[int]) -> NDArray[np.int64]:
    """Return each pair's place, (N,): a new one begins PLACE_M from the begin of the last."""
    places = []
    number, start = 0, indices[0]
    for index in indices:
        if dataset.apart(index, [start], PLACE_M):
            number, start = number + 1, index
        places.append(number)
    return np.array(places, np.int64)


def _together(answers: Sequence[_Answer], truths: Sequence[Pose2D]) -> Answers:
    return Answers(
        np.array([answer.index for answer in answers], dtype=np.int64),
        [answer.pose for answer in answers],
        np.array([answer.covariance for answer in answers]).reshape(-1, 3, 3),
        [truths[answer.index] for answer in answers],
    )


def _passes(found: Prediction, answer: _Answer, prior: Prior, limits: GateConfig) -> bool:
    """Return whether the node would publish the answer."""
    evidence = found.score_map.entropy, found.peak_ratio, found.correlation
    # the pairs are no sequence: each stands for itself
    presence = probability(found.evidence)
    refused = gate(answer.pose, answer.covariance, prior, *evidence, presence, limits)
    return found.border_cells > 0 and refused is None


def _picture(found: Prediction, name: str, label: Pose2D, truth: Pose2D) -> Picture:
    into_crop = rotation(found.crop_yaw).T
    estimate, true = (
        into_crop @ (pose.x - label.x, pose.y - label.y) for pose in (found.pose, truth)
    )
    return Picture(
        error_m=math.hypot(*(estimate - true)),
        name=name,
        crop=found.crop.permute(1, 2, 0).numpy(),
        log_probability=found.score_map.log_probability.float().cpu().numpy(),
        cell_m=found.score_map.cell_m,
        gsd=found.gsd,
        estimate=(float(estimate[0]), float(estimate[1])),
        truth=(float(true[0]), float(true[1])),
    )
