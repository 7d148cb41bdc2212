# SPDX-License-Identifier: Apache-2.0
"""Does a confidence tell right from wrong, is it honest, and how sure are we of that."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.score.confidence import (
    auroc,
    bootstrap,
    confidence_figures,
    expected_calibration_error,
    gross_share,
)

answers = st.lists(st.tuples(st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]), st.booleans()), min_size=1)


@given(answers)
def test_auroc_is_the_share_of_pairs_in_order_ties_counting_half(pairs):
    right, wrong = ([c for c, ok in pairs if ok is kind] for kind in (True, False))
    won = [0.5 * ((a > b) + (a >= b)) for a in right for b in wrong]
    found = auroc(*zip(*pairs, strict=True))
    assert found == pytest.approx(np.mean(won)) if won else math.isnan(found)


def test_calibration_error_is_naught_of_an_honest_forecast_and_the_excess_of_a_bold_one():
    rng = np.random.default_rng(0)
    share = rng.uniform(0.0, 0.8, 200_000)
    right = rng.uniform(size=share.size) < share
    assert expected_calibration_error(share, right) < 0.005
    assert expected_calibration_error(share + 0.15, right) == pytest.approx(0.15, abs=0.005)
    assert expected_calibration_error([1.0, 1.0], [True, False]) == 0.5


def test_gross_errors_are_counted_among_the_most_confident():
    confidence, errors = np.arange(10) / 10.0, np.array([50.0, 50.0, 1, 1, 1, 1, 1, 1, 1, 11.0])
    assert gross_share(confidence, errors, 0.9) == pytest.approx(2 / 9)
    assert gross_share(confidence, errors, 0.8) == pytest.approx(1 / 8)
    assert gross_share(confidence, errors, 0.1) == 1.0


@given(answers, st.floats(0.05, 1.0), st.randoms())
def test_the_order_of_equally_confident_answers_says_nothing(pairs, kept, random):
    def share(some):
        return gross_share([c for c, _ in some], [1.0 if ok else 20.0 for _, ok in some], kept)

    shuffled = random.sample(pairs, len(pairs))
    assert share(pairs) == pytest.approx(share(shuffled))
    if len({c for c, _ in pairs}) == 1:
        assert share(pairs) == pytest.approx(np.mean([not ok for _, ok in pairs]))


def test_published_and_wrong_is_a_share_of_all_frames():
    errors, published = np.array([1.0, 6.0, 6.0, 9.0]), np.array([True, True, False, False])
    assert confidence_figures(np.ones(4), errors, published)["published_wrong_5m"] == 0.25


def test_an_interval_is_that_of_places_not_of_frames():
    rng = np.random.default_rng(1)
    values = np.repeat(rng.normal(size=100), 9)

    def width(places):
        low, high = bootstrap(places, lambda some: {"mean": values[some].mean()})["mean"]
        return high - low

    # 1.645 deviations to each side
    assert width(np.repeat(np.arange(100), 9)) == pytest.approx(0.329 * values.std(), rel=0.1)
    assert width(np.arange(900)) == pytest.approx(0.329 * values.std() / 3.0, rel=0.1)


def test_one_place_has_no_interval():
    assert all(map(math.isnan, bootstrap(np.zeros(9), lambda some: {"n": 1.0})["n"]))
