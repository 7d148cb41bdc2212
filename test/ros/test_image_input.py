# SPDX-License-Identifier: Apache-2.0
import time

import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image, NavSatFix

from g2s_localizer.ros.image_input import ImageInput
from g2s_localizer.ros.publishers import publishing, unpublished

pytestmark = pytest.mark.ros


@pytest.fixture
def graph(wait):
    """A node that listens and one that publishes: (node, driver, publish(topic, message))."""
    context, other, publishers = rclpy.Context(), rclpy.Context(), {}
    rclpy.init(context=context, args=["--ros-args", "-r", "image:=/front/image_raw"])
    rclpy.init(context=other)
    node, driver = Node("localizer", context=context), Node("driver", context=other)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)

    def publish(topic, message):
        publisher = publishers.get(topic) or driver.create_publisher(type(message), topic, 10)
        publishers[topic] = publisher
        wait(lambda: publisher.get_subscription_count())
        publisher.publish(message)
        executor.spin_once(timeout_sec=1.0)

    yield node, driver, publish
    node.destroy_node()
    driver.destroy_node()
    context.try_shutdown()
    other.try_shutdown()


def test_equal_stamps_make_a_pair_and_all_is_counted(graph, sensors):
    node, _, publish = graph
    pairs = []
    images = ImageInput(node, "raw", lambda *pair: pairs.append(pair))
    publish("/front/image_raw", sensors.image(1.0))
    between_s = time.monotonic()
    publish("/camera_info", sensors.camera_info(1.0))
    ((_, info, arrived_s),) = pairs
    assert info.header == sensors.image(1.0).header and between_s - 5.0 < arrived_s <= between_s
    assert images.received == {"image": 1, "camera_info": 1, "pairs": 1}
    assert "none of them is answered" in images.silence()


def test_a_pair_that_was_on_its_way_at_closing_is_dropped(graph, sensors):
    node, _, publish = graph
    images = ImageInput(node, "raw", lambda *pair: pytest.fail("nobody listens any more"))
    publish("/front/image_raw", sensors.image(1.0))
    on_its_way = images.subscriptions[1].callback
    images.close()
    on_its_way(sensors.camera_info(1.0))


def test_other_stamps_are_named_with_their_difference(graph, sensors):
    node, _, publish = graph
    images = ImageInput(node, "raw", lambda image, info, arrived_s: None)
    publish("/front/image_raw", sensors.image(1.0))
    assert "1 images and no CameraInfo" in images.silence()
    publish("/camera_info", sensors.camera_info(0.75))
    assert "1 images and 1 CameraInfos, no two of them with one stamp" in images.silence()
    assert "0.250 s after the newest CameraInfo" in images.silence()
    assert images.values()["newest image - newest camera_info (s)"] == "0.250"


@pytest.mark.parametrize(
    ("message", "topic", "said"),
    [
        (Image, "/front/image_raw", ""),
        (CompressedImage, "/front/image_raw/compressed", "image.transport: compressed reads that"),
        (CompressedImage, "/front/image_raw", "carries sensor_msgs/msg/CompressedImage, not"),
        (Image, "/rear/image", "that type is on /rear/image: remap the topic"),
        (NavSatFix, "/gps", "nobody publishes /front/image_raw (sensor_msgs/msg/Image)"),
    ],
)
def test_a_topic_nobody_publishes_is_named_with_where_to_look(graph, wait, message, topic, said):
    node, driver, _ = graph
    subscription = node.create_subscription(Image, "image", print, 1)
    driver.create_publisher(message, topic, 1)
    wait(lambda: node.count_publishers(topic))
    told = "".join(unpublished(node, [subscription]))
    assert said in told and bool(said) == bool(told)


def test_time_that_is_set_back_loses_no_pair_before_and_after_it_is_known(graph, sensors):
    node, _, publish = graph
    pairs = []
    images = ImageInput(node, "raw", lambda *pair: pairs.append(pair))
    for t in range(90, 98):
        publish("/camera_info", sensors.camera_info(float(t)))
    publish("/camera_info", sensors.camera_info(50.0))
    images.clear(50_000_000_000)
    publish("/front/image_raw", sensors.image(50.0))
    publish("/front/image_raw", sensors.image(97.0))
    assert [image.header for image, _, _ in pairs] == [sensors.image(50.0).header]


def test_the_publishers_of_a_topic_are_named(graph, sensors):
    node, _, publish = graph
    ImageInput(node, "raw", lambda *pair: None)
    publish("/front/image_raw", sensors.image(1.0))
    assert publishing(node, "image") == publishing(node, "/front/image_raw") == ["/driver"]
