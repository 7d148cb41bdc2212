# SPDX-License-Identifier: Apache-2.0
"""A real node in a process of its own, a small real localizer for it, and a peer over DDS."""

import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

sys.path.append(str(Path(__file__).parent))
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
os.environ.setdefault("ROS_DOMAIN_ID", str(os.getpid() % 101 + 1))

import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped, Quaternion
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from node_process import NodeProcess
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, Imu, NavSatFix, NavSatStatus

from g2s_localizer.estimator.config import LocalizerConfig
from g2s_localizer.estimator.estimate import Observation, Prior
from g2s_localizer.estimator.gate import GateConfig
from g2s_localizer.estimator.localizer import Localizer
from g2s_localizer.geometry import LatLon, LocalFrame, Pose2D
from g2s_localizer.geometry.geodesy import mercator_pixel
from g2s_localizer.geometry.mounting import extrinsic_from_parameters
from g2s_localizer.messages import camera_from, image_from
from g2s_localizer.model import G2SNet, model_config, save_checkpoint
from g2s_localizer.ros.conversions import image_message, time_message

PLACE = LatLon(49.01, 8.42)
SECOND = 1_000_000_000
TINY = model_config(
    width=4, levels=3, features=4, crop_m=48.0, reach_m=12.0, gsd=0.5, ground_height=64,
    ground_width=128,
)  # fmt: skip


@pytest.fixture(scope="session")
def registration_type():
    """g2s_localizer/Registration, which `make setup` generates."""
    messages = pytest.importorskip(
        "g2s_localizer.msg", reason="messages are not generated: run the tests by `make test`"
    )
    return messages.Registration


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """Parameters of a small, untrained localizer on random tiles around PLACE, its gate open.

    What an untrained network answers is chance: this one accepts the image of `sensors` 2.5 m
    east of PLACE.
    """
    folder = tmp_path_factory.mktemp("store")
    px, py = mercator_pixel(PLACE.lat, PLACE.lon, 19)
    x, y = int(px // 256), int(py // 256)
    rng = np.random.default_rng(0)
    for column in range(x - 2, x + 3):
        (folder / f"19/{column}").mkdir(parents=True)
        for row in range(y - 2, y + 3):
            tile = rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)
            cv2.imwrite(str(folder / f"19/{column}/{row}.png"), tile)
    checkpoint = folder / "tiny.safetensors"
    save_accepting_network(checkpoint, f"slippy:{folder}")
    return {
        "imagery.uri": f"slippy:{folder}",
        "checkpoint": str(checkpoint),
        "gate.max_ellipse_m": 100.0,
        "gate.max_innovation": 100.0,
        "gate.max_entropy": 1.0,
        "gate.max_peak_ratio": 1.0,
        "map.datum_latitude": PLACE.lat,
        "map.datum_longitude": PLACE.lon,
        # A test publishes all at once, and topics have no common order.
        "prior.max_wait_s": 2.0,
    }


OPEN = GateConfig(max_ellipse_m=100.0, max_innovation=100.0, max_entropy=1.0, max_peak_ratio=1.0)


def save_accepting_network(checkpoint: Path, imagery: str) -> None:
    T = extrinsic_from_parameters(np.array([1.0805, -0.25, 1.6593]), np.zeros(3))
    camera = camera_from(camera_info(0), T, rectified=False)
    prior = Prior(0, Pose2D(2.5, 0.0, 0.4), np.diag([1.0, 1.0, 1e-3]), LocalFrame(PLACE))
    observation = Observation(0, image_from(image(0)), camera, prior)
    for seed in range(50):
        torch.manual_seed(seed)
        save_checkpoint(checkpoint, G2SNet(TINY), {})
        localizer = Localizer.from_config(LocalizerConfig(imagery, str(checkpoint), gate=OPEN))
        if localizer.localize(observation).accepted:
            return
    raise AssertionError("no untrained network accepts the image")


@pytest.fixture
def start_node(tmp_path):
    """start_node(parameters, *remaps) -> NodeProcess; whatever still runs is ended."""
    started = []

    def start(changes: dict, *remaps: str) -> NodeProcess:
        folder = tmp_path / f"node{len(started)}"
        folder.mkdir()
        started.append(NodeProcess(folder, changes, *remaps))
        return started[-1]

    yield start
    for node in started:
        if node.process.is_alive():
            node.stop(signal.SIGKILL)


