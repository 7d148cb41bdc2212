# SPDX-License-Identifier: Apache-2.0
"""Recording: what one pass over a bag finds of a vehicle's sensors."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from g2s_localizer.bag_reader import BagReader
from g2s_localizer.geometry import Camera, LatLon, Panorama
from g2s_localizer.messages import CameraReader, image_from
from g2s_localizer.motion_messages import checked_stamp_ns, planar_pose
from training.data.bag_config import BagConfig
from training.data.files import name_some

FloatArray = NDArray[np.float64]

_LOG = logging.getLogger(__name__)

_TRIES = 5
"""Images of an encoding that are decoded before it counts as one that cannot be read."""


@dataclass(frozen=True)
class RecordedImage:
    """Stamp and log time (ns), and how many images of its topic were logged before at that time."""

    stamp: int
    logged: int
    place: int


@dataclass
class Recording:
    """The usable messages of a bag; stamps in ns. Of the others `unusable` says why."""

    images: list[RecordedImage] = field(default_factory=list)
    sizes: set[tuple[int, int]] = field(default_factory=set)
    """(width, height) of the images that are not compressed"""
    fixes: list[tuple[int, LatLon, FloatArray]] = field(default_factory=list)
    """stamp, antenna, covariance (2, 2) (m^2)"""
    headings: list[tuple[int, float, float]] = field(default_factory=list)
    """stamp, yaw of base_link (rad), variance"""
    camera: Camera | Panorama | None = None
    truth_fix: tuple[int, LatLon] | None = None
    """the first one: stamp, base_link"""
    truth_poses: list[tuple[int, tuple[float, float, float]]] = field(default_factory=list)
    odometry: list[tuple[int, tuple[float, float, float]]] = field(default_factory=list)
    """stamp, x, y (m), yaw (rad)"""
    unusable: list[str] = field(default_factory=list)


def read_recording(bag: Path, config: BagConfig) -> Recording:
    """Read a rosbag2 folder or file, or a ROS 1 file.

    Raises FileNotFoundError, or ValueError naming the bag: for one that is damaged, for a topic
    that is not there, is of another type or has no usable message, images of which none can be
    read, and a camera that changes.
    """
    recording = Recording()
    camera = _InfoReader(f"{bag}: {config.camera_info}", config)
    encodings = _Encodings()
    with BagReader(bag) as reader:
        _require_topics(reader, config)
        wanted = {topic for topic, _ in _topics(config)}
        connections = [c for c in reader.connections if c.topic in wanted]
        previous, place = -1, 0
        for connection, logged, data in reader.messages(connections):
            topic = connection.topic
            if topic == config.image:
                place = place + 1 if logged == previous else 0
                previous = logged
            try:
                message = reader.deserialize(data, connection)
                stamp = checked_stamp_ns(message.header)
                if topic == config.image:
                    recording.images.append(RecordedImage(stamp, logged, place))
                    if hasattr(message, "width"):
                        recording.sizes.add((int(message.width), int(message.height)))
                    encodings.try_one(message)
                elif topic == config.camera_info:
                    camera.read(message)
                else:
                    _take(recording, config, topic, stamp, message)
            except ValueError as error:
                recording.unusable.append(f"{topic} at {logged} ns: {error}")
    recording.camera = camera.known
    needed = {
        config.image: recording.images,
        config.camera_info: recording.camera,
        config.fix: recording.fixes,
        config.heading: recording.headings,
        config.odometry: recording.odometry or not config.odometry,
    }
    for topic, found in needed.items():
        if not found:
            of_topic = [said for said in recording.unusable if said.startswith(f"{topic} at ")]
            why = name_some(of_topic) or "it is empty"
            raise ValueError(f"{bag}: no usable message on {topic}: {why}")
    if camera.change:
        raise ValueError(camera.change)
    encodings.require_one(f"{bag}: {config.image}")
    if recording.unusable:
        _LOG.warning(
            "%s: %d messages not used: %s",
            bag,
            len(recording.unusable),
            name_some(recording.unusable),
        )
    return recording


def _take(recording: Recording, config: BagConfig, topic: str, stamp: int, message: Any) -> None:
    """Add what a message says to the recording. Raises Unusable when that is nothing."""
    if topic == config.odometry:
        recording.odometry.append((stamp, planar_pose(message.pose.pose)))
    if topic == config.fix:
        recording.fixes.append((stamp, *config.fix_of(message)))
    elif topic == config.heading:
        recording.headings.append((stamp, *config.heading_of(message)))
    elif topic == config.truth_fix and recording.truth_fix is None:
        place, _ = config.fix_of(message)
        recording.truth_fix = stamp, place
    elif topic == config.truth_pose:
        recording.truth_poses.append((stamp, planar_pose(message.pose)))


class _InfoReader:
    """The one camera of all usable CameraInfos: drivers send zeros until they are calibrated."""

    def __init__(self, where: str, config: BagConfig) -> None:
        self.known: Camera | Panorama | None = None
        self.change = ""
        """what changed first, in a sentence"""
        self._where = where
        matrix = "p" if config.rectified else "k"
        self._parts = {"width": "width", "height": "height", matrix: "K", "d": "distortion"}
        self._reader = CameraReader(config.rectified)
        self._T = config.T_base_camera()

    def read(self, info: Any) -> None:
        """Read the bag's camera. Raises ValueError for a CameraInfo that says nothing."""
        camera = self._reader.read(info, self._T)
        if self.known is None:
            self.known = camera
        for name, attribute in self._parts.items():
            # a panorama has no distortion
            before, now = (getattr(each, attribute, 0.0) for each in (self.known, camera))
            if camera is not self.known and not self.change and not np.array_equal(before, now):
                self.change = f"{self._where} changes within the bag: {name} {before} becomes {now}"


