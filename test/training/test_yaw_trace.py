# SPDX-License-Identifier: Apache-2.0
"""The two ways of resampling that the experiment compares show the same picture."""

import itertools

import cv2
import numpy as np
import pytest
import torch

from training.yaw_trace import RANGE_DEG, SHIFT_PX, SIDE, median_error_deg, turned


def scene():
    noise = np.random.default_rng(0).uniform(0, 255, (32, 32)).astype(np.float32)
    return np.clip(cv2.resize(noise, (256, 256), interpolation=cv2.INTER_CUBIC), 0, 255).astype(
        np.uint8
    )


def test_both_ways_turn_and_move_alike():
    three, one = (
        turned(scene(), 40.0, (7.0, -12.0), 6.0, way).astype(float)
        for way in ("three nearest", "one bilinear")
    )
    assert three.shape == one.shape == (SIDE, SIDE)
    elsewhere = turned(scene(), 40.0, (7.0, -12.0), -6.0, "one bilinear").astype(float)
    assert np.abs(three - one).mean() < 0.25 * np.abs(three - elsewhere).mean()


@pytest.mark.parametrize("way", ["three nearest", "one bilinear"])
def test_grey_stays_grey_however_far_it_is_turned_and_moved(way):
    grey = np.full((256, 256), 90, np.uint8)
    for first in range(0, 360, 15):
        for shift in itertools.product((-SHIFT_PX, SHIFT_PX), repeat=2):
            assert (turned(grey, first, shift, RANGE_DEG, way) == 90).all()


def test_a_reader_learns_an_angle_that_is_plain_to_see():
    def grey(count, seed):
        angles = torch.rand(count, generator=torch.Generator().manual_seed(seed)) * 2 - 1
        return angles[:, None, None, None].expand(count, 1, SIDE, SIDE) * 1.0, angles

    assert median_error_deg(grey(64, 0), grey(32, 1), 40, 0) < 3.0
