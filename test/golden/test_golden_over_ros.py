# SPDX-License-Identifier: Apache-2.0
"""The golden pair as messages: bridge, node and g2s-replay answer as the Localizer does."""

import math
import subprocess
import sys

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy", reason="rclpy is not installed")

import rclpy
from geometry_msgs.msg import Quaternion
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.serialization import deserialize_message, serialize_message
from rosbags.rosbag2 import Reader
from sensor_msgs.msg import CameraInfo, Image, Imu, NavSatFix, NavSatStatus
from std_msgs.msg import Header

from g2s_localizer import Localizer, LocalizerConfig, Observation
from g2s_localizer.geometry import LocalFrame
from g2s_localizer.ros.bridge import LocalizerBridge
from g2s_localizer.ros.conversions import image_message, time_message
from g2s_localizer.ros.parameters import Parameters
from g2s_localizer.tools.bags.new_bag import jazzy_types, new_bag

SPEED = 9.0
TOPICS = {Image: "/image", CameraInfo: "/camera_info", NavSatFix: "/fix", Imu: "/imu"}
pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def registration_type():
    """g2s_localizer/Registration, which `make setup` generates."""
    return pytest.importorskip(
        "g2s_localizer.msg", reason="messages are not generated: run the tests by `make test`"
    ).Registration


@pytest.fixture(scope="module")
def parameters(description, pair, uri):
    """All that the node must be told of this vehicle and its imagery."""
    camera, prior, datum = description["camera"], description["prior"], pair.world.datum
    return {
        "imagery.uri": uri,
        "map.datum_latitude": datum.lat,
        "map.datum_longitude": datum.lon,
        "camera.translation": camera["translation"],
        "camera.rotation_rpy": camera["rotation_rpy"],
        "heading.default_sigma": math.radians(prior["sigma_yaw_deg"]),
    }


@pytest.fixture(scope="module")
def messages(pair):
    """(stamp ns, message) of a drive at 9 m/s on a straight line, through the golden pose with
    its one image: fixes and headings at 10 Hz, all wrong by the error of the prior.
    """
    observation = pair.observation(pair.world)
    prior, middle = observation.prior, observation.stamp_ns
    course = pair.world.yaw
    sent = []
    for tick in range(-30, 16):
        stamp, along = middle + tick * 100_000_000, SPEED * 0.1 * tick
        x, y = prior.pose.x + along * math.cos(course), prior.pose.y + along * math.sin(course)
        place = LocalFrame(pair.world.datum).to_latlon(x, y)
        variance = float(prior.covariance[0, 0])
        fix = NavSatFix(header=header(stamp, "gnss"), latitude=place.lat, longitude=place.lon)
        fix.status.status = NavSatStatus.STATUS_FIX
        fix.position_covariance = np.diag([variance, variance, variance]).ravel()
        fix.position_covariance_type = NavSatFix.COVARIANCE_TYPE_DIAGONAL_KNOWN
        # a heading that is not always the same to the last bit, as no compass is
        yaw = prior.pose.yaw + 1e-4 * tick
        imu = Imu(header=header(stamp, "imu"))
        imu.orientation = Quaternion(z=math.sin(yaw / 2), w=math.cos(yaw / 2))
        imu.orientation_covariance = np.diag([1e-4, 1e-4, float(prior.covariance[2, 2])]).ravel()
        sent += [(stamp, fix), (stamp, imu)]
    return sent, (middle, camera_info(pair, middle)), (middle, image(pair, middle))


def header(stamp, frame):
    return Header(stamp=time_message(stamp), frame_id=frame)


def image(pair, stamp):
    return image_message(pair.image, header(stamp, "camera"), "rgb8", pair.camera.width)


def camera_info(pair, stamp):
    camera = pair.camera
    info = CameraInfo(
        header=header(stamp, "camera"), width=camera.width, height=camera.height,
        distortion_model="plumb_bob", d=[0.0] * 5,
    )  # fmt: skip
    info.k, info.r = camera.K.ravel(), np.eye(3).ravel()
    info.p = np.hstack([camera.K, np.zeros((3, 1))]).ravel()
    return info


