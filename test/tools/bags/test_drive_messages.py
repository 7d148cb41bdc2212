# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest

from g2s_localizer.kitti import dead_reckon

LAP = np.linspace(0.0, 60.0, 601)


def test_a_constant_speed_and_turn_rate_drive_a_circle():
    turn = np.full_like(LAP, 2.0 * math.pi / 60.0)
    path = dead_reckon(LAP, np.full_like(LAP, 5.0), np.zeros_like(LAP), turn)
    diameter = 5.0 * 60.0 / math.pi
    assert path[-1] == pytest.approx([0.0, 0.0, 2.0 * math.pi], abs=1e-6)
    assert path[300, :2] == pytest.approx([0.0, diameter], rel=1e-3, abs=1e-6)


def test_a_sideways_speed_moves_to_the_left():
    still = np.zeros_like(LAP)
    path = dead_reckon(LAP, still, np.full_like(LAP, 0.5), still)
    assert path[-1] == pytest.approx([0.0, 30.0, 0.0])


def test_the_path_does_not_depend_on_how_densely_it_was_recorded():
    speed = 3.0 + np.sin(LAP)
    turn = 0.1 * np.cos(LAP / 3.0)
    dense = dead_reckon(LAP, speed, 0 * LAP, turn)
    sparse = dead_reckon(LAP[::2], speed[::2], 0 * LAP[::2], turn[::2])
    assert sparse[-1] == pytest.approx(dense[-1], abs=0.02)
