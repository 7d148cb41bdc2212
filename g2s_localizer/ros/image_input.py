# SPDX-License-Identifier: Apache-2.0
"""Images with the CameraInfo of the same stamp, and why there are none when there are none."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSHistoryPolicy, QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from g2s_localizer.estimator.series import BACKWARD_JUMP_S
from g2s_localizer.ros import compat
from g2s_localizer.ros.conversions import stamp_ns
from g2s_localizer.ros.topics import image_topic

IMAGE_QOS = QoSProfile(
    depth=1,
    history=QoSHistoryPolicy.KEEP_LAST,
    reliability=QoSReliabilityPolicy.BEST_EFFORT,
)
MAX_WAITING = 5
"""Images and CameraInfos that wait for their partner of the same stamp."""

RECENT_S = 2.0
"""A pair that came within so long (s of wall time) counts as coming."""


class ImageInput:
    """Subscribes to image and camera_info and calls `on_pair` for equal stamps: with the image, the
    CameraInfo, and when the image arrived (s, of time.monotonic).

    received       messages by topic, and "pairs"
    subscriptions  the two of them, for who asks whether anybody publishes
    """

    def __init__(
        self,
        node: Node,
        transport: str,
        on_pair: Callable[[Image | CompressedImage, CameraInfo, float], None],
    ) -> None:
        self._node = node
        self._on_pair = on_pair
        self._since_pair: Counter[str] = Counter()
        self._newest_ns: dict[str, int] = {}
        self._arrived_s: dict[int, float] = {}
        self._paired_s = -math.inf
        self.received: Counter[str] = Counter({"image": 0, "camera_info": 0, "pairs": 0})
        self.subscriptions: list[Any] = []
        self._pairs: Any = None
        kind = CompressedImage if transport == "compressed" else Image
        topic = image_topic(node, transport)
        info_qos = QoSProfile(depth=MAX_WAITING, reliability=QoSReliabilityPolicy.BEST_EFFORT)
        filters = []
        try:
            for name, what, where, qos in (
                ("image", kind, topic, IMAGE_QOS),
                ("camera_info", CameraInfo, "camera_info", info_qos),
            ):
                one = compat.message_filters.Subscriber(node, what, where, qos_profile=qos)
                one.registerCallback(lambda msg, name=name: self._count(name, msg))
                self.subscriptions.append(one.sub)
                filters.append(one)
        except BaseException:
            self.close()
            raise
        self._pairs = compat.message_filters.TimeSynchronizer(filters, MAX_WAITING)
        self._pairs.registerCallback(self._pair)

    def close(self) -> None:
        """Listen no longer, and hold nothing of who listened: a filter holds itself."""
        for subscription in self.subscriptions:
            self._node.destroy_subscription(subscription)
        self.subscriptions = []
        self._on_pair = lambda image, info, arrived_s: None

    def clear(self, now_ns: int) -> None:
        """Time was set back to `now_ns`: forget what waits with later stamps."""
        later_ns = now_ns + round(BACKWARD_JUMP_S * 1e9)
        for queue in self._pairs.queues:
            for key, msg in list(queue.items()):
                if stamp_ns(msg.header) > later_ns:
                    del queue[key]
        self._newest_ns = {name: ns for name, ns in self._newest_ns.items() if ns <= later_ns}

    def values(self) -> dict[str, str]:
        """Return the entries of /diagnostics on the pairing."""
        return {
            "images with their camera_info": str(self.received["pairs"]),
            "newest image - newest camera_info (s)": f"{self._difference_s():.3f}",
        }

    def silence(self) -> str:
        """Return why no image can be answered, as far as what has arrived tells."""
        images, infos = self._since_pair["image"], self._since_pair["camera_info"]
        if time.monotonic() - self._paired_s < RECENT_S:
            return "images arrive with their CameraInfo, and none of them is answered"
        since = " since the last pair" if self.received["pairs"] else ""
        if images and infos:
            return (
                f"{images} images and {infos} CameraInfos{since}, no two of them with one stamp "
                f"(the newest image is {self._difference_s():.3f} s after the newest CameraInfo): "
                "an image and its CameraInfo must carry the same stamp"
            )
        if images or infos:
            seen = f"{images} images and no CameraInfo" if images else f"{infos} CameraInfos and no"
            return f"{seen}{since}" if images else f"{seen} image{since}"
        return f"neither an image nor a CameraInfo{since}"

    def _count(self, name: str, msg: Any) -> None:
        # A synchronizer that is full throws out the least stamp, which may be the one to come: as
        # long as nobody knows that time was set back, what arrived first goes.
        for queue in self._pairs.queues if self._pairs else []:
            while len(queue) >= MAX_WAITING:
                del queue[next(iter(queue))]
        self.received[name] += 1
        self._since_pair[name] += 1
        self._newest_ns[name] = stamp = stamp_ns(msg.header)
        if name == "image":
            self._arrived_s[stamp] = time.monotonic()
            while len(self._arrived_s) > MAX_WAITING + 1:
                del self._arrived_s[next(iter(self._arrived_s))]

    def _pair(self, image: Image | CompressedImage, info: CameraInfo) -> None:
        self.received["pairs"] += 1
        self._since_pair.clear()
        self._paired_s = time.monotonic()
        arrived_s = self._arrived_s.pop(stamp_ns(image.header), self._paired_s)
        self._on_pair(image, info, arrived_s)

    def _difference_s(self) -> float:
        if len(self._newest_ns) < 2:
            return math.nan
        return (self._newest_ns["image"] - self._newest_ns["camera_info"]) * 1e-9
