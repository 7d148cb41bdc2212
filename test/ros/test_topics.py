# SPDX-License-Identifier: Apache-2.0
import pytest
import rclpy
from rclpy.node import Node

from g2s_localizer.ros.topics import image_topic


@pytest.mark.parametrize(
    ("transport", "remaps", "heard"),
    [
        ("raw", ["image:=/front/image_raw"], "/front/image_raw"),
        ("compressed", ["image:=/front/image_raw"], "/front/image_raw/compressed"),
        ("compressed", ["image/compressed:=/c"], "/c"),
        ("compressed", ["image:=/a", "image/compressed:=/c"], "/c"),
        ("compressed", ["__ns:=/car", "image:=front"], "/car/front/compressed"),
        ("compressed", [], "/image/compressed"),
    ],
)
def test_the_compressed_image_is_that_of_the_remapped_topic(transport, remaps, heard):
    arguments = [part for remap in remaps for part in ("-r", remap)]
    context = rclpy.Context()
    rclpy.init(context=context)
    node = Node("localizer", context=context, cli_args=["--ros-args", *arguments])
    assert image_topic(node, transport) == heard
    node.destroy_node()
    context.try_shutdown()
