# SPDX-License-Identifier: Apache-2.0
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from g2s_localizer.estimator.estimate import Prior, Rejection
from g2s_localizer.estimator.gate import GateConfig, gate, innovation, long_axis, within_reach
from g2s_localizer.geometry import LatLon, LocalFrame, Pose2D
from g2s_localizer.geometry.pose import rotate_covariance

CONFIG = GateConfig(
    max_ellipse_m=2.0, max_innovation=3.0, max_entropy=0.8, max_peak_ratio=0.7, min_correlation=0.2
)
PRIOR = Prior(0, Pose2D(10, 20, 0), np.diag([24.0, 24.0, 0.01]), LocalFrame(LatLon(49.0, 8.4)))
COVARIANCE = np.diag([1.0, 1.0, 0.001])


def judged(
    x=11.0, y=21.0, yaw=0.0, covariance=COVARIANCE, entropy=0.3, peak_ratio=0.2, correlation=0.3,
    presence=0.85, prior=PRIOR,
):  # fmt: skip
    evidence = entropy, peak_ratio, correlation, presence
    return gate(Pose2D(x, y, yaw), covariance, prior, *evidence, CONFIG)


def test_a_good_estimate_passes():
    assert judged() is None


@pytest.mark.parametrize(
    ("change", "rejection", "detail"),
    [
        ({"entropy": 0.9}, Rejection.FLAT_SCORE, "entropy 0.9, limit 0.8"),
        ({"peak_ratio": 0.75}, Rejection.AMBIGUOUS, "peak ratio 0.75, limit 0.7"),
        ({"covariance": np.diag([0.1, 6.25, 0.001])}, Rejection.WIDE_ELLIPSE, "sigma 2.5 m"),
        ({"x": 30.0}, Rejection.INNOVATION, "Mahalanobis distance 4"),
        ({"yaw": 0.4}, Rejection.INNOVATION, "Mahalanobis distance 3.8"),
        ({"correlation": 0.1}, Rejection.NOT_HERE, "correlation 0.1, at least 0.2"),
        ({"presence": 0.4}, Rejection.NOT_HERE, "presence 0.4, at least 0.8"),
    ],
)
def test_each_limit_refuses_by_name_with_the_value_and_the_limit(change, rejection, detail):
    verdict = judged(**change)
    assert verdict is not None and verdict[0] is rejection
    assert detail in verdict[1]


@pytest.mark.parametrize("name", ["entropy", "peak_ratio", "covariance", "correlation", "presence"])
def test_a_nan_never_passes(name):
    value = np.full((3, 3), np.nan) if name == "covariance" else math.nan
    assert judged(**{name: value}) is not None


def test_more_evidence_is_wanted_while_the_heading_is_not_confirmed():
    assert judged(presence=0.95, prior=replace(PRIOR, confirmed=False))[0] is Rejection.NOT_HERE
    assert judged(presence=0.98, prior=replace(PRIOR, confirmed=False)) is None


def test_the_floor_is_the_checkpoints_unless_the_user_gives_one():
    assert GateConfig().with_floor(0.21).min_correlation == 0.21
    assert GateConfig(min_correlation=0.1).with_floor(0.21).min_correlation == 0.1


def test_innovation_counts_sigmas_of_the_summed_covariance():
    assert innovation(Pose2D(25, 20, 0), COVARIANCE, PRIOR) == pytest.approx(15 / 5)


@pytest.mark.parametrize("yaw", [0.0, 0.7, 2.0, -1.3])
def test_the_long_axis_does_not_depend_on_the_heading(yaw):
    assert long_axis(rotate_covariance(np.diag([9.0, 0.25, 0.01]), yaw)) == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_ellipse_m", 0.0),
        ("max_innovation", math.nan),
        ("max_entropy", 1.1),
        ("max_peak_ratio", -0.1),
        ("min_correlation", 1.5),
        ("min_presence", 0.0),
    ],
)
def test_a_limit_that_limits_nothing_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"GateConfig.{name} .*{value}"):
        GateConfig(**{name: value})


def test_the_places_within_reach_are_those_that_the_innovation_allows():
    # around the prior's (10, 20) - (8, 20), 3 sigma of 24 + 1 m^2 to each side
    region = within_reach(PRIOR, (8.0, 20.0), np.eye(2), CONFIG)
    east = torch.tensor([[-13.1, -12.9, 2.0, 16.9, 17.1]])
    held = region.holds(torch.stack([east, torch.zeros_like(east)], dim=-1))
    assert held.tolist() == [[False, True, True, True, False]]
