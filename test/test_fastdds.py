# SPDX-License-Identifier: Apache-2.0
"""The shipped Fast DDS profile: no image of a camera is lost between two processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROFILE = Path(__file__).resolve().parents[1] / "config" / "fastdds.xml"
COUNT = 40

SETUP = """
import array, sys, time
import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

rclpy.init()
node = rclpy.create_node("camera_test")
# Deep enough for a busy machine: only what the transport loses is missing.
qos = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
count, deadline = int(sys.argv[1]), time.monotonic() + 20.0
"""
PUBLISH = (
    SETUP
    + """
publisher = node.create_publisher(Image, "profile_test/image", qos)
while publisher.get_subscription_count() == 0 and time.monotonic() < deadline:
    time.sleep(0.02)
time.sleep(0.2)
data = array.array("B", bytes(1242 * 375 * 3))
for number in range(count):
    image = Image(width=1242, height=375, encoding="rgb8", step=1242 * 3, data=data)
    image.header.stamp.sec = number
    publisher.publish(image)
    time.sleep(0.05)
"""
)
SUBSCRIBE = (
    SETUP
    + """
seen = []
take = lambda image: seen.append(image.header.stamp.sec)
node.create_subscription(Image, "profile_test/image", take, qos)
while count - 1 not in seen and time.monotonic() < deadline:
    rclpy.spin_once(node, timeout_sec=0.1)
print(len(seen))
"""
)


@pytest.mark.ros
def test_every_image_at_20_hz_arrives_with_the_profile():
    environment = os.environ | {
        "FASTRTPS_DEFAULT_PROFILES_FILE": str(PROFILE),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    }
    command = [sys.executable, "-c", SUBSCRIBE, str(COUNT)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as listener:
        command[2] = PUBLISH
        subprocess.run(command, env=environment, check=True, timeout=60)
        assert listener.communicate(timeout=60)[0].split() == [str(COUNT)]
