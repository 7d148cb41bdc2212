# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from g2s_localizer.ros import compat
from g2s_localizer.ros.conversions import time_message


@pytest.mark.parametrize("rpy", [(0, 0, 0), (0.3, -0.2, 1.1), (-2.0, 1.2, 3.0)])
def test_a_quaternion_turns_as_roll_then_pitch_then_yaw_about_fixed_axes(rpy):
    def turn(axis, angle):
        c, s, i, j = math.cos(angle), math.sin(angle), (axis + 1) % 3, (axis + 2) % 3
        R = np.eye(3)
        R[i, i], R[i, j], R[j, i], R[j, j] = c, -s, s, c
        return R

    expected = turn(2, rpy[2]) @ turn(1, rpy[1]) @ turn(0, rpy[0])
    T = compat.quaternion_matrix(compat.quaternion_from_euler(*rpy))
    np.testing.assert_allclose(T[:3, :3], expected, atol=1e-12)
    np.testing.assert_array_equal(compat.euler_matrix(*rpy), T)


def test_what_is_not_installed_is_named_with_the_reason():
    for name in ("message_filters", "tf_transformations", "tf2_ros"):
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