@pytest.fixture(scope="module")
def outgoing(registration_type, parameters, messages):
    """What a bridge, set up by the node's parameters, makes of the messages."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = Node(
        "golden", context=context, automatically_declare_parameters_from_overrides=True,
        parameter_overrides=[Parameter(name, value=value) for name, value in parameters.items()],
    )  # fmt: skip
    config = Parameters(node).read()
    node.destroy_node()
    context.try_shutdown()
    bridge = LocalizerBridge(Localizer.from_config(config.localizer), config.bridge)
    sensors, (_, info), (_, picture) = messages
    for _, message in sensors:
        (bridge.on_fix if isinstance(message, NavSatFix) else bridge.on_imu)(message)
    return bridge.on_image(picture, info)


def test_a_bridge_answers_as_the_localizer_does_bit_for_bit(outgoing, pair, uri):
    estimate = outgoing.estimate
    observation = Observation(estimate.stamp_ns, pair.image, pair.camera, estimate.prior)
    direct = Localizer.from_config(LocalizerConfig(uri)).localize(observation)
    assert estimate.accepted and estimate.pose == direct.pose
    np.testing.assert_array_equal(estimate.covariance, direct.covariance)


def test_the_messages_give_the_prior_that_they_were_made_of(outgoing, pair):
    prior, expected = outgoing.estimate.prior, pair.observation(pair.world).prior
    got, wanted = (np.array([p.pose.x, p.pose.y, p.pose.yaw]) for p in (prior, expected))
    np.testing.assert_allclose(got, wanted, atol=1e-3)


def test_the_bridges_pose_is_the_known_one(outgoing, pair):
    pose, truth = outgoing.pose.pose.pose, pair.world.pose
    assert math.hypot(pose.position.x - truth.x, pose.position.y - truth.y) < 0.5
    yaw = 2.0 * math.atan2(pose.orientation.z, pose.orientation.w)
    assert abs(math.remainder(yaw - truth.yaw, math.tau)) < math.radians(1.0)


@pytest.fixture(scope="module")
def bag(messages, tmp_path_factory):
    """The messages as a bag of a few hundred kB."""
    sensors, info, picture = messages
    out = tmp_path_factory.mktemp("bag") / "golden"
    types = jazzy_types()
    with new_bag(out) as writer:
        connections = {
            kind: writer.add_connection(topic, f"sensor_msgs/msg/{kind.__name__}", typestore=types)
            for kind, topic in TOPICS.items()
        }
        for stamp, message in sorted([*sensors, info, picture], key=lambda sent: sent[0]):
            writer.write(connections[type(message)], stamp, serialize_message(message))
    return out


@pytest.fixture(scope="module")
def registrations(registration_type, parameters, bag, tmp_path_factory):
    """The registrations that g2s-replay records of a node in a process of its own."""
    folder = tmp_path_factory.mktemp("node")
    file, recording = folder / "parameters.yaml", folder / "recording"
    # the image lies 3 s into the bag: by then discovery has long ended
    values = {**parameters, "use_sim_time": True}
    file.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}))
    node = [sys.executable, "-m", "g2s_localizer.ros.node", "--ros-args", "--params-file", file]
    replay = [sys.executable, "-m", "g2s_localizer.tools.bags.replay_bag", bag]
    replay += ["--record", recording]
    replay += ["--record-topics", "/localizer/registration", "--wait", "60"]
    with (folder / "node.log").open("w") as log:
        process = subprocess.Popen(list(map(str, node)), stdout=log, stderr=subprocess.STDOUT)
        try:
            subprocess.run(list(map(str, replay)), check=True, timeout=110, capture_output=True)
        finally:
            process.terminate()
            process.wait(20)
    with Reader(recording) as reader:
        data = [bytes(data) for *_, data in reader.messages()]
    return [deserialize_message(one, registration_type) for one in data]


@pytest.mark.slow
def test_node_and_replay_give_the_bridges_answer_to_the_millimetre(registrations, outgoing):
    (registration,) = registrations
    expected = outgoing.registration
    assert registration.accepted and registration.header == expected.header
    for part in ("prior", "pose"):
        got, wanted = (getattr(message, part) for message in (registration, expected))
        # another process may have another number of threads
        np.testing.assert_allclose(numbers(got), numbers(wanted), atol=1e-3)
    assert registration.checkpoint == expected.checkpoint


def numbers(pose):
    """Position, orientation and covariance of a PoseWithCovariance, huge variances left out."""
    position, orientation = pose.pose.position, pose.pose.orientation
    covariance = np.asarray(pose.covariance)
    values = [position.x, position.y, orientation.z, orientation.w]
    return np.array([*values, *covariance[covariance < 1e3]])
