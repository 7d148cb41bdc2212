# SPDX-License-Identifier: Apache-2.0
import dataclasses
import re

import numpy as np
import pytest

from g2s_localizer.estimator.map_offset import SIGNIFICANCE, Disagreements, estimate_map_offset
from g2s_localizer.tools.bags.gauss_markov import gauss_markov

OFFSET = (1.5, -0.7)
SAMPLES, SECONDS, WANDER_S = 1500, 600.0, 5.0


def drive(seed, *, offset=OFFSET, vehicle=(0.0, 0.0), outliers=0.3, headings=(0.3, 1.9, -2.5)):
    """Three streets in ten minutes: poses good across the road (0.5 m) and worse along it (1.5 m),
    fixes that wander (1 m within WANDER_S), false peaks anywhere in the search window.
    """
    rng = np.random.default_rng(seed)
    seconds = np.linspace(0.0, SECONDS, SAMPLES)
    yaw = np.repeat(headings, SAMPLES // 3) + rng.normal(0.0, 0.05, SAMPLES)
    c, s = np.cos(yaw), np.sin(yaw)
    R = np.stack([c, -s, s, c], axis=1).reshape(-1, 2, 2)
    noise = R @ (rng.standard_normal((SAMPLES, 2, 1)) * [[1.5], [0.5]])
    wander = np.stack([gauss_markov(seconds, 1.0, WANDER_S, 9.0, rng) for _ in range(2)], axis=1)
    xy = np.array(offset) + R @ np.array(vehicle) + wander + noise[:, :, 0]
    wrong = rng.random(SAMPLES) < outliers
    xy[wrong] = rng.uniform(-12.0, 12.0, (wrong.sum(), 2))
    claimed = R @ np.diag([1.5**2, 0.5**2]) @ R.transpose(0, 2, 1) + np.eye(2)
    return Disagreements(np.zeros(SAMPLES, np.int64), seconds, xy, yaw, claimed)


def squared_distance(found, offset=OFFSET):
    error = np.array([found.east, found.north]) - offset
    return float(error @ np.linalg.solve(found.covariance, error))


def test_an_offset_under_a_third_of_outliers_is_found_within_its_standard_error():
    found = [estimate_map_offset(drive(seed)) for seed in range(25)]
    assert max(max(one.sigma) for one in found) < 0.4
    assert np.mean([squared_distance(one) < 5.99 for one in found]) >= 0.88
    assert all(one.chance() < SIGNIFICANCE for one in found)


def test_what_is_fixed_to_the_vehicle_is_not_taken_for_an_offset_of_the_map():
    found = estimate_map_offset(drive(1, offset=(0.0, 0.0), vehicle=(1.2, 0.8)))
    assert squared_distance(found, (0.0, 0.0)) < 9.2 and found.chance() > SIGNIFICANCE
    assert (found.forward, found.left) == pytest.approx((1.2, 0.8), abs=0.3)


def test_offset_and_vehicle_part_are_told_apart_when_both_are_there():
    found = estimate_map_offset(drive(2, vehicle=(-1.0, 0.6), outliers=0.0))
    assert squared_distance(found) < 9.2
    assert (found.forward, found.left) == pytest.approx((-1.0, 0.6), abs=0.3)


def test_no_offset_is_seldom_taken_for_one():
    found = [estimate_map_offset(drive(seed, offset=(0.0, 0.0))) for seed in range(25)]
    assert sum(one.chance() < SIGNIFICANCE for one in found) <= 1


def test_turning_the_map_turns_the_offset_and_its_ellipse():
    data, R = drive(3), np.array([[0.6, -0.8], [0.8, 0.6]])
    turned = dataclasses.replace(
        data,
        xy=data.xy @ R.T,
        yaw=data.yaw + np.arctan2(0.8, 0.6),
        covariance=R @ data.covariance @ R.T,
    )
    one, other = estimate_map_offset(data), estimate_map_offset(turned)
    assert (other.east, other.north) == pytest.approx(tuple(R @ (one.east, one.north)))
    np.testing.assert_allclose(other.covariance, R @ one.covariance @ R.T, rtol=1e-6)


def test_several_drives_count_together():
    one, two = drive(4), drive(5)
    both = Disagreements(
        np.repeat([0, 1], SAMPLES),
        *(np.concatenate([getattr(one, name), getattr(two, name)])
          for name in ("seconds", "xy", "yaw", "covariance")),
    )  # fmt: skip
    assert sum(estimate_map_offset(both).sigma) < sum(estimate_map_offset(one).sigma)


def first(data, count):
    return Disagreements(*(value[:count] for value in vars(data).values()))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (drive(0, headings=(0.4, 0.4, 0.4)), "headings are too much alike (1.00, limit 0.85)"),
        (first(drive(0), 99), "99 usable registrations, at least 100"),
        (first(drive(0), 140), "56 s of registrations, at least 60 s"),
    ],
)
def test_what_cannot_tell_an_offset_is_refused_in_words(data, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        estimate_map_offset(data)


def test_a_value_that_is_not_finite_is_refused_by_name():
    data = drive(0)
    data.yaw[7] = np.nan
    with pytest.raises(ValueError, match="Disagreements.yaw must be finite"):
        dataclasses.replace(data)
