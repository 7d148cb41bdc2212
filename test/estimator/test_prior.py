# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
from rosbags.highlevel import AnyReader

from g2s_localizer.estimator.estimate import Prior, Rejection
from g2s_localizer.estimator.prior import PriorBuffer
from g2s_localizer.estimator.series import MAX_SAMPLES, Motion
from g2s_localizer.geometry import LatLon, LocalFrame
from g2s_localizer.geometry.mounting import matrix_from_rpy
from g2s_localizer.geometry.pose import rotation, wrap_angle
from g2s_localizer.messages import stamp_ns
from g2s_localizer.motion_messages import fix_from_message, heading_from_imu

FRAME = LocalFrame(LatLon(49.01, 8.43))
FIX_COVARIANCE = np.diag([4.0, 9.0])
SECOND = 1_000_000_000


def filled(times, position, yaw=lambda t: 0.3, **options):
    """A buffer with a fix and a heading at each time (s); position(t) -> (x, y) of the antenna."""
    buffer = PriorBuffer(FRAME, **options)
    for t in times:
        add(buffer, t, position(t), yaw(t))
    return buffer


def add(buffer, t, xy, yaw=0.3):
    stamp = round(t * SECOND)
    buffer.add_fix(stamp, FRAME.to_latlon(*xy), FIX_COVARIANCE)
    buffer.add_heading(stamp, yaw, 1e-4)


def at(buffer, t) -> Prior:
    prior = buffer.at(round(t * SECOND))
    assert isinstance(prior, Prior), prior
    return prior


def along_a_line(t):
    return 14.0 * t - 3.0, 5.0 - 2.0 * t


@pytest.mark.parametrize("t", [-0.3, 0.0, 0.13, 0.5, 1.0, 1.77, 2.0, 2.4])
def test_motion_on_a_straight_line_is_met_exactly(t):
    prior = at(filled(np.arange(0, 2.1, 0.5), along_a_line), t)
    assert (prior.pose.x, prior.pose.y) == pytest.approx(along_a_line(t), abs=1e-6)
    assert prior.stamp_ns == round(t * SECOND)


def test_yaw_takes_the_shorter_arc():
    buffer = filled([0.0], along_a_line, lambda t: math.radians(170))
    add(buffer, 1.0, along_a_line(1.0), math.radians(-170))
    assert abs(wrap_angle(at(buffer, 0.5).pose.yaw - math.pi)) < 1e-5


def test_between_fixes_the_covariance_never_shrinks_below_theirs():
    buffer = filled([0.0, 1.0], along_a_line)
    for t in np.linspace(0, 1, 11):
        excess = at(buffer, t).covariance[:2, :2] - FIX_COVARIANCE
        assert np.linalg.eigvalsh(excess)[0] > -1e-9


def test_past_the_newest_fix_the_covariance_grows_with_age():
    buffer = filled(np.arange(0, 3.0, 0.1), along_a_line)
    traces = [np.trace(at(buffer, 2.9 + age).covariance) for age in (0.0, 0.2, 0.5, 1.0)]
    assert traces == sorted(traces) and traces[-1] > 1.5 * traces[0]


COARSE = 100.0 * np.eye(2)


@pytest.mark.parametrize("age", [0.2, 0.7, 1.2])
def test_past_a_coarse_fix_at_1_hz_the_covariance_is_the_fixes_own_plus_motion(age):
    buffer = PriorBuffer(FRAME)
    for t in range(5):
        buffer.add_fix(t * SECOND, FRAME.to_latlon(*along_a_line(t)), COARSE)
    buffer.add_heading(4 * SECOND, 0.3, 1e-4)
    bend = 0.5 * 2.0 * age * (age + 1.0)
    assert 100.0 <= at(buffer, 4 + age).covariance[0, 0] < 110.0 + bend**2


def test_the_covariance_has_no_step_at_the_newest_fix():
    buffer = filled(np.arange(0, 3.0), along_a_line)
    around = [at(buffer, 2.0 + e).covariance[:2, :2] for e in (-1e-6, 0.0, 1e-6)]
    for one in around:
        np.testing.assert_allclose(one, FIX_COVARIANCE, rtol=1e-4, atol=1e-3)


