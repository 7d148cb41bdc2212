# SPDX-License-Identifier: Apache-2.0
"""Publishers of the topics that a node listens to: sentences from silence to its cause."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rclpy.node import Node

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
TRANSPORTS = {IMAGE: (COMPRESSED, "compressed"), COMPRESSED: (IMAGE, "raw")}
"""The other image type for each that may be subscribed, and the image.transport that reads it."""

MAX_NAMED = 3
"""Topics that are named where the type is published elsewhere."""


def unpublished(node: Node, subscriptions: Iterable[Any]) -> list[str]:
    """Say for every subscription of `node` without a publisher what the cause may be."""
    return [said for one in subscriptions if (said := _fault(node, one.topic_name, one.msg_type))]


def publishing(node: Node, topic: str) -> list[str]:
    """Return the names of the nodes that publish `topic`, one for each publisher."""
    infos = node.get_publishers_info_by_topic(topic)
    return sorted(f"{info.node_namespace.rstrip('/')}/{info.node_name}" for info in infos)


def with_publishers(node: Node, conflicts: Mapping[str, str], images: Any) -> list[str]:
    """Return the sentences on topics that several publish, with the names of those who do.

    conflicts: by topic, "image" being that of `images`, the ImageInput (None: not yet).
    """
    named = []
    for topic, said in conflicts.items():
        heard = images.subscriptions[0].topic_name if topic == "image" and images else topic
        named.append(f"{said}; published by {', '.join(publishing(node, heard))}")
    return named


def type_name(message: type[Any]) -> str:
    """Return package/msg/Name of a message class."""
    return f"{message.__module__.partition('.')[0]}/msg/{message.__name__}"


def _fault(node: Node, topic: str, message: type[Any]) -> str | None:
    wanted = type_name(message)
    carried = {info.topic_type for info in node.get_publishers_info_by_topic(topic)}
    if wanted in carried:
        return None
    said = f"nobody publishes {topic} ({wanted})"
    if carried:
        said = f"{topic} carries {', '.join(sorted(carried))}, not {wanted}"
    other, transport = TRANSPORTS.get(wanted, ("", ""))
    if other in carried:
        return f"{said}: image.transport: {transport} reads that"
    if elsewhere := _published(node, wanted):
        return f"{said}; that type is on {elsewhere}: remap the topic"
    if other and (elsewhere := _published(node, other)):
        return f"{said}; {other} is on {elsewhere}: image.transport: {transport} reads that"
    return said


def _published(node: Node, wanted: str) -> str:
    """Return topics of this type that others publish."""
    own = f"{node.get_fully_qualified_name()}/"
    topics = [
        topic
        for topic, types in node.get_topic_names_and_types()
        if wanted in types and not topic.startswith(own) and node.count_publishers(topic)
    ]
    more = f" and {len(topics) - MAX_NAMED} more" if len(topics) > MAX_NAMED else ""
    return ", ".join(sorted(topics)[:MAX_NAMED]) + more
