# SPDX-License-Identifier: Apache-2.0
"""Malformed messages over DDS: the node lives, its memory stays, the next good image is localised.

G2S_FUZZ_MESSAGES: how many on each topic; `make fuzz` sends 10,000.
"""

import math
import os
import random
import struct
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from geometry_msgs.msg import TwistWithCovarianceStamped as Twist
from nav_msgs.msg import Odometry
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.timeout(3600)]

MESSAGES = int(os.environ.get("G2S_FUZZ_MESSAGES", "200"))
GROWTH_MB = 64.0
"""What the node may grow by, whatever it is sent: its history of fixes and headings fills."""

FLOATS = (math.nan, math.inf, -math.inf, 0.0, -0.0, -1.0, 1e308, 5e-324, 181.0, 90.0, 1e-3, 2.5)
TEXTS = (
    *("", "rgb8", "mono16", "nv12", "bayer_rggb8", "16UC1", "jpeg", "rgb8; jpeg compressed"),
    *("plumb_bob", "equidistant", "map", "ä" * 5000, "\x1b[31m", "../../etc/passwd"),
)
BYTES = (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n" + bytes(40), b"RIFF\x00\x00\x00\x00WEBP")
SIZES = (0, 1, 2, 3, 96, 128, 255, 65_535, 2**31 - 1)


def damaged(random_, good):
    """The good message with some of its fields replaced, or its bytes cut and overwritten."""
    if random_.random() < 0.2:
        return damaged_bytes(random_, bytearray(serialize_message(good)))
    message = type(good)()
    chance = random_.choice((0.05, 0.3, 1.0))
    for name, kind in good.get_fields_and_field_types().items():
        setattr(message, name, damaged_field(random_, getattr(good, name), kind, chance))
    return message


def damaged_field(random_, value, kind, chance):
    if hasattr(value, "get_fields_and_field_types"):
        new = type(value)()
        for name, inner in value.get_fields_and_field_types().items():
            setattr(new, name, damaged_field(random_, getattr(value, name), inner, chance))
        return new
    if random_.random() > chance:
        return value
    if kind.startswith("sequence<uint8"):
        return list(random_.choice(BYTES) + random_.randbytes(random_.choice((0, 1, 300, 3000))))
    if kind.startswith(("double[", "sequence<double")):
        length = len(value) if "[" in kind else random_.choice((0, 1, 4, 5, 14))
        return [random_.choice(FLOATS) for _ in range(length)]
    if kind in ("double", "float"):
        return random_.choice(FLOATS)
    if kind == "string":
        return random_.choice(TEXTS)
    if kind == "boolean":
        return random_.random() < 0.5
    bits, signed = int("".join(filter(str.isdigit, kind))), not kind.startswith("u")
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return max(low, min(high, random_.choice((*SIZES, low, high))))


def damaged_bytes(random_, data):
    """CDR of another length, or with a number overwritten: lengths of 4 GB among them."""
    for _ in range(random_.choice((1, 1, 5))):
        at = random_.randrange(4, max(5, len(data) - 4))
        struct.pack_into("<I", data, at - at % 4, random_.choice((0, 2**31, 2**32 - 1, 7)))
    return bytes(data[: random_.choice((len(data), len(data), random_.randrange(4, len(data))))])


def memory_mb(process):
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def localised(peer, sensors, begin, image, others):
    """How many seconds of good messages from `begin` on it takes until there is a pose."""
    peer.poses.clear()
    for second in range(100):
        for i in range(10):
            t = begin + second + 0.1 * i
            peer.publish(sensors.fix(t, 2.5), sensors.imu(t), *others(t))
            time.sleep(0.005)
        at = begin + second + 0.5
        peer.publish(sensors.camera_info(at), image(at))
        until = time.monotonic() + 1.0
        while not peer.poses and time.monotonic() < until:
            time.sleep(0.02)
        if peer.poses:
            return second
    raise AssertionError(f"no pose: {peer.diagnosis()}")


def fuzz(peer, sensors, image, others):
    """Damaged messages on every topic, among good ones of about the same time."""
    random_ = random.Random(0)
    publishers = peer.publishers
    for number in range(MESSAGES):
        t = 2000.0 + 0.1 * number
        good = [sensors.fix(t, 2.5), sensors.imu(t), sensors.camera_info(t), image(t)]
        for message in [*good, *others(t)]:
            publishers[type(message)].publish(damaged(random_, message))
        if number % 4 == 0:  # one of a pair is right, so that the other one is read
            whole, broken = random_.sample(good[2:], 2)
            peer.publish(whole)
            publishers[type(broken)].publish(damaged(random_, broken))
        time.sleep(0.005)


def check(start_node, peer, wait, store, sensors, image, others=lambda t: []):
    node = start_node(store)
    wait(lambda: peer.diagnostics and peer.diagnosis()["state"] == "active", 60)
    wait(lambda: peer.publishers[type(image(0.0))].get_subscription_count())
    localised(peer, sensors, 1000.0, image, others)
    before = memory_mb(node.process)
    fuzz(peer, sensors, image, others)
    assert node.process.is_alive(), node.output.read_text()[-2000:]
    localised(peer, sensors, 3000.0 + 0.1 * MESSAGES, image, others)
    growth_mb = memory_mb(node.process) - before
    print(f"memory: {before:.0f} MB, and {growth_mb:+.1f} MB after {MESSAGES} of each topic")
    assert growth_mb < GROWTH_MB
    assert node.stop() == 0


def test_malformed_messages_harm_nothing(start_node, peer, wait, store, sensors):
    peer.publishers[Odometry] = peer.node.create_publisher(Odometry, "odometry", 10)

    def odometry(t):
        return [Odometry(header=sensors.imu(t).header, child_frame_id="base_link")]

    check(start_node, peer, wait, store, sensors, sensors.image, odometry)


def test_malformed_compressed_images_and_twists_harm_nothing(
    start_node, peer, wait, store, sensors
):
    for kind, topic in ((CompressedImage, "image/compressed"), (Twist, "twist")):
        peer.publishers[kind] = peer.node.create_publisher(kind, topic, 10)

    def image(t):
        raw = sensors.image(t)
        pixels = np.reshape(raw.data, (raw.height, raw.width, 3))[:, :, ::-1]
        data = cv2.imencode(".png", pixels)[1].tobytes()
        return CompressedImage(header=raw.header, format="rgb8; png compressed bgr8", data=data)

    def twist(t):
        return [Twist(header=sensors.imu(t).header)]

    changes = {"image.transport": "compressed", "prior.motion": "twist"}
    check(start_node, peer, wait, store | changes, sensors, image, twist)