class _Encodings:
    """Encodings of a topic's images that can be read, found out on the first of each."""

    def __init__(self) -> None:
        self._count: Counter[str] = Counter()
        self._failures: dict[str, list[str]] = {}
        self._readable: set[str] = set()

    def try_one(self, message: Any) -> None:
        kind = str(message.format if hasattr(message, "format") else message.encoding)
        self._count[kind] += 1
        failures = self._failures.setdefault(kind, [])
        if kind in self._readable or len(failures) >= _TRIES:
            return
        try:
            image_from(message)
            self._readable.add(kind)
        except ValueError as error:
            failures.append(str(error))

    def require_one(self, where: str) -> None:
        """Warn of encodings of which none of the first images could be read; raise ValueError
        when there is no other.
        """
        for kind in set(self._count) - self._readable:
            said = f"{where}: {self._count[kind]} images cannot be read: {self._failures[kind][0]}"
            if not self._readable:
                raise ValueError(said)
            _LOG.warning("%s", said)


def _topics(config: BagConfig) -> list[tuple[str, tuple[str, ...]]]:
    """Return topics that are read, with the types that they may have."""
    fix, odometry = ("sensor_msgs/msg/NavSatFix",), ("nav_msgs/msg/Odometry",)
    kinds = [
        (config.image, ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")),
        (config.camera_info, ("sensor_msgs/msg/CameraInfo",)),
        (config.fix, fix),
        (config.heading, ("sensor_msgs/msg/Imu", *odometry)),
        (config.odometry, odometry),
        (config.truth_fix, fix),
        (config.truth_pose, ("geometry_msgs/msg/PoseStamped",)),
    ]
    return [(topic, kind) for topic, kind in kinds if topic]


def _require_topics(reader: BagReader, config: BagConfig) -> None:
    there = {connection.topic: connection.msgtype for connection in reader.connections}
    for topic, kinds in _topics(config):
        if topic not in there and topic not in (config.truth_fix, config.truth_pose):
            raise ValueError(f"{reader.path} has nothing on {topic}; it has {reader.topics}")
        if topic in there and there[topic] not in kinds:
            raise ValueError(
                f"{reader.path}: {topic} is of type {there[topic]}, must be {' or '.join(kinds)}"
            )
