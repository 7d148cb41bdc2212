# SPDX-License-Identifier: Apache-2.0
"""Worth of a confidence: separation of right answers from wrong ones, and calibration."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

WRONG_M, GROSS_M = 5.0, 10.0
BINS = 10
RESAMPLES = 1000
INTERVAL = 0.9


def auroc(confidence: ArrayLike, right: ArrayLike) -> float:
    """Return the chance that a right answer has more confidence than a wrong one, ties counting
    half; NaN where all are right or all wrong.
    """
    is_right = np.asarray(right, np.bool_)
    count, wrong = int(is_right.sum()), int((~is_right).sum())
    if not count or not wrong:
        return math.nan
    _, value, same = np.unique(confidence, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(same) - (same - 1) / 2.0)[value]
    return float((ranks[is_right].sum() - count * (count + 1) / 2.0) / (count * wrong))


def expected_calibration_error(confidence: ArrayLike, right: ArrayLike) -> float:
    """Return the mean difference (0..1) between confidence and the share of right answers, over
    BINS equal intervals of confidence weighted by their answers; NaN for none.
    """
    claimed, is_right = np.asarray(confidence, np.float64), np.asarray(right, np.float64)
    if not len(claimed):
        return math.nan
    bins = np.minimum((claimed * BINS).astype(np.int64), BINS - 1)
    gaps = np.bincount(bins, weights=claimed - is_right, minlength=BINS)
    return float(np.abs(gaps).sum() / len(claimed))


def gross_share(confidence: ArrayLike, error_m: ArrayLike, kept: float) -> float:
    """Return the share of errors beyond GROSS_M among the `kept` (0..1] most confident answers.

    Of answers as confident as the last one kept each counts by the share of them that is kept.
    """
    claimed, gross = np.asarray(confidence, np.float64), np.asarray(error_m) > GROSS_M
    if not len(claimed):
        return math.nan
    room = kept * len(claimed)
    limit = np.sort(claimed)[::-1][math.ceil(room - 1e-9) - 1]
    above, level = claimed > limit, claimed == limit
    part = (room - above.sum()) / level.sum()
    return float((gross[above].sum() + part * gross[level].sum()) / room)


def confidence_figures(
    confidence: FloatArray, error_m: FloatArray, published: BoolArray
) -> dict[str, float]:
    """Return the figures of N answers: their confidence that the pose is right (0..1), the
    distance of the pose from the truth, and whether the gate publishes it.
    """
    right = error_m < WRONG_M
    return {
        "auroc_5m": auroc(confidence, right),
        "ece": expected_calibration_error(confidence, right),
        "gross_at_90": gross_share(confidence, error_m, 0.9),
        "gross_at_80": gross_share(confidence, error_m, 0.8),
        "published_wrong_5m": float(np.mean(published & (error_m > WRONG_M))),
    }


def bootstrap(
    places: IntArray, figures: Callable[[IntArray], Mapping[str, float]], seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Return the interval of each figure that holds INTERVAL of RESAMPLES samples of places.

    places   (N,) of the answers: those of one place are drawn together, they are not independent
    figures  of some answers, by their indices

    NaN for a figure of a single place, and for one that no sample tells.
    """
    _, which = np.unique(places, return_inverse=True)
    members = np.split(np.argsort(which, kind="stable"), np.cumsum(np.bincount(which))[:-1])
    rng = np.random.default_rng(seed)
    found: dict[str, list[float]] = {}
    for _ in range(RESAMPLES if len(members) > 1 else 0):
        drawn = rng.integers(0, len(members), len(members)).tolist()
        for name, value in figures(np.concatenate([members[i] for i in drawn])).items():
            found.setdefault(name, []).append(value)
    ends = ((1.0 - INTERVAL) / 2.0, (1.0 + INTERVAL) / 2.0)
    intervals = {}
    for name in figures(np.arange(len(places))):
        told = [value for value in found.get(name, []) if not math.isnan(value)]
        low, high = np.quantile(told, ends) if told else (math.nan, math.nan)
        intervals[name] = float(low), float(high)
    return intervals
