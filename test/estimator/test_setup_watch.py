# SPDX-License-Identifier: Apache-2.0
import math
import re

import numpy as np
import pytest

from g2s_localizer.estimator.estimate import Estimate, Observation, Prior, Rejection
from g2s_localizer.estimator.offset_watch import OffsetWatch
from g2s_localizer.estimator.picture_watch import PictureWatch
from g2s_localizer.estimator.prior import PriorBuffer
from g2s_localizer.estimator.setup_watch import SetupWatch
from g2s_localizer.estimator.turn_watch import TurnWatch
from g2s_localizer.geometry import Camera, LatLon, LocalFrame, Pose2D

FRAME = LocalFrame(LatLon(49.0, 8.4))
CAMERA = Camera(np.array([[50.0, 0, 48], [0, 50.0, 32], [0, 0, 1]]), 96, 64, np.zeros(5), np.eye(4))
TENTH = 100_000_000


def prior(k, x, sigma_m=1.0, yaw=0.0):
    covariance = np.diag([sigma_m**2, sigma_m**2, 0.0025])
    return Prior(k * TENTH, Pose2D(x, 0.0, yaw), covariance, FRAME)


def estimate(k, pose, before, rejection=None):
    return Estimate(k * TENTH, before, pose, np.eye(3), rejection)


def picture(k, x, seed, sigma_m=1.0):
    pixels = np.random.default_rng(seed).integers(0, 256, (64, 96, 3), np.uint8)
    return Observation(k * TENTH, pixels, CAMERA, prior(k, x, sigma_m))


def test_a_frozen_picture_is_refused_while_the_vehicle_moves():
    watch = PictureWatch()
    found = [watch.look(picture(k, 1.0 * k, seed=1)) for k in range(10)]
    assert found[1] is None and found[-1].rejection is Rejection.FROZEN_IMAGE
    assert "10 images in 0.9 s" in found[-1].sentence and "9 m" in found[-1].sentence


def test_a_standing_camera_may_see_the_same_for_ever():
    watch = PictureWatch()
    assert not any(watch.look(picture(k, 0.2 * (k % 2), seed=1)) for k in range(100))


def test_pictures_that_change_are_never_frozen():
    watch = PictureWatch()
    assert not any(watch.look(picture(k, 1.0 * k, seed=k)) for k in range(50))


def test_a_camera_that_moves_on_is_no_longer_frozen():
    watch = PictureWatch()
    for k in range(10):
        watch.look(picture(k, 1.0 * k, seed=1))
    assert watch.look(picture(10, 10.0, seed=2)) is None


def test_noise_of_the_fixes_is_no_motion():
    watch = PictureWatch()
    noise = np.random.default_rng(0).normal(0.0, 10.0, 50)
    found = [watch.look(picture(k, x, seed=1, sigma_m=10.0)) for k, x in enumerate(noise)]
    assert sum(one is not None for one in found) <= 12


def test_measured_motion_tells_a_frozen_picture_within_its_first_metres():
    watch = PictureWatch()
    found = [watch.look(picture(k, 0.0, 1, sigma_m=10.0), driven_m=1.0 * k) for k in range(6)]
    assert [one is not None for one in found] == [False] * 2 + [True] * 4


def test_pictures_that_merely_look_alike_need_a_longer_way():
    watch, found = PictureWatch(), []
    for k in range(6):
        one = picture(k, 0.0, 1, sigma_m=10.0)
        one.image[8 * (k % 2), 0] ^= 1
        found.append(watch.look(one, driven_m=1.0 * k))
    assert [one is not None for one in found] == [False] * 4 + [True] * 2


def test_a_vehicle_whose_odometry_stands_may_see_the_same_while_its_fixes_jump():
    watch = PictureWatch()
    found = [watch.look(picture(k, 50.0 * (k % 2), 1, 5.0), driven_m=0.0) for k in range(20)]
    assert not any(found)


@pytest.mark.parametrize("rejection", [None, Rejection.AT_BORDER, Rejection.INNOVATION])
def test_a_turn_that_stays_the_same_is_a_wrong_heading_with_the_value_to_set(rejection):
    watch = TurnWatch()
    for k in range(9):
        watch.add(estimate(k, Pose2D(0, 0, 0.244 + 0.01 * (k % 3)), prior(k, 0.0), rejection))
    finding = watch.finding(9 * TENTH)
    assert finding.rejection is Rejection.WRONG_HEADING
    assert "heading.offset +0.25" in finding.sentence


