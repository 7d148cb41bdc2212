# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest

from g2s_localizer.geometry import Pose2D
from training.score.metrics import (
    coverage,
    squared_mahalanobis,
    summarise,
    vehicle_errors,
    yaw_coverage,
)

NORTHBOUND = Pose2D(10.0, 20.0, math.pi / 2)


def test_a_shift_across_the_heading_is_lateral_and_one_along_it_longitudinal():
    west, north = Pose2D(8.0, 20.0, math.pi / 2), Pose2D(10.0, 23.0, math.pi / 2)
    errors = vehicle_errors([west, north], [NORTHBOUND, NORTHBOUND])
    np.testing.assert_allclose(errors, [[0, 2, 0], [3, 0, 0]], atol=1e-12)


def test_the_axes_are_those_of_the_true_heading_not_of_the_estimated_one():
    turned = Pose2D(8.0, 20.0, math.pi / 2 + 0.5)
    np.testing.assert_allclose(vehicle_errors([turned], [NORTHBOUND]), [[0, 2, 0.5]], atol=1e-12)


def test_a_two_sigma_error_has_a_squared_distance_of_four():
    covariance = np.diag([0.25, 4.0, 0.1])
    estimates = [Pose2D(11.0, 20.0, 0), Pose2D(10.0, 24.0, 0)]
    nees = squared_mahalanobis(estimates, [covariance] * 2, [NORTHBOUND] * 2)
    np.testing.assert_allclose(nees, [4.0, 4.0])


def test_honest_gaussian_errors_are_covered_as_promised():
    rng = np.random.default_rng(0)
    nees = (rng.standard_normal((100_000, 2)) ** 2).sum(axis=1)
    for share in (0.5, 0.9, 0.95, 0.99):
        assert coverage(nees, share) == pytest.approx(share, abs=0.005)


def test_an_interval_of_heading_holds_what_lies_within_its_deviations():
    errors = np.array([[9.0, 9.0, yaw] for yaw in (0.0, -0.006, 0.012, 0.02, -0.03)])
    covariances = np.array([np.diag([1.0, 1.0, 0.01**2])] * 5)
    # 0.674, 1.645 and 2.576 standard deviations
    found = [yaw_coverage(errors, covariances, share) for share in (0.5, 0.9, 0.99)]
    assert found == [0.4, 0.6, 0.8]


@pytest.mark.parametrize("heading_deg", [0.0, 37.0, 90.0, 180.0, -135.0])
def test_a_hand_made_lateral_shift_is_reported_as_lateral_at_any_heading(heading_deg):
    heading = math.radians(heading_deg)
    left = math.cos(heading + math.pi / 2), math.sin(heading + math.pi / 2)
    ahead = math.cos(heading), math.sin(heading)
    truth = Pose2D(100.0, -50.0, heading)

    def figures(direction):
        moved = Pose2D(100.0 + 2 * direction[0], -50.0 + 2 * direction[1], heading + 0.2)
        return summarise(vehicle_errors([moved] * 3, [truth] * 3), np.ones(3))

    for direction, axis, other in ((left, "lateral", "longitudinal"),
                                   (ahead, "longitudinal", "lateral")):  # fmt: skip
        found = figures(direction)
        assert found[f"offset_{axis}_m"] == pytest.approx(2.0)
        assert found[f"offset_{other}_m"] == pytest.approx(0.0, abs=1e-9)
        assert (found[f"{axis}_within_1m"], found[f"{axis}_within_3m"]) == (0.0, 1.0)
        assert found[f"{other}_within_1m"] == 1.0


def test_the_table_by_hand():
    errors = np.array([[0.5, 3.0, 0.0], [-4.0, 0.0, math.radians(2)], [0.0, 1.0, math.radians(-1)]])
    table = summarise(errors, np.array([2.0, 2.0, 2.0]))
    assert table["median_m"] == pytest.approx(math.hypot(0.5, 3.0))
    assert table["lateral_within_1m"] == pytest.approx(2 / 3)
    assert table["longitudinal_within_1m"] == pytest.approx(2 / 3)
    assert table["yaw_median_deg"] == pytest.approx(1.0)
    assert table["yaw_mean_deg"] == pytest.approx(1.0)
    assert (table["lateral_within_3m"], table["longitudinal_within_3m"]) == (1.0, 2 / 3)
    assert (table["yaw_within_1deg"], table["yaw_within_3deg"]) == (2 / 3, 1.0)
    assert table["mean_m"] == pytest.approx((math.hypot(0.5, 3.0) + 4.0 + 1.0) / 3)
    assert table["anees"] == pytest.approx(1.0)
    assert (table["offset_longitudinal_m"], table["offset_lateral_m"]) == (0.0, 1.0)


def test_no_frame_at_all_gives_no_figure():
    assert all(math.isnan(value) for value in summarise(np.zeros((0, 3)), np.zeros(0)).values())
