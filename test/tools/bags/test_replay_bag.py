# SPDX-License-Identifier: Apache-2.0
import os
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict

import numpy as np
import pytest
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from g2s_localizer.tools.bags.kitti_to_rosbag2 import IMAGES
from g2s_localizer.tools.bags.message_types import message_class
from g2s_localizer.tools.bags.replay_bag import main

pytestmark = [pytest.mark.ros, pytest.mark.timeout(60)]

TYPES = get_typestore(Stores.ROS2_JAZZY)
START = 1_700_000_000_000_000_000
IMAGE, FIX, CLOCK = "sensor_msgs/msg/Image", "sensor_msgs/msg/NavSatFix", "rosgraph_msgs/msg/Clock"
DOMAIN = 43 + os.getpid() % 25 * 2
BEST_EFFORT = QoSProfile(depth=100, reliability=QoSReliabilityPolicy.BEST_EFFORT)


def header(stamp):
    time_ = TYPES.types["builtin_interfaces/msg/Time"](sec=stamp // 10**9, nanosec=stamp % 10**9)
    return TYPES.types["std_msgs/msg/Header"](stamp=time_, frame_id="camera")


def image(stamp, value):
    data = np.full(40 * 60 * 3, value, np.uint8)
    return TYPES.types[IMAGE](
        header=header(stamp), height=40, width=60, encoding="rgb8", is_bigendian=0, step=180,
        data=data,
    )  # fmt: skip


def fix(stamp, lat):
    status = TYPES.types["sensor_msgs/msg/NavSatStatus"](status=0, service=1)
    return TYPES.types[FIX](
        header=header(stamp), status=status, latitude=lat, longitude=8.4, altitude=110.0,
        position_covariance=np.eye(3).ravel(), position_covariance_type=2,
    )  # fmt: skip


def write_bag(out, seconds=1.0, storage=StoragePlugin.MCAP, stamped=True, start=START):
    """Images at 10 Hz and fixes at 20 Hz; returns topic -> serialized messages in order.

    stamped  False: the fixes have the stamp 0, as a driver leaves it
    """
    written = defaultdict(list)
    with Writer(out, version=9, storage_plugin=storage) as bag:
        connections = {
            topic: bag.add_connection(topic, msgtype, typestore=TYPES, offered_qos_profiles=qos)
            for topic, msgtype, qos in (("/image", IMAGE, [IMAGES]), ("/fix", FIX, ()))
        }
        for tick in range(round(seconds * 20)):
            stamp = start + tick * 50_000_000
            made = {"/fix": fix(stamp * stamped, 49.0 + tick)}
            if tick % 2 == 0:
                made["/image"] = image(stamp, tick)
            for topic, message in made.items():
                data = bytes(TYPES.serialize_cdr(message, connections[topic].msgtype))
                data += bytes(-len(data) % 4)  # as DDS would, which sends words of 4 bytes
                bag.write(connections[topic], stamp, data)
                written[topic].append(data)
    return written


class Listener:
    """A node of its own context that hears serialized messages while it spins in a thread."""

    def __init__(self):
        self.context = Context()
        self.context.init(domain_id=DOMAIN)
        self.node = Node("listener", context=self.context)
        self.heard = defaultdict(list)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)

    def hear(self, topic, msgtype, answer=None):
        def on_message(data):
            self.heard[topic].append(bytes(data))
            if answer is not None:
                answer.publish(data)

        kind = message_class(msgtype)
        self.node.create_subscription(kind, topic, on_message, BEST_EFFORT, raw=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._executor.shutdown()
        self._thread.join()
        self.node.destroy_node()
        self.context.try_shutdown()


@pytest.fixture
def listener():
    with Listener() as made:
        yield made


def environment(domain):
    return {"ROS_DOMAIN_ID": str(domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}


@pytest.fixture
def replay(monkeypatch, capsys):
    """replay(*arguments) -> exit code, stdout and stderr of a whole replay"""

    def run(*arguments, domain=DOMAIN):
        for name, value in environment(domain).items():
            monkeypatch.setenv(name, value)
        return main(list(map(str, arguments))), *capsys.readouterr()

    return run


def bag_messages(bag):
    """Topic -> serialized messages of a bag."""
    found = defaultdict(list)
    with Reader(bag) as reader:
        for connection, _, data in reader.messages():
            found[connection.topic].append(bytes(data))
    return found


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_every_message_arrives_in_order_with_equal_bytes(tmp_path, listener, storage, replay):
    written = write_bag(tmp_path / "bag", storage=storage)
    listener.hear("/image", IMAGE)
    listener.hear("/fix", FIX)
    code, out, err = replay(tmp_path / "bag", "--rate", 2)
    assert (code, listener.heard) == (0, written)
    assert "30 messages published" in out and "waiting up to 30 s" in err


def test_a_bag_whose_metadata_says_another_quality_of_service_is_replayed(
    tmp_path, listener, replay
):
    written = write_bag(tmp_path / "bag")
    file = tmp_path / "bag" / "metadata.yaml"
    changed = file.read_text().replace("depth: 5", "depth: 7")
    assert changed != file.read_text()
    file.write_text(changed)
    listener.hear("/image", IMAGE)
    assert replay(tmp_path / "bag", "--rate", 4)[0] == 0
    assert listener.heard["/image"] == written["/image"]


def test_one_file_of_a_bag_is_replayed(tmp_path, listener, replay):
    written = write_bag(tmp_path / "bag", seconds=0.4)
    listener.hear("/image", IMAGE)
    assert replay(tmp_path / "bag" / "bag.mcap")[0] == 0
    assert listener.heard["/image"] == written["/image"]


def test_the_clock_never_runs_back_and_ticks_at_least_every_ten_milliseconds(
    tmp_path, listener, replay
):
    write_bag(tmp_path / "bag")
    listener.hear("/image", IMAGE)
    listener.hear("/clock", CLOCK)
    assert replay(tmp_path / "bag")[0] == 0
    clocks = [TYPES.deserialize_cdr(data, CLOCK).clock for data in listener.heard["/clock"]]
    stamps = np.array([clock.sec * 10**9 + clock.nanosec for clock in clocks])
    steps = np.diff(stamps)
    assert (stamps[0], stamps[-1] >= START + 950_000_000) == (START, True)
    assert steps.min() >= 0 and steps.max() <= 10_000_000


def test_the_clock_has_reached_a_message_s_stamp_when_the_message_comes(tmp_path, listener, replay):
    write_bag(tmp_path / "bag")
    listener.node.set_parameters([rclpy.Parameter("use_sim_time", value=True)])
    late = []
    listener.node.create_subscription(
        message_class(FIX),
        "/fix",
        lambda m: late.append(
            listener.node.get_clock().now().nanoseconds
            - (m.header.stamp.sec * 10**9 + m.header.stamp.nanosec)
        ),
        10,
    )
    listener.hear("/image", IMAGE)
    replay(tmp_path / "bag")
    assert len(late) == 20
    assert min(late) >= -10_000_000 and np.median(late) <= 20_000_000


def test_the_rate_scales_the_recorded_pace(tmp_path, listener, replay):
    write_bag(tmp_path / "bag", seconds=2.0)
    arrivals = []
    listener.node.create_subscription(
        message_class(IMAGE), "/image", lambda _: arrivals.append(time.monotonic()), BEST_EFFORT
    )
    replay(tmp_path / "bag", "--rate", 4)
    assert arrivals[-1] - arrivals[0] == pytest.approx(1.9 / 4, abs=0.1)


def test_the_recording_holds_what_came_back(tmp_path, listener, replay):
    written = write_bag(tmp_path / "bag")
    answer = listener.node.create_publisher(message_class(IMAGE), "/answer", 10)
    listener.hear("/image", IMAGE, answer)
    code, out, _ = replay(
        tmp_path / "bag", "--record", tmp_path / "out", "--record-topics", "/answer", "--drain", 1
    )
    assert (code, bag_messages(tmp_path / "out")) == (0, {"/answer": written["/image"]})
    assert "10 on /answer" in out


def test_generated_messages_are_recorded_with_their_definition(tmp_path, listener, replay):
    messages = pytest.importorskip("g2s_localizer.msg", reason="messages are not built")
    write_bag(tmp_path / "bag")
    listener.hear("/image", IMAGE)
    publisher = listener.node.create_publisher(messages.Registration, "/registration", 10)
    sent = messages.Registration(checkpoint="abc", latency=0.25)
    listener.node.create_timer(0.2, lambda: publisher.publish(sent))
    replay(tmp_path / "bag", "--record", tmp_path / "out", "--record-topics", "/registration",
           "--drain", 0.3)  # fmt: skip
    with Reader(tmp_path / "out") as reader:
        connection = reader.connections[0]
    assert connection.msgtype == "g2s_localizer/msg/Registration"
    assert "float64 datum_latitude" in connection.msgdef.data and connection.msgcount >= 3


def test_a_recorded_topic_that_nobody_publishes_is_an_error(tmp_path, listener, replay):
    write_bag(tmp_path / "bag")
    listener.hear("/image", IMAGE)
    code, _, err = replay(
        tmp_path / "bag", "--record", tmp_path / "out", "--record-topics", "/never",
        "--wait", 0.5, "--drain", 0.2,
    )  # fmt: skip
    assert code == 1 and "nobody ever published /never" in err
    assert bag_messages(tmp_path / "out") == {}


def test_without_a_listener_the_replay_starts_after_the_wait_and_says_so(tmp_path, replay):
    write_bag(tmp_path / "bag", seconds=0.2)
    code, _, err = replay(tmp_path / "bag", "--wait", 0.3, domain=DOMAIN + 1)
    assert code == 0
    assert "waiting up to 0.3 s for a subscriber of /image" in err
    assert "starting although nobody listens" in err


def test_an_interruption_ends_cleanly_and_keeps_the_recording(tmp_path, listener):
    write_bag(tmp_path / "bag", seconds=30.0)
    answer = listener.node.create_publisher(message_class(IMAGE), "/answer", 10)
    listener.hear("/image", IMAGE, answer)
    command = [sys.executable, "-m", "g2s_localizer.tools.bags.replay_bag", tmp_path / "bag"]
    command += ["--record", tmp_path / "out", "--record-topics", "/answer"]
    process = subprocess.Popen(
        command, env=os.environ | environment(DOMAIN), stderr=subprocess.PIPE, text=True
    )
    while len(listener.heard["/image"]) < 5:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130 and "Traceback" not in err
    assert len(bag_messages(tmp_path / "out")["/answer"]) >= 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "no such bag: nowhere"),
        (["{tmp}"], "{tmp} is no complete ROS 2 bag"),
        (["{tmp}/bag", "--topics", "/nope"], "has no topic /nope; it has /fix, /image"),
        (["{tmp}/empty"], "empty holds no messages"),
        (
            ["{tmp}/ros1.bag"],
            "ros1.bag is a ROS 1 bag: `rosbags-convert --src {tmp}/ros1.bag",
        ),
        (["{tmp}/unstamped"], "unstamped: every stamp on /fix is 0: its driver left header.stamp"),
        (["{tmp}/epoch"], "epoch: its first message was logged at 0 ns: the recorder had no clock"),
        (
            ["{tmp}/killed"],
            "killed is no complete ROS 2 bag: it has no metadata.yaml; `ros2 bag",
        ),
        (["{tmp}/bag", "--record", "{tmp}/bag", "--record-topics", "/a"], "bag exists already"),
    ],
)
def test_what_cannot_be_replayed_is_named(tmp_path, capsys, arguments, said):
    write_bag(tmp_path / "bag", seconds=0.1)
    write_bag(tmp_path / "empty", seconds=0.0)
    write_bag(tmp_path / "unstamped", stamped=False)
    write_bag(tmp_path / "killed")
    write_bag(tmp_path / "epoch", start=0)
    (tmp_path / "killed" / "metadata.yaml").unlink()
    (tmp_path / "ros1.bag").write_bytes(b"#ROSBAG V2.0\n")
    assert main([word.format(tmp=tmp_path) for word in arguments]) == 1
    assert said.format(tmp=tmp_path) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rate", "0"], "must be positive, got 0"),
        (["--record", "out"], "--record and --record-topics need each other"),
        (["--record", "out", "--record-topics", "pose"], "must start with /, got pose"),
    ],
)
def test_nonsense_options_are_refused(capsys, arguments, said):
    with pytest.raises(SystemExit) as exit_:
        main(["bag", *arguments])
    assert exit_.value.code == 2 and said in capsys.readouterr().err