def circle(t, speed=10.0, rate=0.5):
    """x, y (m) and yaw on a left turn."""
    radius, yaw = speed / rate, rate * t
    return radius * math.sin(yaw), radius * (1 - math.cos(yaw)), yaw


def turning(times, offset=(0.0, 0.0), motion_until=math.inf):
    """Fixes of an antenna and headings at `times`, motion at 50 Hz, on `circle`."""
    buffer = PriorBuffer(FRAME, antenna_offset_xy=offset)
    for t in times:
        x, y, yaw = circle(t)
        add(buffer, t, np.array([x, y]) + rotation(yaw) @ offset, yaw)
    for t in np.arange(0, min(times[-1] + 1.2, motion_until), 0.02):
        buffer.add_motion(Motion(round(t * SECOND), 10.0, 0.0, 0.5, 0.01, 1e-4))
    return buffer


@pytest.mark.parametrize("offset", [(0.0, 0.0), (1.5, -0.4)])
def test_past_the_newest_fix_a_turn_is_followed_by_speed_and_turn_rate(offset):
    pose = at(turning([0.0, 1.0, 2.0], offset), 3.1).pose
    assert (pose.x, pose.y, pose.yaw) == pytest.approx(circle(3.1), abs=0.01)


def test_with_motion_one_fix_suffices_and_the_covariance_grows_little():
    prior = at(turning([0.0]), 1.0)
    assert (prior.pose.x, prior.pose.y) == pytest.approx(circle(1.0)[:2], abs=0.01)
    assert np.trace(prior.covariance[:2, :2]) < np.trace(FIX_COVARIANCE) + 0.1


def test_motion_that_ends_before_the_image_is_not_used():
    x, y, _ = circle(3.1)
    pose = at(turning([0.0, 1.0, 2.0], motion_until=2.3), 3.1).pose
    assert math.hypot(pose.x - x, pose.y - y) > 1.0


def test_a_course_is_a_heading_while_driving_and_none_when_slow():
    fast, slow = (PriorBuffer(FRAME, headings="course") for _ in range(2))
    for t in range(4):
        fast.add_fix(t * SECOND, FRAME.to_latlon(-8.0 * t, 0.0), np.eye(2))
        slow.add_fix(t * SECOND, FRAME.to_latlon(-0.8 * t, 0.0), np.eye(2))
    prior = at(fast, 3.0)
    assert abs(wrap_angle(prior.pose.yaw - math.pi)) < 1e-6
    assert 0.1 < math.sqrt(prior.covariance[2, 2]) < 0.3
    assert slow.at(3 * SECOND)[1].startswith("no heading yet: the vehicle has not driven")


def test_a_vehicle_that_backs_up_has_the_opposite_of_its_course():
    buffer = PriorBuffer(FRAME, headings="course")
    for t in range(4):
        buffer.add_motion(Motion(round((t - 0.3) * SECOND), -8.0, 0.0, 0.0, 0.01, 1e-4))
        buffer.add_motion(Motion(t * SECOND, -8.0, 0.0, 0.0, 0.01, 1e-4))
        buffer.add_fix(t * SECOND + 1, FRAME.to_latlon(-8.0 * t, 0.0), np.eye(2))
    assert at(buffer, 3.0).pose.yaw == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("lat", [49.01, -33.9, 0.0])
def test_a_yaw_from_true_north_is_turned_into_the_plane_of_the_datum(lat):
    frame = LocalFrame(LatLon(lat, 8.43))
    place = LatLon(lat, 8.43 + 0.28)
    ahead = LatLon(lat + 0.001, place.lon)
    buffer = PriorBuffer(frame)
    buffer.add_fix(0, place, np.eye(2))
    buffer.add_heading(0, math.pi / 2, 1e-4)
    step = np.subtract(frame.to_xy(ahead), frame.to_xy(place))
    assert at(buffer, 0.0).pose.yaw == pytest.approx(math.atan2(step[1], step[0]), abs=2e-5)