class Peer:
    """The vehicle: publishes sensors, keeps what the localizer says. Spins in a thread."""

    def __init__(self, registration_type: type, name: str = "localizer"):
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = Node("peer", context=self.context)
        self.name = name
        self.registrations, self.poses, self.diagnostics = [], [], []
        self.pictures: dict[str, list] = {}
        best_effort = QoSProfile(depth=5, reliability=QoSReliabilityPolicy.BEST_EFFORT)
        self.publishers = {
            kind: self.node.create_publisher(kind, topic, qos)
            for kind, topic, qos in (
                (Image, "image", best_effort),
                (CameraInfo, "camera_info", best_effort),
                (NavSatFix, "fix", 10),
                (Imu, "imu", 10),
            )
        }
        for kind, topic, kept in (
            (registration_type, f"/{name}/registration", self.registrations),
            (PoseWithCovarianceStamped, f"/{name}/pose", self.poses),
            (DiagnosticArray, "/diagnostics", self.diagnostics),
        ):
            self.node.create_subscription(kind, topic, kept.append, 50)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.thread = threading.Thread(target=self.executor.spin)
        self.thread.start()

    def close(self) -> None:
        self.executor.shutdown()
        self.thread.join()
        self.node.destroy_node()
        self.context.try_shutdown()

    def watch(self, picture: str) -> list:
        kept = self.pictures.setdefault(picture, [])
        self.node.create_subscription(Image, f"/{self.name}/{picture}", kept.append, 10)
        return kept

    def publish(self, *messages) -> None:
        for message in messages:
            self.publishers[type(message)].publish(message)

    def wait_connected(self) -> None:
        """The active node's subscriptions and publishers are matched with ours."""
        wait_for(lambda: all(p.get_subscription_count() for p in self.publishers.values()))
        wait_for(lambda: self.node.count_publishers(f"/{self.name}/registration"))

    def call(self, service_type: type, service: str, request, timeout: float = 30.0):
        client = self.node.create_client(service_type, f"/{self.name}/{service}")
        assert client.wait_for_service(timeout), f"no service {service}"
        future = client.call_async(request)
        wait_for(future.done, timeout)
        self.node.destroy_client(client)
        return future.result()

    def change_state(self, transition: int) -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        return self.call(ChangeState, "change_state", request).success

    def state(self) -> str:
        return self.call(GetState, "get_state", GetState.Request()).current_state.label

    def diagnosis(self) -> dict[str, str]:
        """Values of the newest DiagnosticStatus, with its message and level."""
        status = self.diagnostics[-1].status[0]
        values = {item.key: item.value for item in status.values}
        return {**values, "message": status.message, "level": str(status.level[0])}


@pytest.fixture
def peer(registration_type):
    peer = Peer(registration_type)
    yield peer
    peer.close()


def wait_for(condition, timeout: float = 30.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not so within {timeout} s"
        time.sleep(0.01)


def fix(t: float, x: float = 0.0, y: float = 0.0) -> NavSatFix:
    """At t seconds, x, y metres from PLACE, with a sigma of 1 m."""
    place = LocalFrame(PLACE).to_latlon(x, y)
    message = NavSatFix(latitude=place.lat, longitude=place.lon)
    message.header.stamp = stamp(t)
    message.status.status = NavSatStatus.STATUS_FIX
    message.position_covariance = np.diag([1.0, 1.0, 4.0]).ravel()
    message.position_covariance_type = NavSatFix.COVARIANCE_TYPE_DIAGONAL_KNOWN
    return message


def imu(t: float, yaw: float = 0.4) -> Imu:
    message = Imu(orientation=Quaternion(z=np.sin(yaw / 2), w=np.cos(yaw / 2)))
    message.header.stamp = stamp(t)
    message.orientation_covariance = np.diag([1e-3, 1e-3, 1e-3]).ravel()
    return message


def image(t: float, width: int = 128, height: int = 96) -> Image:
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    message = image_message(pixels, imu(t).header, "rgb8", width)
    message.header.frame_id = "camera"
    return message


def camera_info(t: float, width: int = 128, height: int = 96) -> CameraInfo:
    message = CameraInfo(width=width, height=height, distortion_model="plumb_bob")
    message.header.stamp = stamp(t)
    message.header.frame_id = "camera"
    message.k = [80.0, 0.0, 63.5, 0.0, 80.0, 30.0, 0.0, 0.0, 1.0]
    message.p = [80.0, 0.0, 63.5, 0.0, 0.0, 80.0, 30.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    return message


def stamp(t: float) -> Time:
    return time_message(round(t * SECOND))


@pytest.fixture(scope="session")
def sensors():
    """Messages of a vehicle at PLACE: fix, imu, image, camera_info(t), and a drive east."""

    def drive(begin: float, end: float, step: float = 0.1) -> list:
        """Fixes and headings from begin to end, 5 m/s east from PLACE at t = begin."""
        times = np.arange(begin, end + 1e-9, step)
        return [m for t in times for m in (fix(t, 5.0 * (t - begin)), imu(t))]

    return SimpleNamespace(
        place=PLACE, fix=fix, imu=imu, image=image, camera_info=camera_info, drive=drive
    )


@pytest.fixture(scope="session")
def wait():
    return wait_for
