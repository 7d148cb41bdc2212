# SPDX-License-Identifier: Apache-2.0
"""Pseudo-poses: a drive's noisy labels tied together by odometry, and by score maps once there
are some. No exact pose is used.

A drive is a rigid curve but for the little that odometry drifts, so five numbers place all its
frames: the pose of the middle frame, the scale of the distance, and the drift of the heading.
Many labels, each within 20 m, leave those five little room: the posterior mean over N labels with
uniform noise is off by the order of 20 / N m, with Gaussian noise of sigma s by s / sqrt(N).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from g2s_localizer.geometry import Pose2D

FloatArray = NDArray[np.float64]

Evidence = Callable[[FloatArray], FloatArray]
"""Log-likelihood (P,) of P hypotheses (P, N, 3) of the poses x, y (m), yaw (rad) of a drive."""

_PARTICLES = 2000
_ROUNDS = 24
_EDGE = 0.02
"""Softness of a uniform label's bounds, as a share of them: lets odometry be a little wrong."""


@dataclass(frozen=True)
class OdometryNoise:
    """Errors of wheel ticks and a gyroscope; standard deviations.

    scale         of the distance, one factor a drive
    step          of each step's length, as a share of it
    drift_deg_m   of the heading per metre, one rate a drive (0.001: 0.01 degrees/s at 36 km/h)
    walk_deg      of the heading's random walk, degrees after a metre, growing as sqrt(m)
    """

    scale: float = 0.01
    step: float = 0.005
    drift_deg_m: float = 0.001
    walk_deg: float = 0.01

    def measure(self, truths: Sequence[Pose2D], seed: Sequence[int]) -> FloatArray:
        """Draw noisy odometry (N - 1, 3): each frame's pose in the one before it (m, m, rad)."""
        rng = np.random.default_rng(list(seed))
        motions = [a.between(b) for a, b in pairwise(truths)]
        odometry = np.array([(m.x, m.y, m.yaw) for m in motions]).reshape(-1, 3)
        length = np.hypot(odometry[:, 0], odometry[:, 1])
        factor = 1.0 + self.scale * rng.normal() + self.step * rng.normal(size=len(odometry))
        odometry[:, :2] *= factor[:, None]
        drift = self.drift_deg_m * rng.normal() * length
        walk = self.walk_deg * np.sqrt(length) * rng.normal(size=len(odometry))
        odometry[:, 2] += np.radians(drift + walk)
        return odometry


def uniform_labels(
    labels: Sequence[Pose2D], position_m: float, yaw_deg: float, along_heading: bool = False
) -> Evidence:
    """Return evidence of labels whose noise is uniform within these bounds on each axis of the map,
    or of the vehicle (KITTI's lists).
    """
    bounds = np.array([position_m, position_m, np.radians(yaw_deg)])
    centre = _as_array(labels)

    def evidence(poses: FloatArray) -> FloatArray:
        residual = _residual(poses, centre)
        if along_heading:
            c, s = np.cos(poses[..., 2]), np.sin(poses[..., 2])
            x, y = residual[..., 0].copy(), residual[..., 1].copy()
            residual[..., 0], residual[..., 1] = c * x + s * y, c * y - s * x
        beyond = np.abs(residual) / bounds - 1.0
        return np.asarray(-np.logaddexp(0.0, beyond / _EDGE).sum(axis=(1, 2)))

    return evidence


def gaussian_labels(
    labels: Sequence[Pose2D], position_m: float, yaw_deg: float, independent: float = 1.0
) -> Evidence:
    """Return evidence of labels with Gaussian noise of these standard deviations; a share
    `independent` of them counts where neighbours err together, as those of a GNSS receiver do.
    """
    sigma = np.array([position_m, position_m, np.radians(yaw_deg)])
    centre = _as_array(labels)

    def evidence(poses: FloatArray) -> FloatArray:
        off = _residual(poses, centre) / sigma
        return np.asarray(-0.5 * independent * np.square(off).sum(axis=(1, 2)))

    return evidence


def draw_gaussian(
    truths: Sequence[Pose2D], position_m: float, yaw_deg: float, seed: Sequence[int]
) -> list[Pose2D]:
    """Draw labels with Gaussian noise of these standard deviations on the truth, in map axes."""
    draw = np.random.default_rng(list(seed)).normal(size=(len(truths), 3))
    noise = draw * (position_m, position_m, np.radians(yaw_deg))
    return [Pose2D(*row) for row in _as_array(truths) + noise]


def of_frames(evidence: Evidence, frames: NDArray[np.int64]) -> Evidence:
    """Return evidence of a drive's `frames` as evidence of all its poses."""
    return lambda poses: evidence(poses[:, frames])


def score_maps(
    centres: Sequence[Pose2D], log_probability: FloatArray, cell_m: float, astray: float = 0.3
) -> Evidence:
    """Return evidence of log-probability maps (N, n, n), row 0 north, around the centres.

    A share `astray` of the maps is taken to know nothing, and each map for no more than what the
    square root of its probability says: the frames of a drive err together.
    """
    middle = _as_array(centres)
    n = log_probability.shape[-1]
    known = (1.0 - astray) * np.exp(log_probability) + astray / (n * n)
    log_known = 0.5 * np.log(known)
    frame = np.arange(len(middle))

    def evidence(poses: FloatArray) -> FloatArray:
        offset = (poses[..., :2] - middle[:, :2]) / cell_m
        column = np.clip(offset[..., 0] + (n - 1) / 2.0, 0.0, n - 1.001)
        row = np.clip((n - 1) / 2.0 - offset[..., 1], 0.0, n - 1.001)
        i, j = row.astype(int), column.astype(int)
        a, b = row - i, column - j
        upper = (1 - b) * log_known[frame, i, j] + b * log_known[frame, i, j + 1]
        lower = (1 - b) * log_known[frame, i + 1, j] + b * log_known[frame, i + 1, j + 1]
        return np.asarray(((1 - a) * upper + a * lower).sum(axis=1))

    return evidence


