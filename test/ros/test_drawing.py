# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from g2s_localizer.estimator.estimate import Estimate, Prior, Rejection, ScoreGrid
from g2s_localizer.geometry import LatLon, LocalFrame, Pose2D
from g2s_localizer.imagery.crop import SatelliteCrop
from g2s_localizer.ros.drawing import (
    ACCEPTED_COLOUR,
    PRIOR_COLOUR,
    REJECTED_COLOUR,
    draw_overlay,
    draw_score_map,
)

FRAME = LocalFrame(LatLon(49.0, 8.4))
CROP = SatelliteCrop(np.full((160, 160, 3), 90, np.uint8), FRAME.to_latlon(100, 50), 0.5, "© City")
PRIOR = Prior(0, Pose2D(95, 45, 0.5), np.diag([25.0, 25.0, 0.01]), FRAME)


def overlay(**changes):
    fields = {"pose": Pose2D(110, 60, 0.5), "covariance": np.diag([1.0, 1.0, 0.01])}
    return draw_overlay(Estimate(0, PRIOR, **(fields | changes)), CROP)


def middle_of(picture, colour):
    rows, columns = np.nonzero((picture == colour).all(axis=2))
    return columns.mean(), rows.mean()


def test_the_score_map_shows_the_best_cell_white_and_impossible_ones_black():
    grid = ScoreGrid(np.array([[-1.0, -1.7], [-np.inf, -9.0]], np.float32), 0.5, Pose2D(0, 0, 0))
    np.testing.assert_array_equal(draw_score_map(grid), [[255, 127], [0, 0]])


def test_prior_and_pose_are_drawn_where_they_are():
    picture = overlay()
    assert picture.shape == (640, 640, 3)
    # 8 pixels a metre, north up: the prior 5 m west and south of the middle.
    assert middle_of(picture, PRIOR_COLOUR) == pytest.approx((280, 360), abs=25)
    assert middle_of(picture, ACCEPTED_COLOUR) == pytest.approx((400, 240), abs=25)


def test_a_rejected_pose_is_drawn_in_another_colour():
    picture = overlay(rejection=Rejection.WIDE_ELLIPSE)
    assert not (picture == ACCEPTED_COLOUR).all(axis=2).any()
    assert (picture == REJECTED_COLOUR).all(axis=2).any()


def test_the_attribution_stands_in_the_picture():
    bottom = overlay(pose=None, covariance=None, rejection=Rejection.FLAT_SCORE)[-24:]
    assert (bottom[:, :80] > 180).all(axis=2).sum() > 20


def test_a_pose_far_outside_the_crop_does_not_disturb_the_drawing():
    assert overlay(pose=Pose2D(1e9, -1e9, 0.0)).shape == (640, 640, 3)
