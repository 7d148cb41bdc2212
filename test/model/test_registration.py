# SPDX-License-Identifier: Apache-2.0
"""What the places beside the peak add to a covariance."""

import math

import numpy as np
import pytest
import torch

from g2s_localizer.model import Registration, ScoreMap

TURNS = torch.arange(-3, 4) * math.radians(4.0)
CELL_M, SIDE = 1.0, 33


def registration(peaks, yaw=0.0):
    """At the middle of its map, with peaks (turn, row, column, probability) from there."""
    probability = torch.zeros(len(TURNS), SIDE, SIDE)
    for turn, row, column, share in peaks:
        probability[3 + turn, SIDE // 2 + row, SIDE // 2 + column] = share
    score_map = ScoreMap(probability.sum(dim=0).log(), CELL_M)
    zero = np.zeros((3, 3))
    return Registration(0.0, 0.0, yaw, zero, score_map, [], 1.0, 20.0, probability, TURNS)


def test_another_place_and_heading_adds_its_probability_times_its_squared_distance():
    found = registration([(0, 0, 0, 0.7), (3, -5, 10, 0.3)]).beyond()
    distance = np.array([10.0, 5.0, math.radians(12.0)])
    np.testing.assert_allclose(found, 0.3 * np.outer(distance, distance), rtol=1e-4, atol=1e-5)


def test_the_peak_itself_adds_nothing_but_its_turned_twin_does():
    at_peak = [(0, 0, 0, 0.5), (1, 1, 0, 0.5)]
    assert np.abs(registration(at_peak).beyond()).max() < 1e-9
    twin = registration(at_peak, yaw=math.radians(170.0)).beyond()
    assert twin[2, 2] == pytest.approx(math.radians(170.0) ** 2, rel=0.05)


def test_an_impossible_place_is_no_rival_and_its_probability_is_shared_out():
    found = registration([(0, 0, 0, 0.4), (0, 0, 8, 0.4), (0, 0, -10, 0.2)])
    possible = torch.ones(SIDE, SIDE, dtype=torch.bool)
    possible[:, : SIDE // 2] = False
    assert found.beyond(possible)[0, 0] == pytest.approx(0.5 * 8.0**2, rel=1e-3)
    assert np.abs(found.beyond(torch.zeros_like(possible))).max() == 0.0
