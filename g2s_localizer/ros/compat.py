# SPDX-License-Identifier: Apache-2.0
"""Packages that come with a ROS install and not from PyPI.

cv_bridge, message_filters and tf_transformations are the real ones where they are installed;
elsewhere the fallbacks below take the same calls. `MISSING` says which, for the log.
tf2_ros has no fallback: it is None, and the extrinsic then comes from parameters.
"""

from __future__ import annotations

import importlib
import math
import threading
from array import array
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image


class CvBridge:
    """cv_bridge.CvBridge for the pictures that the localizer publishes."""

    def cv2_to_imgmsg(self, cvim: NDArray[np.uint8], encoding: str = "passthrough") -> Image:
        """Convert (H, W) or (H, W, C) uint8 to a sensor_msgs/Image of as many channels."""
        channels = cvim.shape[2] if cvim.ndim == 3 else 1
        # An array.array is taken as it is; a NumPy array or bytes would be copied value by value.
        return Image(
            height=cvim.shape[0],
            width=cvim.shape[1],
            encoding=f"8UC{channels}" if encoding == "passthrough" else encoding,
            step=cvim.shape[1] * channels,
            data=array("B", np.ascontiguousarray(cvim).tobytes()),
        )


class Subscriber:
    """message_filters.Subscriber: a subscription that several filters may listen to."""

    def __init__(self, node: Any, msg_type: type, topic: str, **kwargs: Any) -> None:
        kwargs.setdefault("qos_profile", 10)
        self.topic = topic
        self._callbacks: list[Callable[[Any], None]] = []
        self.sub = node.create_subscription(msg_type, topic, self.callback, **kwargs)

    def registerCallback(self, cb: Callable[[Any], None]) -> None:
        self._callbacks.append(cb)

    def callback(self, msg: Any) -> None:
        for listener in self._callbacks:
            listener(msg)


class TimeSynchronizer:
    """message_filters.TimeSynchronizer: calls back with messages whose stamps are equal.

    Each input keeps its `queue_size` newest stamps.
    """

    def __init__(self, fs: list[Subscriber], queue_size: int) -> None:
        self.queue_size = queue_size
        self.queues: list[dict[int, Any]] = [{} for _ in fs]
        self._callbacks: list[Callable[..., None]] = []
        self._lock = threading.Lock()
        for queue, filter_ in zip(self.queues, fs, strict=True):
            filter_.registerCallback(partial(self._add, queue))

    def registerCallback(self, cb: Callable[..., None]) -> None:
        self._callbacks.append(cb)

    def _add(self, queue: dict[int, Any], msg: Any) -> None:
        stamp = msg.header.stamp.sec * 1_000_000_000 + msg.header.stamp.nanosec
        with self._lock:
            queue[stamp] = msg
            while len(queue) > self.queue_size:
                del queue[min(queue)]
            if not all(stamp in other for other in self.queues):
                return
            matched = [other.pop(stamp) for other in self.queues]
        for listener in self._callbacks:
            listener(*matched)


def quaternion_from_euler(ai: float, aj: float, ak: float) -> tuple[float, float, float, float]:
    """Convert roll, pitch, yaw (rad) about fixed axes to x, y, z, w, as tf_transformations."""
    cr, sr = math.cos(ai / 2), math.sin(ai / 2)
    cp, sp = math.cos(aj / 2), math.sin(aj / 2)
    cy, sy = math.cos(ak / 2), math.sin(ak / 2)
    return (
        sr * cp * cy - cr * sp * sy,
        cr * sp * cy + sr * cp * sy,
        cr * cp * sy - sr * sp * cy,
        cr * cp * cy + sr * sp * sy,
    )


def _import(name: str, fallback: Any) -> Any:
    try:
        return importlib.import_module(name)
    # A module built for another NumPy fails with AttributeError, not with ImportError.
    except (ImportError, AttributeError) as error:
        instead = "its fallback serves" if fallback else "without it"
        MISSING[name] = f"{name} is not usable, {instead} ({error})"
        return fallback


MISSING: dict[str, str] = {}
"""Packages that could not be imported: what happens instead, and why."""

cv_bridge = _import("cv_bridge", SimpleNamespace(CvBridge=CvBridge))
message_filters = _import(
    "message_filters", SimpleNamespace(Subscriber=Subscriber, TimeSynchronizer=TimeSynchronizer)
)
tf_transformations = _import(
    "tf_transformations", SimpleNamespace(quaternion_from_euler=quaternion_from_euler)
)
tf2_ros = _import("tf2_ros", None)
