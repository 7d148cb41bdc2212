# SPDX-License-Identifier: Apache-2.0

import numpy as np
import pytest
from geometry_msgs.msg import Quaternion
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from g2s_localizer.geometry.mounting import matrix_from_rpy
from g2s_localizer.motion_messages import matrix_from_quaternion
from g2s_localizer.ros import compat
from g2s_localizer.ros.conversions import time_message


@pytest.mark.parametrize("rpy", [(0, 0, 0), (0.3, -0.2, 1.1), (-2.0, 1.2, 3.0)])
def test_a_quaternion_turns_as_roll_then_pitch_then_yaw_about_fixed_axes(rpy):
    x, y, z, w = compat.quaternion_from_euler(*rpy)
    R = matrix_from_quaternion(Quaternion(x=x, y=y, z=z, w=w))
    np.testing.assert_allclose(R, matrix_from_rpy(*rpy), atol=1e-12)


@pytest.mark.parametrize(("shape", "encoding"), [((4, 6), "mono8"), ((4, 6, 3), "rgb8")])
def test_the_fallback_of_cv_bridge_makes_the_message_that_cv_bridge_makes(shape, encoding):
    picture = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    own = compat.CvBridge().cv2_to_imgmsg(picture, encoding)
    assert own == compat.cv_bridge.CvBridge().cv2_to_imgmsg(picture, encoding)


def test_what_is_not_installed_is_named_with_the_reason():
    for name in ("cv_bridge", "message_filters", "tf_transformations", "tf2_ros"):
        module = getattr(compat, name)
        assert (name in compat.MISSING) == (getattr(module, "__name__", None) != name)


class Topic:
    """create_subscription of a node, delivering at once."""

    def __init__(self):
        self.callbacks = {}

    def create_subscription(self, kind, topic, callback, qos_profile):
        self.callbacks[topic] = callback


def synchronized(queue_size):
    node, pairs = Topic(), []
    inputs = [compat.Subscriber(node, Image, topic) for topic in ("a", "b")]
    compat.TimeSynchronizer(inputs, queue_size).registerCallback(
        lambda a, b: pairs.append((a.width, b.width))
    )

    def send(topic, stamp, value):
        node.callbacks[topic](Image(header=Header(stamp=time_message(stamp)), width=value))

    return send, pairs


def test_messages_of_the_same_stamp_are_paired_in_the_order_of_the_inputs():
    send, pairs = synchronized(2)
    for message in [("b", 5, 1), ("a", 6, 2), ("a", 5, 3), ("b", 7, 4), ("b", 6, 5)]:
        send(*message)
    assert pairs == [(3, 1), (2, 5)]


def test_a_message_is_used_once_and_the_oldest_is_forgotten():
    send, pairs = synchronized(2)
    for message in [("a", 1, 1), ("a", 2, 2), ("a", 3, 3), ("b", 1, 1), ("b", 3, 3), ("b", 3, 4)]:
        send(*message)
    assert pairs == [(3, 3)]