def headings(yaw: FloatArray, sigma: float, astray: float = 0.1) -> Evidence:
    """Return evidence of a network's headings (N,) in rad, a share of them plainly wrong."""

    def evidence(poses: FloatArray) -> FloatArray:
        off = np.asarray(_wrap(poses[..., 2] - yaw)) / sigma
        return np.asarray(np.log((1 - astray) * np.exp(-0.5 * off**2) + astray * 0.01).sum(axis=1))

    return evidence


def pseudo_poses(
    odometry: FloatArray, evidence: Sequence[Evidence], start: Sequence[Pose2D], seed: int
) -> list[Pose2D]:
    """Return the posterior mean of the poses of a drive's N frames.

    odometry (N - 1, 3) as `OdometryNoise.measure`; `start` are the labels, whose mean places the
    first guess. Adaptive importance sampling: a Gaussian over the five numbers is fitted to
    weighted samples of itself, the likelihood's power rising to one.
    """
    rng = np.random.default_rng([seed, 9])
    noise = OdometryNoise()
    labels = _as_array(start)
    mean, covariance = _first_guess(odometry, labels, noise)
    prior = np.array([np.inf, np.inf, np.inf, 2 * noise.scale, 2 * np.radians(noise.drift_deg_m)])
    for turn in range(_ROUNDS):
        power = min(1.0, 0.02 * 1.3**turn)
        spread = 1.3 if turn < _ROUNDS - 1 else 1.0
        draws = rng.multivariate_normal(mean, spread**2 * covariance, _PARTICLES)
        poses = _place(odometry, draws)
        likelihood = sum((term(poses) for term in evidence), np.zeros(_PARTICLES))
        centred = draws - mean
        own = -0.5 * np.einsum(
            "pi,ij,pj->p", centred, np.linalg.inv(spread**2 * covariance), centred
        )
        log_weight = power * likelihood - 0.5 * np.square(draws / prior).sum(axis=1) - own
        weight = np.exp(log_weight - log_weight.max())
        weight /= weight.sum()
        mean = weight @ draws
        centred = draws - mean
        covariance = centred.T @ (weight[:, None] * centred) + np.diag(_floor(len(labels)))
    return [Pose2D(*pose) for pose in _place(odometry, mean[None])[0]]


def _first_guess(
    odometry: FloatArray, labels: FloatArray, noise: OdometryNoise
) -> tuple[FloatArray, FloatArray]:
    """Return mean and covariance (5, 5) of the five numbers, from the labels' means."""
    curve = _place(odometry, np.zeros((1, 5)))[0]
    yaw = float(np.mean(_wrap(labels[:, 2] - curve[:, 2] - labels[0, 2]))) + labels[0, 2]
    turned = _place(odometry, np.array([[0.0, 0.0, yaw, 0.0, 0.0]]))[0]
    x, y = np.mean(labels[:, :2] - turned[:, :2], axis=0)
    deviation = np.array([3.0, 3.0, np.radians(2.0), noise.scale, np.radians(noise.drift_deg_m)])
    return np.array([x, y, yaw, 0.0, 0.0]), np.diag(deviation**2)


def _place(odometry: FloatArray, numbers: FloatArray) -> FloatArray:
    """Return poses (P, N, 3) for P rows of x, y, yaw of the middle frame, ln scale, drift."""
    count = len(odometry) + 1
    middle = count // 2
    length = np.hypot(odometry[:, 0], odometry[:, 1])
    turns = odometry[:, 2] - numbers[:, 4:5] * length
    yaw = np.concatenate([np.zeros((len(numbers), 1)), np.cumsum(turns, axis=1)], axis=1)
    yaw += numbers[:, 2:3] - yaw[:, middle : middle + 1]
    scale = np.exp(-numbers[:, 3:4])
    c, s = np.cos(yaw[:, :-1]) * scale, np.sin(yaw[:, :-1]) * scale
    steps = np.stack(
        [c * odometry[:, 0] - s * odometry[:, 1], s * odometry[:, 0] + c * odometry[:, 1]], axis=-1
    )
    xy = np.concatenate([np.zeros((len(numbers), 1, 2)), np.cumsum(steps, axis=1)], axis=1)
    xy += numbers[:, None, :2] - xy[:, middle : middle + 1]
    return np.concatenate([xy, yaw[..., None]], axis=-1)


def _floor(count: int) -> FloatArray:
    """Return least variances of the five numbers, so that the samples never collapse."""
    least = np.array([0.02, 0.02, 3e-4, 2e-4, 1e-6])
    return np.asarray(least**2 * (100.0 / count))


def _residual(poses: FloatArray, centre: FloatArray) -> FloatArray:
    residual = poses - centre
    residual[..., 2] = _wrap(residual[..., 2])
    return residual


def _wrap(angle: FloatArray) -> FloatArray:
    return np.asarray(np.remainder(angle + np.pi, 2.0 * np.pi) - np.pi)


def _as_array(poses: Sequence[Pose2D]) -> FloatArray:
    return np.array([(p.x, p.y, p.yaw) for p in poses]).reshape(-1, 3)
