# SPDX-License-Identifier: Apache-2.0
import math
from concurrent.futures import ThreadPoolExecutor, TimeoutError

import numpy as np
import pytest
from geometry_msgs.msg import PoseWithCovarianceStamped, TwistWithCovarianceStamped
from nav_msgs.msg import Odometry
from std_msgs.msg import Header

from g2s_localizer.estimator.estimate import Prior, Rejection
from g2s_localizer.geometry import LocalFrame, Pose2D
from g2s_localizer.ros.conversions import pose_message, time_message
from g2s_localizer.ros.sensor_input import BridgeConfig, SensorInput

SECOND = 1_000_000_000
CONFIG = BridgeConfig(
    map_frame="map",
    datum=None,
    camera_translation=(1.0, 0.0, 1.6),
    camera_rpy=(0.0, 0.0, 0.0),
    base_link_height=0.0,
    rectified=False,
    antenna_offset=(0.0, 0.0),
    gnss_default_sigma_m=10.0,
    heading_source="imu",
    heading_offset=0.0,
    imu_rpy=(0.0, 0.0, 0.0),
    heading_default_sigma=0.05,
    max_gap_s=2.5,
    max_extrapolation_s=1.2,
)


def made(**changes):
    return SensorInput(BridgeConfig(**(vars(CONFIG) | changes)))


def hear(heard, messages):
    for message in messages:
        (heard.on_fix if hasattr(message, "latitude") else heard.on_imu)(message)


def prior(heard, t) -> Prior:
    found = heard.prior_at(round(t * SECOND))
    assert isinstance(found, Prior), found
    return found


def odometry(t, forward=5.0, yaw=0.0):
    message = Odometry(header=Header(stamp=time_message(round(t * SECOND))))
    message.pose.pose = pose_message(Pose2D(0.0, 0.0, yaw), np.eye(3)).pose
    message.pose.covariance[35] = 0.01
    message.twist.twist.linear.x = forward
    return message


@pytest.mark.parametrize("topic", ["fix", "imu", "odometry", "twist", "prior_pose"])
def test_stamp_0_is_refused_by_name_on_every_input(sensors, topic):
    heard = made(heading_source="odometry")
    message = {
        "fix": sensors.fix(0.0),
        "imu": sensors.imu(0.0),
        "odometry": odometry(0.0),
        "twist": TwistWithCovarianceStamped(),
        "prior_pose": PoseWithCovarianceStamped(),
    }[topic]
    getattr(heard, f"on_{topic}")(message)
    assert heard.dropped == {topic: 1}
    assert heard.drop_reason[topic].startswith(f"{topic}: header.stamp is 0: the driver")


def test_a_stamp_of_0_in_the_middle_empties_nothing(sensors):
    heard = made()
    hear(heard, [*sensors.drive(1.0, 2.0), sensors.fix(0.0), sensors.imu(0.0)])
    assert heard.resets == 0 and prior(heard, 1.55).pose.x == pytest.approx(2.75, abs=1e-3)


@pytest.mark.parametrize("off", [-3600.0, 3600.0])
def test_a_single_bad_stamp_is_a_drop_by_name(sensors, off):
    heard = made()
    hear(heard, [*sensors.drive(5000.0, 5001.0), sensors.fix(5001.1 + off), sensors.fix(5001.2)])
    assert heard.dropped == {"fix": 1} and "single bad stamp" in heard.drop_reason["fix"]
    assert heard.resets == 0 and prior(heard, 5000.5).pose.x == pytest.approx(2.5, abs=1e-3)


def test_two_receivers_with_different_clocks_are_named_and_give_no_prior(sensors):
    heard = made()
    for i in range(12):
        for frame, t in (("gps_roof", 100.0 + i), ("gps_hood", 95.0 + i)):
            message = sensors.fix(t)
            message.header.frame_id = frame
            hear(heard, [message, sensors.imu(100.0 + i + 0.001 * len(frame))])
    rejection, said = heard.prior_at(110 * SECOND)
    assert rejection is Rejection.NO_PRIOR and said in heard.drop_reason["fix"]
    assert "two publishers with different clocks? frame_id: 'gps_hood', 'gps_roof'" in said


