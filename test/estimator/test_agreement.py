# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest

from g2s_localizer.estimator.agreement import AGREEING, DISAGREEING, Agreement
from g2s_localizer.estimator.estimate import Prior
from g2s_localizer.geometry import LatLon, LocalFrame, Pose2D

FRAME = LocalFrame(LatLon(49.0, 8.4))
TENTH = 100_000_000


def evidence(poses, yaws=None, agreement=None, start=0, frame=FRAME):
    """Evidence of poses found every tenth of a second; yaws of the priors, else those found."""
    agreement = agreement or Agreement()
    yaws = [pose.yaw for pose in poses] if yaws is None else yaws
    covariance = np.diag([100.0, 100.0, 0.003])
    return [
        agreement.evidence(
            Prior((start + k) * TENTH, Pose2D(0.0, 0.0, yaw), covariance, frame), pose
        )
        for k, (pose, yaw) in enumerate(zip(poses, yaws, strict=True), start=1)
    ]


def drive(count, speed=10.0, turn=0.0, noise=0.3, seed=0):
    """Poses of an arc (turn in rad/s), found with an error of `noise` metres per axis."""
    rng, x, y, yaw, poses = np.random.default_rng(seed), 0.0, 0.0, 0.4, []
    for _ in range(count):
        x, y = x + 0.1 * speed * math.cos(yaw), y + 0.1 * speed * math.sin(yaw)
        yaw += 0.1 * turn
        poses.append(Pose2D(x + rng.normal(0, noise), y + rng.normal(0, noise), yaw))
    return poses


@pytest.mark.parametrize("turn", [0.0, 0.3])
@pytest.mark.parametrize("speed", [6.0, 10.0, 30.0])
def test_poses_of_a_driving_vehicle_agree(speed, turn):
    assert np.mean(evidence(drive(60, speed, turn))[20:]) > 0.8 * AGREEING


def test_poses_all_over_the_crop_disagree():
    rng = np.random.default_rng(1)
    poses = [Pose2D(*rng.uniform(-15, 15, 2), rng.normal(0.4, 0.05)) for _ in range(60)]
    assert np.mean(evidence(poses)[20:]) < 0.7 * DISAGREEING


def test_one_wrong_pose_among_right_ones_disagrees():
    poses = drive(40)
    poses[30] = Pose2D(poses[30].x + 8.0, poses[30].y + 3.0, poses[30].yaw)
    found = evidence(poses)
    assert found[30] < 0.0 < found[29] and found[31] > 0.0


def test_the_first_poses_and_those_of_a_standing_vehicle_say_nothing():
    assert evidence(drive(5)) == [0.0] * 5
    assert evidence(drive(60, speed=0.0, noise=0.1)) == [0.0] * 60


def test_a_vehicle_that_brakes_still_agrees():
    x, speed, poses = 0.0, 20.0, []
    for _ in range(60):
        speed = max(speed - 0.3, 3.0)
        x += 0.1 * speed
        poses.append(Pose2D(x, 0.0, 0.0))
    assert np.mean(evidence(poses)[20:40]) > 0.3


def test_after_a_wrong_speed_the_right_one_is_found_again():
    agreement = Agreement()
    evidence(drive(30, speed=30.0), agreement=agreement)
    later = evidence(drive(60, speed=10.0), agreement=agreement, start=30)
    assert np.mean(later[50:]) > 0.8 * AGREEING


def test_poses_of_another_datum_or_after_a_pause_are_not_compared():
    for start, frame in ((30, LocalFrame(LatLon(48.0, 9.0))), (90, FRAME)):
        agreement = Agreement()
        evidence(drive(30), agreement=agreement)
        assert evidence(drive(3, seed=5), None, agreement, start, frame) == [0.0] * 3