def test_a_wrong_heading_stays_one_until_images_say_the_contrary():
    watch = TurnWatch()

    def turned(first, last, turn):
        for k in range(first, last):
            watch.add(estimate(k, Pose2D(0, 0, turn), prior(k, 0.0)))
        return watch.finding(last * TENTH)

    assert turned(0, 9, 0.25) is not None
    assert watch.finding(400 * TENTH) is not None
    assert turned(400, 412, 0.1) is not None
    assert turned(412, 424, 0.01) is None


def test_turns_in_all_directions_or_of_images_that_match_nothing_say_nothing():
    for rejection, turns in ((None, (-0.3, 0.3)), (Rejection.NOT_HERE, (0.3, 0.3))):
        watch = TurnWatch()
        for k in range(12):
            watch.add(estimate(k, Pose2D(0, 0, turns[k % 2]), prior(k, 0.0), rejection))
        assert watch.finding(12 * TENTH) is None


def offsets(way_m, seconds, sigma_m, seed=0):
    watch, rng = OffsetWatch(), np.random.default_rng(seed)
    for k in range(seconds):
        x = way_m * k / seconds
        noise = rng.normal(0.0, sigma_m, 2)
        before = prior(10 * k, x)
        watch.add(estimate(10 * k, Pose2D(x + 4.0 + noise[0], -3.0 + noise[1], 0.0), before))
    return watch.finding()


def test_a_standing_offset_is_said_with_its_remedy_and_no_pose_withheld():
    finding = offsets(way_m=800.0, seconds=90, sigma_m=1.0)
    assert finding.rejection is None and "g2s-tiles offset" in finding.sentence
    said = [float(value) for value in re.findall(r"([+-][0-9.]+) m", finding.sentence)]
    assert said == pytest.approx([4.0, -3.0], abs=0.5)


def test_a_short_or_standing_drive_tells_no_offset():
    assert offsets(way_m=800.0, seconds=30, sigma_m=1.0) is None
    assert offsets(way_m=10.0, seconds=120, sigma_m=1.0) is None


def driven(read, seconds=6.0):
    """A SetupWatch after a straight drive at 10 m/s whose heading is read by `read`."""
    watch, priors = SetupWatch(), PriorBuffer(FRAME)
    for k in range(int(seconds * 10)):
        priors.add_heading(k * TENTH, read(0.3), 0.0009)
        place = FRAME.to_latlon(k * math.cos(0.3), k * math.sin(0.3))
        priors.add_fix(k * TENTH, place, np.eye(2))
        watch.follow(priors)
    return watch, priors.at((int(seconds * 10) - 1) * TENTH)


def look(watch, before, rejection=None):
    k = before.stamp_ns // TENTH
    seen = Observation(before.stamp_ns, picture(k, 0.0, seed=k).image, CAMERA, before)
    return watch.look(seen, estimate(k, before.pose, before, rejection))


def test_a_right_set_up_passes_and_its_heading_is_confirmed():
    watch, before = driven(lambda yaw: yaw)
    assert watch.judge(before).confirmed and look(watch, before).accepted


def test_a_heading_is_not_confirmed_before_the_vehicle_drives():
    watch, before = driven(lambda yaw: yaw, seconds=0.4)
    assert not watch.judge(before).confirmed


@pytest.mark.parametrize("turn", [math.pi, math.pi / 2, 0.5])
def test_no_pose_passes_a_heading_that_the_course_contradicts(turn):
    watch, before = driven(lambda yaw: yaw + turn)
    found = look(watch, before)
    assert found.rejection is Rejection.WRONG_HEADING and found.pose is not None
    assert found.warnings == (found.detail,)


def test_a_heading_made_of_the_fixes_is_not_compared_with_them():
    assert SetupWatch(heading=False).judge(prior(0, 0.0)).confirmed


def test_time_set_back_begins_the_watch_anew():
    watch, _ = driven(lambda yaw: yaw + math.pi)
    fresh = PriorBuffer(FRAME)
    fresh.add_heading(0, 0.3, 0.0009)
    fresh.add_fix(0, FRAME.datum, np.eye(2))
    fresh.add_fix(TENTH, FRAME.datum, np.eye(2))
    watch.follow(fresh)
    assert look(watch, prior(2, 0.0)).accepted