def test_stamps_of_messages_that_say_nothing_make_no_conflict(sensors):
    heard = made()
    for i in range(40):
        broken = sensors.fix(5000.0 - i)
        broken.latitude = math.nan
        hear(heard, [sensors.fix(1.0 + 0.1 * i), sensors.imu(1.0 + 0.1 * i), broken])
    assert heard.conflicts == {} and prior(heard, 3.0).pose.x == pytest.approx(0.0, abs=1e-6)


def test_a_message_that_nobody_thought_of_is_a_drop_too(sensors):
    heard, odd = made(), sensors.fix(1.0)
    odd._latitude = "north"
    hear(heard, [odd])
    assert heard.dropped["fix"] == 1 and heard.drop_reason["fix"].startswith("fix: TypeError: ")


def test_a_first_fix_at_null_island_is_not_the_datum(sensors):
    heard = made()
    null = sensors.fix(1.0)
    null.latitude = null.longitude = 0.0
    hear(heard, [null, *sensors.drive(1.1, 2.1)])
    assert heard.frame.datum.lat == pytest.approx(sensors.place.lat)
    assert "(0, 0)" in heard.drop_reason["fix"]


def test_a_datum_that_is_given_up_is_told_once_for_the_log(sensors):
    heard = made()
    for i in range(4):
        message = sensors.fix(1.0 + i)
        message.latitude += 2.0 if i < 2 else 0.0
        hear(heard, [message])
    (note,) = heard.take_notes()
    assert "km from where the fixes are: given up for 49.01" in note and heard.take_notes() == []


@pytest.mark.parametrize(
    ("changes", "needed", "optional"),
    [
        ({}, ["fix", "imu"], ["odometry"]),
        ({"heading_source": "odometry"}, ["fix", "odometry"], []),
        ({"heading_source": "course", "motion_source": "twist"}, ["fix"], ["twist"]),
        ({"prior_source": "pose", "motion_source": "fixes"}, ["prior_pose"], []),
    ],
)
def test_what_is_heard_is_what_the_config_uses(changes, needed, optional):
    topics = made(**changes).topics()
    assert [topic.name for topic in topics if topic.needed] == needed
    assert [topic.name for topic in topics if not topic.needed] == optional


def test_a_compass_is_turned_into_the_plane_of_the_datum_and_an_odometry_is_in_it(sensors):
    datum = LocalFrame(sensors.place).to_latlon(-20_000.0, 0.0)
    compass, filtered = made(datum=datum), made(datum=datum, heading_source="odometry")
    for t in (1.0, 1.1, 1.2):
        hear(compass, [sensors.fix(t), sensors.imu(t, yaw=0.0)])
        filtered.on_fix(sensors.fix(t))
        filtered.on_odometry(odometry(t))
    turn = math.radians(0.28) * math.sin(math.radians(sensors.place.lat))
    assert prior(compass, 1.15).pose.yaw == pytest.approx(turn, rel=0.05)
    assert prior(filtered, 1.15).pose.yaw == 0.0


@pytest.mark.parametrize("source", ["odometry", "twist"])
def test_past_the_newest_fix_the_prior_moves_as_the_wheels_say(sensors, source):
    heard = made(motion_source=source)
    hear(heard, sensors.drive(1.0, 2.0))
    for t in np.arange(2.0, 3.0, 0.1):
        message = odometry(t, forward=9.0)
        if source == "twist":
            heard.on_twist(TwistWithCovarianceStamped(header=message.header, twist=message.twist))
        else:
            heard.on_odometry(message)
    found = prior(heard, 3.0).pose
    assert math.hypot(found.x - 5.0, found.y) == pytest.approx(9.0, abs=1e-3)


def test_without_a_compass_the_course_is_the_heading(sensors):
    heard = made(heading_source="course")
    hear(heard, [m for m in sensors.drive(1.0, 3.0) if hasattr(m, "latitude")])
    found = prior(heard, 3.1)
    assert found.pose.yaw == pytest.approx(0.0, abs=1e-3) and found.covariance[2, 2] > 0.1**2


