# SPDX-License-Identifier: Apache-2.0
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy

from g2s_localizer.tools.bags.kitti_to_rosbag2 import IMAGES, LATCHED, RECORDS
from g2s_localizer.tools.bags.live_qos import publishing_qos, recording_qos

IMAGE, TF = "sensor_msgs/msg/Image", "tf2_msgs/msg/TFMessage"
BEST_EFFORT, RELIABLE = QoSReliabilityPolicy.BEST_EFFORT, QoSReliabilityPolicy.RELIABLE
LATE, VOLATILE = QoSDurabilityPolicy.TRANSIENT_LOCAL, QoSDurabilityPolicy.VOLATILE


@pytest.mark.parametrize(
    ("topic", "msgtype", "offered", "reliability", "durability"),
    [
        ("/camera/image_raw", IMAGE, [IMAGES], BEST_EFFORT, VOLATILE),
        ("/camera/image_raw", IMAGE, [RECORDS], RELIABLE, VOLATILE),
        ("/camera/image_raw", IMAGE, [], BEST_EFFORT, VOLATILE),
        ("/tf_static", TF, [LATCHED], RELIABLE, LATE),
        ("/tf_static", TF, [], RELIABLE, LATE),
        ("/fix", "sensor_msgs/msg/NavSatFix", [], RELIABLE, VOLATILE),
    ],
)
def test_a_topic_offers_what_was_recorded_or_what_its_kind_does(
    topic, msgtype, offered, reliability, durability
):
    qos = publishing_qos(topic, msgtype, offered)
    assert (qos.reliability, qos.durability) == (reliability, durability)


@pytest.mark.parametrize(
    ("publishers", "reliability", "durability"),
    [
        ([(RELIABLE, VOLATILE)], RELIABLE, VOLATILE),
        ([(RELIABLE, LATE)], RELIABLE, LATE),
        ([(RELIABLE, LATE), (BEST_EFFORT, VOLATILE)], BEST_EFFORT, VOLATILE),
    ],
)
def test_a_recording_asks_for_no_more_than_every_publisher_offers(
    publishers, reliability, durability
):
    profiles = [QoSProfile(depth=1, reliability=r, durability=d) for r, d in publishers]
    qos = recording_qos(profiles)
    assert (qos.reliability, qos.durability) == (reliability, durability)
