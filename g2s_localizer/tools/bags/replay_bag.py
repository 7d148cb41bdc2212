# SPDX-License-Identifier: Apache-2.0
"""g2s-replay: publish a ROS 2 bag into live topics with /clock, and record the answers."""

from __future__ import annotations

import argparse
import math
import struct
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.signals import SignalHandlerOptions
from rosbags.interfaces import Connection, ConnectionExtRosbag2
from rosgraph_msgs.msg import Clock
from tqdm import tqdm

from g2s_localizer.bag_reader import BagReader, is_ros1
from g2s_localizer.tools.bags.live_qos import IMAGE_TYPES, publishing_qos
from g2s_localizer.tools.bags.message_types import message_class
from g2s_localizer.tools.bags.recorder import Recorder

TICK_NS = 10_000_000
"""Bag time between two messages of /clock, at most."""

SETTLE_S = 0.5
"""Time (s) of discovery after one side of a connection has seen the other, and for the last
messages to leave the process."""

STAMPED = (
    *IMAGE_TYPES,
    "sensor_msgs/msg/CameraInfo",
    "sensor_msgs/msg/NavSatFix",
    "sensor_msgs/msg/Imu",
    "nav_msgs/msg/Odometry",
)
"""Types that begin with a Header and are of no use without its stamp."""

MAX_STAMPS_SEEN = 20
"""A topic whose first so many messages have no stamp has none."""

MAX_DRAINS = 10.0
"""The recording ends after so many times --drain even if messages keep coming."""


class Replay:
    """Publishes a bag in its own pace times `rate`; the process sleeps by spinning its node.

    stamp   bag time (ns) that /clock has reached
    """

    def __init__(self, node: Node, bag: BagReader, topics: list[str], rate: float) -> None:
        self.stamp = bag.start_time
        self._bag = bag
        self._rate = rate
        self._origin = (0.0, bag.start_time)
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(node)
        self._clock = node.create_publisher(Clock, "/clock", 10)
        self._publishers: dict[str, Publisher] = {}
        for connection in _playable(bag, topics):
            if connection.topic not in self._publishers:
                ext = connection.ext
                offered = ext.offered_qos_profiles if isinstance(ext, ConnectionExtRosbag2) else []
                qos = publishing_qos(connection.topic, connection.msgtype, offered)
                self._publishers[connection.topic] = node.create_publisher(
                    message_class(connection.msgtype), connection.topic, qos
                )
        self._connections = [c for c in bag.connections if c.topic in self._publishers]

    @property
    def awaited(self) -> list[str]:
        """Return the topics whose subscriber makes a replay worth starting: images, else any."""
        images = {c.topic for c in self._connections if c.msgtype in IMAGE_TYPES}
        return sorted(images or self._publishers)

    def is_heard(self) -> bool:
        return any(self._publishers[topic].get_subscription_count() for topic in self.awaited)

    def wait(self, until: Callable[[], bool], seconds: float) -> bool:
        """Spin, with /clock standing still, until a condition holds or `seconds` have passed."""
        deadline = time.monotonic() + seconds
        while not (holds := until()) and time.monotonic() < deadline:
            self._publish_clock(self.stamp)
            self._spin_until(min(deadline, time.monotonic() + 0.05))
        return holds

    def play(self) -> int:
        """Publish all messages; returns how many."""
        total = sum(connection.msgcount for connection in self._connections)
        self._origin = (time.monotonic(), self.stamp)
        count = 0
        with tqdm(total=total, desc="replay", unit="msg", file=sys.stderr) as progress:
            for connection, stamp, data in self._bag.messages(self._connections):
                self._advance(stamp)
                self._publishers[connection.topic].publish(data)
                progress.update()
                count += 1
        return count

    def drain(self, until: Callable[[], bool], seconds: float) -> None:
        """Let /clock run on until a condition holds or `seconds` have passed."""
        deadline = time.monotonic() + seconds
        while not until() and time.monotonic() < deadline:
            self._advance(self.stamp + TICK_NS)

    def _advance(self, stamp: int) -> None:
        """Bring /clock to `stamp`, not before its time has come."""
        while self.stamp + TICK_NS < stamp:
            self._tick(self.stamp + TICK_NS)
        self._tick(max(stamp, self.stamp))

    def _tick(self, stamp: int) -> None:
        wall, start = self._origin
        self._spin_until(wall + (stamp - start) * 1e-9 / self._rate)
        self.stamp = stamp
        self._publish_clock(stamp)

    def _publish_clock(self, stamp: int) -> None:
        message = Clock()
        message.clock.sec, message.clock.nanosec = divmod(stamp, 10**9)
        self._clock.publish(message)

    def _spin_until(self, deadline: float) -> None:
        while True:
            left = deadline - time.monotonic()
            self._executor.spin_once(timeout_sec=max(left, 0.0))
            if time.monotonic() >= deadline:
                return


def _playable(bag: BagReader, topics: list[str]) -> list[Connection]:
    """Return connections to publish; what cannot be is said on stderr, or an error if asked for."""
    held = {connection.topic for connection in bag.connections}
    if unknown := sorted(set(topics) - held):
        raise ValueError(
            f"{bag.path} has no topic {', '.join(unknown)}; it has {', '.join(sorted(held))}"
        )
    playable = []
    for connection in bag.connections:
        if connection.topic == "/clock" or (topics and connection.topic not in topics):
            continue
        try:
            message_class(connection.msgtype)
        except ImportError as error:
            if topics:
                raise
            _say(f"{connection.topic} is left out: {error}")
            continue
        playable.append(connection)
    if not sum(connection.msgcount for connection in playable):
        raise ValueError(f"{bag.path} holds no message that can be published")
    if unstamped := _unstamped(bag, playable):
        raise ValueError(
            f"{bag.path}: every stamp on {', '.join(unstamped)} is 0: its driver left header.stamp "
            "unset, and nothing can be matched in time; publish the others by --topics"
        )
    return playable


