# SPDX-License-Identifier: Apache-2.0
"""A network and the baselines, scored pair by pair against the truth."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from g2s_localizer.estimator.estimate import Prior
from g2s_localizer.estimator.gate import GateConfig, gate
from g2s_localizer.estimator.localizer import LocalizerConfig
from g2s_localizer.geometry import LatLon, LocalFrame, Pose2D
from g2s_localizer.geometry.pose import rotation
from g2s_localizer.model import RegistrationNet
from training.datasets.sample import PairDataset, PriorNoise, Unreadable
from training.metrics import squared_mahalanobis, summarise, vehicle_errors
from training.predict import Prediction, predict

FloatArray = NDArray[np.float64]

NETWORK, GATED, PRIOR, CENTRE = "network", "after the gate", "the prior itself", "centre of patch"

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

    @property
    def errors(self) -> FloatArray:
        """(N, 3) longitudinal, lateral (m), yaw (rad)."""
        return vehicle_errors(self.poses, self.truths)

    @property
    def figures(self) -> dict[str, float]:
        nees = squared_mahalanobis(self.poses, self.covariances, self.truths)
        return {**summarise(self.errors, nees), "frames": len(self.poses)}


@dataclass(frozen=True)
class Picture:
    """A pair to look at: its crop (S, S, 3) and score map (n, n), with positions from the crop's
    centre in its own axes (m).
    """

    error_m: float
    index: int
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
    unreadable  pairs that could not be read and are in no row
    """

    methods: dict[str, Answers]
    worst: list[Picture]
    unreadable: list[Unreadable] = field(default_factory=list)

    @property
    def published_share(self) -> float:
        read = len(self.methods[NETWORK].poses)
        return len(self.methods[GATED].poses) / read if read else math.nan

    def figures(self) -> dict[str, float]:
        """Of the network before any gate, with the share that the gate would publish."""
        found = self.methods[NETWORK].figures
        frames = found.pop("frames")
        return {**found, "published_share": self.published_share, "frames": frames}


def score(
    network: RegistrationNet,
    dataset: PairDataset,
    noise: PriorNoise,
    worst: int = 0,
    limits: GateConfig | None = None,
) -> Scores:
    """Every pair of a dataset whose truth is known, one at a time in memory.

    noise: of the labels, whose variance is the prior's in the gate and the baselines.
    Raises ValueError when nobody knows the truth, or no pair can be read.
    """
    truths, labels = dataset.truths, dataset.labels
    if truths is None:
        raise ValueError("scoring needs pairs whose poses are known")
    limits = limits or GateConfig()
    variance = np.array([noise.position_m, noise.position_m, math.radians(noise.yaw_deg)])
    prior_covariance = np.diag(variance**2 / 3.0)
    floor = np.diag([LocalizerConfig.map_sigma_m**2, LocalizerConfig.map_sigma_m**2, 0.0])
    indices: list[int] = []
    poses: list[Pose2D] = []
    covariances: list[FloatArray] = []
    accepted: list[bool] = []
    unreadable: list[Unreadable] = []
    heap: list[tuple[float, int, Picture]] = []
    for found in predict(network, dataset):
        if isinstance(found, Unreadable):
            unreadable.append(found)
            continue
        label, truth = labels[found.index], truths[found.index]
        covariance = found.covariance + floor
        indices.append(found.index)
        poses.append(found.pose)
        covariances.append(covariance)
        accepted.append(
            found.border_cells > 0
            and gate(
                found.pose,
                covariance,
                Prior(0, label, prior_covariance, _NOWHERE),
                found.score_map.entropy,
                found.peak_ratio,
                limits,
            )
            is None
        )
        if worst:
            picture = _picture(found, label, truth)
            heapq.heappush(heap, (picture.error_m, found.index, picture))
            if len(heap) > worst:
                heapq.heappop(heap)
    if not indices:
        raise ValueError(f"none of {len(labels)} pairs can be read: {unreadable[0].reason}")

    def answers(chosen: Sequence[int], poses: list[Pose2D], covariances: FloatArray) -> Answers:
        numbers = np.array([indices[i] for i in chosen], dtype=np.int64)
        return Answers(numbers, poses, covariances, [truths[n] for n in numbers])

    everything = range(len(indices))
    passed = [i for i in everything if accepted[i]]
    given = np.array(covariances).reshape(-1, 3, 3)
    priors = [labels[i] for i in indices]
    prior = answers(everything, priors, np.broadcast_to(prior_covariance, given.shape))
    methods = {
        NETWORK: answers(everything, poses, given),
        GATED: answers(passed, [poses[i] for i in passed], given[passed]),
        PRIOR: prior,
        # crops are centred on the prior, so both baselines give the same answer
        CENTRE: prior,
    }
    pictures = [picture for _, _, picture in sorted(heap, key=lambda item: -item[0])]
    return Scores(methods, pictures, unreadable)


def _picture(found: Prediction, label: Pose2D, truth: Pose2D) -> Picture:
    into_crop = rotation(found.crop_yaw).T
    estimate, true = (
        into_crop @ (pose.x - label.x, pose.y - label.y) for pose in (found.pose, truth)
    )
    return Picture(
        error_m=math.hypot(*(estimate - true)),
        index=found.index,
        crop=found.crop.permute(1, 2, 0).numpy(),
        log_probability=found.score_map.log_probability.float().cpu().numpy(),
        cell_m=found.score_map.cell_m,
        gsd=found.gsd,
        estimate=(float(estimate[0]), float(estimate[1])),
        truth=(float(true[0]), float(true[1])),
    )
