# SPDX-License-Identifier: Apache-2.0
"""Names of the node's topics under the remappings that it was given."""

from __future__ import annotations

from rclpy.node import Node


def image_topic(node: Node, transport: str) -> str:
    """Return the full name of the topic of images, for the transport raw or compressed.

    A remapping of `image` moves its compressed form along, as image_transport has it; one of
    `image/compressed` itself goes before.
    """
    if transport != "compressed":
        return node.resolve_topic_name("image")
    named = node.resolve_topic_name("image/compressed")
    if named != node.resolve_topic_name("image/compressed", only_expand=True):
        return named
    return f"{node.resolve_topic_name('image')}/compressed"
