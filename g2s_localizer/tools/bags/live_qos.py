# SPDX-License-Identifier: Apache-2.0
"""Quality of service between bags and live topics."""

from __future__ import annotations

from collections.abc import Sequence

from rclpy.qos import (
    QoSDurabilityPolicy,
    QoSHistoryPolicy,
    QoSProfile,
    QoSReliabilityPolicy,
)
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosReliability

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
RECORDING_DEPTH = 200


def publishing_qos(topic: str, msgtype: str, offered: Sequence[Qos]) -> QoSProfile:
    """Return the QoS to offer on a topic: its recorded publisher's, or else that of its kind.

    Without a recorded profile images go best effort, /tf_static stays for late subscribers
    and everything else is reliable.
    """
    if offered:
        profile = offered[0]
        best_effort = profile.reliability == QosReliability.BEST_EFFORT
        latched = profile.durability == QosDurability.TRANSIENT_LOCAL
        keep_all = profile.history == QosHistory.KEEP_ALL
        return _qos(max(profile.depth, 1), best_effort, latched, keep_all)
    if msgtype in IMAGE_TYPES:
        return _qos(5, best_effort=True)
    return _qos(10, latched=topic == "/tf_static")


def recording_qos(publishers: Sequence[QoSProfile]) -> QoSProfile:
    """Return the most that all of a topic's live publishers offer."""
    best_effort = any(p.reliability != QoSReliabilityPolicy.RELIABLE for p in publishers)
    latched = all(p.durability == QoSDurabilityPolicy.TRANSIENT_LOCAL for p in publishers)
    return _qos(RECORDING_DEPTH, best_effort, latched)


def _qos(
    depth: int, best_effort: bool = False, latched: bool = False, keep_all: bool = False
) -> QoSProfile:
    reliability, durability, history = QoSReliabilityPolicy, QoSDurabilityPolicy, QoSHistoryPolicy
    return QoSProfile(
        depth=depth,
        history=history.KEEP_ALL if keep_all else history.KEEP_LAST,
        reliability=reliability.BEST_EFFORT if best_effort else reliability.RELIABLE,
        durability=durability.TRANSIENT_LOCAL if latched else durability.VOLATILE,
    )
