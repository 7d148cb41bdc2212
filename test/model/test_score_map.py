# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from g2s_localizer.model.score_map import ScoreMap


def gaussian_map(peaks, cell_m=0.5, cells=81) -> ScoreMap:
    """A mixture of round peaks (x, y, sigma, share), metres east and north of the centre."""
    flat = ScoreMap(torch.zeros(cells, cells), cell_m)
    xy = flat.cell_xy()
    density = sum(
        share / sigma**2 * torch.exp(-((xy - torch.tensor([x, y])) ** 2).sum(-1) / (2 * sigma**2))
        for x, y, sigma, share in peaks
    )
    return ScoreMap.from_scores(torch.log(density + 1e-30), 1.0, cell_m)


def test_probabilities_sum_to_one():
    score_map = ScoreMap.from_scores(torch.randn(9, 7), 3.0, 0.5)
    assert score_map.log_probability.exp().sum().item() == pytest.approx(1.0, abs=1e-5)


def test_a_peak_is_found_between_cells():
    mode = gaussian_map([(3.2, -4.7, 0.8, 1.0)]).modes(1, radius_m=4.0)[0]
    torch.testing.assert_close(mode.xy, torch.tensor([3.2, -4.7]), atol=0.01, rtol=0)
    expected = torch.eye(2) * (0.8**2 + 0.5**2 / 12)
    torch.testing.assert_close(mode.covariance, expected, atol=0.02, rtol=0)
    assert mode.mass == pytest.approx(1.0, abs=1e-3)


def test_two_peaks_are_two_modes_with_their_shares():
    score_map = gaussian_map([(-8.0, 6.0, 0.8, 0.6), (7.0, 5.0, 0.8, 0.4)])
    first, second = score_map.modes(2, radius_m=4.0)
    assert (first.mass, second.mass) == pytest.approx((0.6, 0.4), abs=0.01)


def test_a_flat_map_has_entropy_one_and_a_sharp_one_near_zero():
    assert ScoreMap.from_scores(torch.zeros(20, 20), 1.0, 0.5).entropy == pytest.approx(1.0)
    assert gaussian_map([(0.0, 0.0, 0.05, 1.0)]).entropy < 0.01


def test_a_peak_at_the_edge_says_so():
    scores = torch.zeros(11, 11)
    scores[0, 5] = 50.0
    assert ScoreMap.from_scores(scores, 1.0, 1.0).modes(1, 2.0)[0].border_cells == 0


def test_north_is_up_and_east_is_right():
    scores = torch.zeros(11, 11)
    scores[2, 9] = 50.0
    mode = ScoreMap.from_scores(scores, 1.0, 0.5).modes(1, 0.4)[0]
    torch.testing.assert_close(mode.xy, torch.tensor([2.0, 1.5]), atol=1e-4, rtol=0)


def test_a_higher_temperature_sharpens_the_map():
    scores = torch.rand(15, 15)
    entropies = [ScoreMap.from_scores(scores, t, 0.5).entropy for t in (1.0, 10.0, 100.0)]
    assert entropies == sorted(entropies, reverse=True)
    assert not math.isclose(entropies[0], entropies[2])


def test_a_broad_peak_comes_before_a_higher_narrow_one_of_less_mass():
    score_map = gaussian_map([(-8.0, 6.0, 0.3, 0.3), (7.0, 5.0, 1.5, 0.7)])
    first, second = score_map.modes(2, radius_m=4.0)
    assert first.xy[0] > 0 > second.xy[0]