def test_the_prior_may_come_from_a_filter(sensors):
    heard = made(datum=sensors.place, prior_source="pose", antenna_offset=(5.0, 5.0))
    for t in (1.0, 2.0):
        header = Header(stamp=time_message(round(t * SECOND)), frame_id="map")
        pose = pose_message(Pose2D(3.0 * t, 4.0, 0.3), np.diag([4.0, 1.0, 0.01]))
        heard.on_prior_pose(PoseWithCovarianceStamped(header=header, pose=pose))
    found = prior(heard, 1.5)
    assert (found.pose.x, found.pose.y, found.pose.yaw) == pytest.approx((4.5, 4.0, 0.3))
    assert found.covariance[0, 0] == pytest.approx(4.0, rel=0.1)


def test_a_pose_in_another_frame_is_no_prior(sensors):
    heard = made(datum=sensors.place, prior_source="pose")
    message = PoseWithCovarianceStamped(header=sensors.imu(1.0).header)
    message.header.frame_id = "odom"
    heard.on_prior_pose(message)
    assert heard.drop_reason["prior_pose"] == "prior_pose is in frame 'odom', not in 'map'"


def test_the_age_of_the_prior_is_read_under_the_lock(sensors):
    heard = made()
    hear(heard, sensors.drive(1.0, 2.0))
    with ThreadPoolExecutor(1) as pool:
        with heard._lock:
            age = pool.submit(heard.prior_age, 3 * SECOND)
            with pytest.raises(TimeoutError):
                age.result(0.05)
        assert age.result(5) == pytest.approx(1.0)


EXTREMES = [0.0, -1.0, 1.0, 1e-300, 1e300, -1e308, 1.7e308, math.inf, math.nan, 181.0, -90.0]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("seed", range(8))
def test_whatever_the_messages_hold_the_prior_is_finite_or_refused_by_name(sensors, seed):
    rng = np.random.default_rng(seed)
    heard = made(heading_source="odometry", antenna_offset=(2.0, 1.0))

    def wild(count):
        return rng.choice(EXTREMES, count) if rng.random() < 0.3 else np.ones(count)

    known = 0
    for t in np.arange(100.0, 104.0, 0.05):
        late = rng.choice([0.0, -50.0, 50.0], p=[0.98, 0.01, 0.01])
        fix, moved = sensors.fix(t, 5.0 * t), odometry(t + late)
        fix.latitude += float(wild(1)[0]) - 1.0
        fix.position_covariance = np.where(np.eye(3).ravel(), wild(9), 0.0)
        moved.pose.covariance, moved.twist.covariance = wild(36), wild(36)
        moved.twist.twist.linear.x, moved.pose.pose.orientation.w = map(float, wild(2))
        heard.on_fix(fix)
        heard.on_odometry(moved)
        found = heard.prior_at(round((t + 0.1) * SECOND))
        assert found[1] if isinstance(found, tuple) else np.isfinite(found.covariance).all()
        known += isinstance(found, Prior)
    assert known > 10 and heard.dropped["fix"] and heard.dropped["odometry"]


def test_an_image_that_alone_goes_back_is_refused_and_two_are_not(sensors):
    heard = made()
    assert heard.image_stamp(sensors.imu(100.0).header) == 100 * SECOND
    with pytest.raises(ValueError, match=r"image stamp is 5.000 s older than the newest one"):
        heard.image_stamp(sensors.imu(95.0).header)
    for t in (100.1, 4000.0, 100.2, 100.15):
        assert heard.image_stamp(sensors.imu(t).header) == round(t * SECOND)
    with pytest.raises(ValueError, match="older than the newest"):
        heard.image_stamp(sensors.imu(50.1).header)
    assert heard.image_stamp(sensors.imu(50.2).header) == round(50.2 * SECOND)


def test_two_cameras_with_different_clocks_are_named(sensors):
    heard = made()
    refused = []
    for i in range(20):
        for frame, t in (("front", 100.0 + 0.1 * i), ("rear", 95.0 + 0.1 * i)):
            header = sensors.imu(t).header
            header.frame_id = frame
            try:
                heard.image_stamp(header)
            except ValueError as error:
                refused.append(str(error))
    assert "different clocks? frame_id: 'front', 'rear'" in refused[-1]
