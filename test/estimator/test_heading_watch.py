# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest

from g2s_localizer.estimator.estimate import Rejection
from g2s_localizer.estimator.heading_watch import HeadingWatch
from g2s_localizer.geometry.pose import wrap_angle
from g2s_localizer.tools.bags.gauss_markov import gauss_markov

SPEED = 10.0


def driven(read=lambda yaw: yaw, sigma_m=1.0, seconds=12.0, turn=0.0, seed=0, start_yaw=0.6):
    """A watch after a drive with fixes at 5 Hz and a heading at 20 Hz that is read by `read`."""
    watch = HeadingWatch()
    t = np.arange(0.0, seconds, 0.05)
    yaw = start_yaw + turn * t
    xy = np.cumsum(SPEED * 0.05 * np.stack([np.cos(yaw), np.sin(yaw)], axis=1), axis=0)
    rng = np.random.default_rng(seed)
    noise = np.stack([gauss_markov(t, sigma_m, 5.0, 3.0, rng) for _ in range(2)], axis=1)
    turned = gauss_markov(t, math.radians(2.0), 5.0, 2.0, rng)
    for i, time_s in enumerate(t):
        stamp = round(time_s * 1e9)
        watch.add_heading(stamp, wrap_angle(read(yaw[i] + turned[i])), math.radians(2.0))
        if i % 4 == 0:
            watch.add_fix(stamp, xy[i] + noise[i], sigma_m)
    return watch


@pytest.mark.parametrize("turn", [0.0, 0.15, -0.3])
@pytest.mark.parametrize("sigma_m", [0.02, 1.0, 10.0])
def test_a_right_heading_is_never_blamed(sigma_m, turn):
    for seed in range(6):
        assert driven(sigma_m=sigma_m, turn=turn, seconds=30.0, seed=seed).finding() is None


def test_a_right_heading_is_confirmed_by_driving_and_not_before():
    assert driven(seconds=8.0).confirmed
    assert not driven(seconds=0.5).confirmed


@pytest.mark.parametrize(
    ("read", "cause"),
    [
        (lambda yaw: yaw + math.pi, "mounted backwards"),
        (lambda yaw: yaw - math.pi / 2, "its zero is north"),
        (lambda yaw: math.pi / 2 - yaw, "NED"),
        (lambda yaw: -yaw, "clockwise from east"),
        (lambda yaw: 2.5, "no magnetometer"),
        (lambda yaw: yaw - math.radians(14.0), "declination"),
    ],
)
def test_a_wrong_heading_is_refused_with_its_likely_cause(read, cause):
    finding = driven(read, turn=0.05).finding()
    assert finding is not None and finding.rejection is Rejection.WRONG_HEADING
    assert cause in finding.sentence


def test_a_declination_left_out_is_named_with_the_value_to_set():
    sentence = driven(lambda yaw: yaw - 0.25).finding().sentence
    assert float(sentence.split("heading.offset ")[1].split(")")[0]) == pytest.approx(0.25, abs=0.1)


def test_a_heading_turned_round_is_named_within_five_seconds_on_a_poor_receiver():
    named = [
        driven(lambda yaw: yaw + math.pi, sigma_m=10.0, seconds=5.6, seed=seed).finding(True)
        for seed in range(20)
    ]
    assert sum(finding is not None for finding in named) >= 15


def test_a_declination_shows_within_five_seconds_where_the_fixes_wander_slowly():
    watch = HeadingWatch()
    for k in range(26):
        watch.add_heading(k * 200_000_000, 0.244, 0.03)
        watch.add_fix(k * 200_000_000, (SPEED * 0.2 * k, 0.05 * k), 5.0)
    assert "declination" in watch.finding().sentence


@pytest.mark.parametrize("seed", range(5))
def test_a_standing_vehicle_says_nothing_about_its_heading(seed):
    watch, rng = HeadingWatch(), np.random.default_rng(seed)
    for k in range(120):
        watch.add_heading(k * 10**9, 1.0, 0.03)
        watch.add_fix(k * 10**9, rng.normal(0.0, 5.0, 2), 5.0)
        assert watch.finding() is None


def test_a_heading_that_goes_wrong_after_a_minute_is_seen():
    watch, x = HeadingWatch(), 0.0
    for k in range(80):
        x += SPEED
        watch.add_heading(k * 10**9, 0.0 if k < 65 else math.pi / 2, 0.03)
        watch.add_fix(k * 10**9, (x, 0.0), 1.0)
    assert watch.finding() is not None


def test_a_gap_in_the_fixes_joins_no_two_stretches():
    watch = HeadingWatch()
    for second, x in ((0, 0.0), (1, 10.0), (60, -500.0), (61, -490.0)):
        watch.add_heading(second * 10**9, 0.0, 0.03)
        watch.add_fix(second * 10**9, (x, 0.0), 1.0)
    assert watch.finding() is None