def _unstamped(bag: BagReader, connections: list[Connection]) -> list[str]:
    """Return topics of sensors whose first messages all have the stamp 0."""
    seen = {c.topic: 0 for c in connections if c.msgtype in STAMPED and c.msgcount}
    stamped: set[str] = set()
    for connection, _, data in bag.messages([c for c in connections if c.topic in seen]):
        if len(data) < 12:
            raise ValueError(f"{bag.path}: a message on {connection.topic} has {len(data)} bytes")
        # four bytes of CDR's own, the second of which says the order of the others
        stamp = struct.unpack_from("<iI" if data[1] & 1 else ">iI", data, 4)
        seen[connection.topic] += 1
        if stamp != (0, 0):
            stamped.add(connection.topic)
        if all(topic in stamped or count >= MAX_STAMPS_SEEN for topic, count in seen.items()):
            break
    return sorted(set(seen) - stamped)


def _say(text: str) -> None:
    print(f"g2s-replay: {text}", file=sys.stderr, flush=True)


def _run(args: argparse.Namespace) -> int:
    with ExitStack() as stack:
        if is_ros1(args.bag):
            raise ValueError(
                f"{args.bag} is a ROS 1 bag: `rosbags-convert --src {args.bag} --dst "
                f"{args.bag.with_suffix('')}` makes a ROS 2 bag of it"
            )
        bag = stack.enter_context(BagReader(args.bag))
        if bag.message_count == 0:
            raise ValueError(f"{args.bag} holds no messages")
        if bag.start_time <= 0:
            raise ValueError(
                f"{args.bag}: its first message was logged at {bag.start_time} ns: the recorder "
                "had no clock (use_sim_time without /clock?), and nothing can be played in time"
            )
        context = Context()
        # Python's own handler turns Ctrl-C into KeyboardInterrupt, which closes everything.
        rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
        stack.callback(context.try_shutdown)
        node = Node("g2s_replay", context=context, start_parameter_services=False)
        stack.callback(node.destroy_node)
        replay = Replay(node, bag, args.topics, args.rate)
        recorder = None
        if args.record is not None:
            recorder = Recorder(node, args.record_topics, args.record, lambda: replay.stamp)
            stack.enter_context(recorder)
            node.create_timer(0.1, recorder.subscribe)
        return _replay(args, replay, recorder)


def _replay(args: argparse.Namespace, replay: Replay, recorder: Recorder | None) -> int:
    _say(f"waiting up to {args.wait:g} s for a subscriber of {' or '.join(replay.awaited)}")
    if not replay.wait(lambda: replay.is_heard() and not (recorder and recorder.unseen), args.wait):
        silent = [] if replay.is_heard() else ["nobody listens"]
        unseen = [f"nobody publishes {topic}" for topic in (recorder.unseen if recorder else [])]
        _say(f"starting although {', '.join(silent + unseen)}")
    replay.wait(lambda: False, SETTLE_S)
    count = replay.play()
    if recorder is None:
        replay.drain(lambda: False, SETTLE_S)
        print(f"{args.bag}: {count} messages published.")
        return 0
    end = time.monotonic()
    replay.drain(
        lambda: time.monotonic() - max(end, recorder.last_arrival) >= args.drain,
        MAX_DRAINS * args.drain,
    )
    recorded = ", ".join(f"{number} on {topic}" for topic, number in recorder.counts.items())
    print(f"{args.bag}: {count} messages published; {args.record}: {recorded}.")
    if recorder.unseen:
        _say(f"error: nobody ever published {', '.join(recorder.unseen)}")
        return 1
    return 0


def _positive(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value > 0.0):
        raise argparse.ArgumentTypeError(f"must be positive, got {text}")
    return value


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="g2s-replay", description=__doc__)
    parser.add_argument("bag", type=Path, metavar="BAG", help="a ROS 2 bag, MCAP or SQLite")
    parser.add_argument("--rate", type=_positive, default=1.0, help="times the recorded pace")
    parser.add_argument("--topics", nargs="+", default=[], help="publish these only")
    parser.add_argument(
        "--wait", type=_positive, default=30.0, metavar="SECONDS",
        help="longest wait for a subscriber of the images before starting anyway",
    )  # fmt: skip
    parser.add_argument("--record", type=Path, metavar="OUT", help="write a new bag of answers")
    parser.add_argument("--record-topics", nargs="+", default=[], metavar="TOPIC")
    parser.add_argument(
        "--drain", type=_positive, default=3.0, metavar="SECONDS",
        help="the recording ends after so long without a message; at the latest after ten times it",
    )  # fmt: skip
    args = parser.parse_args(argv)
    if (args.record is None) != (not args.record_topics):
        parser.error("--record and --record-topics need each other")
    if relative := [topic for topic in args.record_topics if not topic.startswith("/")]:
        parser.error(f"--record-topics must start with /, got {', '.join(relative)}")
    try:
        return _run(args)
    except KeyboardInterrupt:
        _say("interrupted")
        return 130
    except (OSError, ValueError, ImportError) as error:
        _say(f"error: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