def test_spinning_in_place_moves_the_antenna_but_not_the_base():
    offset = np.array([0.8, -0.3])
    buffer = filled(
        np.arange(0, 10, 0.1),
        lambda t: rotation(0.6 * t) @ offset + (20.0, 7.0),
        lambda t: wrap_angle(0.6 * t),
        antenna_offset_xy=tuple(offset),
    )
    for t in np.arange(0, 9.8, 0.037):
        pose = at(buffer, t).pose
        assert math.hypot(pose.x - 20.0, pose.y - 7.0) < 1e-3


def test_a_lever_arm_turns_heading_noise_into_position_noise_across_it():
    buffer = PriorBuffer(FRAME, antenna_offset_xy=(10.0, 0.0))
    buffer.add_fix(0, FRAME.datum, 1e-6 * np.eye(2))
    buffer.add_heading(0, 0.0, 0.01)
    covariance = at(buffer, 0.0).covariance
    assert covariance[1, 1] == pytest.approx(10.0**2 * 0.01, rel=1e-3)
    assert covariance[0, 0] == pytest.approx(1e-6, rel=1e-3)


def test_without_a_frame_the_first_of_two_fixes_is_the_datum_and_survives_a_reset():
    buffer = PriorBuffer(None)
    buffer.add_fix(0, LatLon(-33.9, 18.4), FIX_COVARIANCE)
    assert buffer.frame is None
    buffer.add_fix(SECOND, LatLon(-33.90001, 18.4), FIX_COVARIANCE)
    buffer.reset()
    buffer.add_fix(0, LatLon(-33.8, 18.5), FIX_COVARIANCE)
    assert buffer.frame is not None and buffer.frame.datum == LatLon(-33.9, 18.4)


def test_a_prior_settles_when_two_fixes_and_a_heading_reach_past_the_image():
    buffer = filled([0.0], along_a_line)
    assert buffer.is_settled(0) and not buffer.is_settled(-1) and not buffer.is_settled(1)
    buffer.add_fix(SECOND, FRAME.datum, FIX_COVARIANCE)
    assert buffer.is_settled(-1) and not buffer.is_settled(1)
    buffer.add_heading(SECOND, 0.3, 1e-4)
    assert buffer.is_settled(1) and buffer.is_settled(SECOND)


@pytest.mark.parametrize("what", ["nothing", "fix", "heading"])
def test_without_both_a_fix_and_a_heading_there_is_no_prior(what):
    buffer = PriorBuffer(FRAME)
    if what == "fix":
        buffer.add_fix(0, FRAME.datum, FIX_COVARIANCE)
    if what == "heading":
        buffer.add_heading(0, 0.0, 0.01)
    rejection, detail = buffer.at(0)
    assert rejection is Rejection.NO_PRIOR
    assert detail == ("no heading yet" if what == "fix" else "no GNSS fix yet")


@pytest.mark.parametrize(
    ("times", "t", "detail"),
    [
        ([10.0, 10.5], 8.7, "oldest heading kept is 1.300 s newer than the image, limit 1.2 s"),
        ([0.0, 3.0], 1.5, "gap of 3.000 s"),
        ([0.0, 0.5], 2.0, "1.500 s older than the image, limit 1.2 s"),
        ([0.0], 0.1, "only one fix, 0.100 s from the image"),
    ],
)
def test_too_far_in_time_is_a_stale_prior_that_names_the_distance(times, t, detail):
    rejection, seen = filled(times, along_a_line).at(round(t * SECOND))
    assert rejection is Rejection.STALE_PRIOR
    assert detail in seen


@pytest.mark.parametrize(
    ("before", "after", "resets", "odd"),
    [
        pytest.param(np.arange(100.0, 110.0), (5.0, 5.5), 1, None, id="backward jump"),
        pytest.param([5000.0], (100.0, 100.5, 101.0), 0, None, id="bad first stamp"),
        pytest.param([100.0, 100.5], (200.0, 200.5), 0, 0, id="long pause"),
    ],
)
def test_two_samples_that_agree_on_another_time_are_followed(before, after, resets, odd):
    buffer = filled(before, along_a_line)
    for t in after:
        add(buffer, t, along_a_line(t))
    assert buffer.resets == resets and odd in (None, len(buffer.take_odd()))
    assert at(buffer, after[-1] - 0.3).pose.x == pytest.approx(along_a_line(after[-1] - 0.3)[0])


