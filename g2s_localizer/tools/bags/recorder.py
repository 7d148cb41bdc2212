# SPDX-License-Identifier: Apache-2.0
"""Recorder: what arrives on live topics, into a ROS 2 bag."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType

from rclpy.node import Node
from rosbags.interfaces import Connection

from g2s_localizer.tools.bags.live_qos import recording_qos
from g2s_localizer.tools.bags.message_types import message_class, register_type
from g2s_localizer.tools.bags.new_bag import jazzy_types, new_bag


class Recorder:
    """Writes the serialized messages of `topics` into the new bag `out` (MCAP).

    now      the bag stamp (ns) of a message that arrives
    counts   messages written, by topic

    Types and qualities of service come from the live publishers: call `subscribe` until
    `unseen` is empty, and spin `node`. A context manager; leaving it completes the bag.
    Raises FileExistsError when `out` is there.
    """

    def __init__(
        self, node: Node, topics: Sequence[str], out: Path, now: Callable[[], int]
    ) -> None:
        self.counts: Counter[str] = Counter(dict.fromkeys(topics, 0))
        self.unseen = list(dict.fromkeys(topics))
        self.last_arrival = time.monotonic()
        self._node = node
        self._now = now
        self._typestore = jazzy_types()
        self._bag = new_bag(out)

    def __enter__(self) -> Recorder:
        self._bag.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bag.close()

    def subscribe(self) -> None:
        """Subscribe to the topics that have got a publisher since the last call.

        Raises ImportError when the message type of one is not installed here.
        """
        for topic in list(self.unseen):
            publishers = self._node.get_publishers_info_by_topic(topic)
            if not publishers:
                continue
            msgtype = publishers[0].topic_type
            register_type(self._typestore, msgtype)
            connection = self._bag.add_connection(topic, msgtype, typestore=self._typestore)
            self._node.create_subscription(
                message_class(msgtype),
                topic,
                partial(self._write, connection),
                recording_qos([publisher.qos_profile for publisher in publishers]),
                raw=True,
            )
            self.unseen.remove(topic)

    def _write(self, connection: Connection, data: bytes) -> None:
        self._bag.write(connection, self._now(), data)
        self.counts[connection.topic] += 1
        self.last_arrival = time.monotonic()
