# SPDX-License-Identifier: Apache-2.0
import math
import re

import numpy as np
import pytest
from nav_msgs.msg import Odometry
from sensor_msgs.msg import CompressedImage

from g2s_localizer.estimator.config import LocalizerConfig
from g2s_localizer.estimator.estimate import Rejection
from g2s_localizer.estimator.gate import GateConfig
from g2s_localizer.estimator.localizer import Localizer
from g2s_localizer.geometry.mounting import OPTICAL_FROM_BODY, extrinsic_from_parameters
from g2s_localizer.ros.bridge import BridgeConfig, LocalizerBridge

OPEN = GateConfig(max_ellipse_m=1e3, max_innovation=1e3, max_entropy=1, max_peak_ratio=1)
CONFIG = BridgeConfig(
    map_frame="map",
    datum=None,
    camera_translation=(1.0805, -0.25, 1.6593),
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


@pytest.fixture(scope="module")
def localizer(store):
    return Localizer.from_config(
        LocalizerConfig(store["imagery.uri"], store["checkpoint"], gate=OPEN)
    )


@pytest.fixture
def make(localizer, registration_type):
    return lambda lookup=None, **changes: LocalizerBridge(
        localizer, BridgeConfig(**(vars(CONFIG) | changes)), lookup
    )


@pytest.fixture
def driven(make, sensors):
    """A bridge that has heard one second of driving."""
    bridge = make()
    hear(bridge, sensors.drive(1.0, 2.0))
    return bridge


def hear(bridge, messages):
    for message in messages:
        (bridge.on_fix if hasattr(message, "latitude") else bridge.on_imu)(message)


def test_an_image_becomes_a_registration_with_its_stamp_camera_and_prior(driven, sensors):
    outgoing = driven.on_image(sensors.image(1.55), sensors.camera_info(1.55))
    message = outgoing.registration
    assert (message.header.stamp.nanosec, message.header.frame_id) == (550_000_000, "map")
    np.testing.assert_array_equal(message.camera_matrix, sensors.camera_info(0).k)
    prior = message.prior.pose.position
    assert message.has_prior and (prior.x, prior.y) == pytest.approx((2.75, 0.0), abs=1e-3)
    assert message.datum_latitude == pytest.approx(sensors.place.lat, abs=1e-9)
    assert message.accepted and outgoing.pose.header == message.header
    assert message.checkpoint.startswith("tiny@") and message.latency > 0


def test_a_rejected_image_leads_to_a_registration_but_to_no_pose(driven, sensors):
    outgoing = driven.on_image(sensors.image(10.0), sensors.camera_info(10.0))
    assert outgoing.pose is None and not outgoing.registration.accepted
    assert outgoing.registration.rejection == outgoing.registration.STALE_PRIOR
    assert "8.000 s older than the image" in outgoing.registration.rejection_reason


def test_before_the_first_fix_there_is_no_prior_and_no_datum(make, sensors):
    message = make().on_image(sensors.image(1.0), sensors.camera_info(1.0)).registration
    assert message.rejection == message.NO_PRIOR and not message.has_prior
    assert math.isnan(message.datum_latitude)


def test_a_camera_info_without_a_camera_is_named_and_counted(driven, sensors):
    info = sensors.camera_info(1.5)
    info.k = [0.0] * 9
    outgoing = driven.on_image(sensors.image(1.5), info)
    assert outgoing.estimate.rejection is Rejection.NO_CAMERA
    assert "fx 0.0" in outgoing.registration.rejection_reason
    assert driven.dropped["camera_info"] == 1 and "fx 0.0" in driven.drop_reason["camera_info"]


def test_an_image_of_another_size_than_its_camera_info_is_refused(driven, sensors):
    outgoing = driven.on_image(sensors.image(1.5, 64, 48), sensors.camera_info(1.5))
    assert "image is 64 x 48, CameraInfo says 128 x 96" in outgoing.registration.rejection_reason


def test_an_image_that_cannot_be_read_is_dropped_and_counted(driven, sensors):
    image = sensors.image(1.5)
    image.encoding = "32FC1"
    assert driven.on_image(image, sensors.camera_info(1.5)) is None
    assert driven.dropped == {"image": 1} and "'32FC1'" in driven.drop_reason["image"]


def test_a_compressed_image_is_answered_too(driven, sensors):
    import cv2

    raw = sensors.image(1.5)
    pixels = np.frombuffer(raw.data, np.uint8).reshape(96, 128, 3)
    data = cv2.imencode(".png", pixels)[1].tobytes()
    image = CompressedImage(header=raw.header, format="png", data=data)
    assert driven.on_image(image, sensors.camera_info(1.5)).pose is not None


def test_a_bad_fix_is_counted_and_the_next_good_one_serves(make, sensors):
    bridge = make()
    bad = sensors.fix(1.0)
    bad.latitude = math.nan
    hear(bridge, [bad, *sensors.drive(1.1, 2.0)])
    assert bridge.dropped["fix"] == 1 and "nan" in bridge.drop_reason["fix"]
    assert bridge.on_image(sensors.image(1.5), sensors.camera_info(1.5)).pose is not None


def test_ten_thousand_bad_messages_raise_nothing_and_keep_memory_small(driven, sensors):
    bad = sensors.fix(3.0)
    for i in range(10_000):
        bad.latitude = 100.0 + i
        driven.on_fix(bad)
    assert driven.dropped["fix"] == 10_000 and len(driven.drop_reason) == 1


def test_the_heading_may_come_from_an_odometry(make, sensors):
    bridge = make(heading_source="odometry", heading_offset=0.1)
    for message in sensors.drive(1.0, 2.0):
        if hasattr(message, "latitude"):
            bridge.on_fix(message)
        else:
            odometry = Odometry(header=message.header)
            odometry.pose.pose.orientation = message.orientation
            bridge.on_odometry(odometry)
    estimate = bridge.on_image(sensors.image(1.5), sensors.camera_info(1.5)).estimate
    assert estimate.prior.pose.yaw == pytest.approx(0.5)
    assert estimate.prior.covariance[2, 2] == pytest.approx(0.05**2)


def test_the_extrinsic_is_looked_up_by_the_frame_of_the_camera(make, sensors):
    frames = []

    def lookup(frame):
        frames.append(frame)
        raise ValueError("no transform base_link <- camera")

    bridge = make(lookup)
    hear(bridge, sensors.drive(1.0, 2.0))
    outgoing = bridge.on_image(sensors.image(1.5), sensors.camera_info(1.5))
    assert frames == ["camera"]
    assert "no transform base_link <- camera" in outgoing.registration.rejection_reason


def test_a_camera_under_the_ground_is_refused_with_its_height(make, sensors):
    bridge = make(base_link_height=-2.0)
    hear(bridge, sensors.drive(1.0, 2.0))
    outgoing = bridge.on_image(sensors.image(1.5), sensors.camera_info(1.5))
    assert "camera is -0.3407 m above the ground" in outgoing.registration.rejection_reason


def test_a_bag_that_starts_again_is_answered_as_the_first_time(driven, sensors):
    first = driven.on_image(sensors.image(1.55), sensors.camera_info(1.55)).estimate
    hear(driven, sensors.drive(50.0, 51.0))
    hear(driven, sensors.drive(1.0, 2.0))
    again = driven.on_image(sensors.image(1.55), sensors.camera_info(1.55)).estimate
    assert driven.resets == 1
    assert again.pose == first.pose and again.prior.pose == first.prior.pose


def test_an_image_is_ready_when_fix_and_heading_have_passed_it(driven):
    assert driven.is_ready(2_000_000_000) and not driven.is_ready(2_000_000_001)
    assert driven.prior_age(2_500_000_000) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("turn", "said"),
    [
        (np.eye(3), "^$"),
        (np.diag([-1.0, -1.0, 1.0]), "rolled by -?180 degrees: its pictures would be upside down"),
        (OPTICAL_FROM_BODY, "looks up by 90 degrees: are its axes those of its body"),
    ],
)
def test_an_extrinsic_that_no_camera_has_is_no_camera_with_its_cause(make, sensors, turn, said):
    T = extrinsic_from_parameters(CONFIG.camera_translation, CONFIG.camera_rpy)
    T[:3, :3] = T[:3, :3] @ turn
    bridge = make(lambda frame: T)
    hear(bridge, sensors.drive(0.0, 1.0))
    outgoing = bridge.on_image(sensors.image(0.5), sensors.camera_info(0.5))
    assert (outgoing.estimate.rejection is Rejection.NO_CAMERA) == (said != "^$")
    assert re.search(said, outgoing.estimate.detail)