@pytest.mark.parametrize("off", [-3600.0, -5.0, 5.0, 3600.0])
def test_a_single_bad_stamp_is_named_and_empties_nothing(off):
    buffer = filled(np.arange(100.0, 104.0, 0.5), along_a_line)
    add(buffer, 103.7 + off, (0.0, 0.0))
    for t in (104.0, 104.5):
        add(buffer, t, along_a_line(t))
    assert buffer.resets == 0 and buffer.newest_fix_ns == 104.5 * SECOND
    assert at(buffer, 103.25).pose.x == pytest.approx(along_a_line(103.25)[0])
    assert at(buffer, 104.2).pose.x == pytest.approx(along_a_line(104.2)[0])
    told = buffer.take_odd()
    assert len(told) == 2 and "fix has a single bad stamp" in told[0]


def test_a_late_or_repeated_sample_is_refused_and_nothing_is_lost():
    buffer = filled([0.0, 0.5, 1.0], along_a_line)
    for t in (1.0, 0.7):
        with pytest.raises(ValueError, match="older than the newest"):
            buffer.add_fix(round(t * SECOND), FRAME.datum, FIX_COVARIANCE)
    assert at(buffer, 0.5).pose.x == pytest.approx(along_a_line(0.5)[0])


@pytest.mark.parametrize("covariance", [np.zeros((2, 2)), np.diag([1, np.nan]), np.eye(3)])
def test_a_covariance_that_is_none_is_refused(covariance):
    with pytest.raises(ValueError, match="fix covariance must be"):
        PriorBuffer(FRAME).add_fix(0, FRAME.datum, covariance)


def test_memory_is_bounded_in_time_and_in_number():
    buffer = filled(np.arange(0, 40, 0.5), along_a_line, horizon_s=5.0)
    assert buffer.at(30 * SECOND)[0] is Rejection.STALE_PRIOR
    for i in range(2 * MAX_SAMPLES):
        buffer.add_heading(100 * SECOND + i, 0.0, 0.01)
    assert len(buffer._headings) == MAX_SAMPLES


@pytest.fixture(scope="module")
def husky_samples(test_data):
    """All fixes and the IMU's headings of a real ROS 1 bag, in the order of recording.

    The IMU stands on its side and calls north zero: its mounting is undone as it is in the node.
    """
    bag = test_data / "bags" / "husky_outdoor_ros1.bag"
    if not bag.exists():
        pytest.skip(f"{test_data} has no bags/husky_outdoor_ros1.bag")
    mounting = matrix_from_rpy(math.pi / 2, 0.0, -math.pi / 2)
    samples = []
    with AnyReader([bag]) as reader:
        for connection, _, raw in reader.messages():
            if connection.topic in ("/fix", "/imu/data"):
                message = reader.deserialize(raw, connection.msgtype)
                if connection.topic == "/fix":
                    sample = "fix", fix_from_message(message, 10.0)
                else:
                    sample = "heading", heading_from_imu(message, mounting, 0.1, math.pi / 2)
                samples.append((stamp_ns(message.header), *sample))
    return samples


def test_a_real_drive_of_395_s_gives_a_prior_at_every_moment_without_a_jump(husky_samples):
    buffer, priors, query = PriorBuffer(None), [], None
    for stamp, kind, sample in husky_samples:
        buffer.add_fix(stamp, *sample) if kind == "fix" else buffer.add_heading(stamp, *sample)
        # The first velocity needs two fixes; from then on ask at 10 Hz, as soon as time allows.
        if query is None and kind == "fix" and len(buffer._fixes) == 2:
            query = stamp
        while query is not None and stamp >= query:
            priors.append(buffer.at(query))
            query += SECOND // 10
    assert buffer.resets == 0 and len(priors) > 3940
    assert all(isinstance(prior, Prior) for prior in priors)
    xy = np.array([(prior.pose.x, prior.pose.y) for prior in priors])
    steps = np.hypot(*np.diff(xy, axis=0).T)
    # A Husky drives 1 m/s; its receiver claims 0.8 m and, asked past the newest fix, so much twice.
    assert steps.max() < 0.1 + 2 * 0.8 and np.median(steps) < 0.12
    assert all(prior.covariance[0, 0] >= 0.6399 for prior in priors)
