# SPDX-License-Identifier: Apache-2.0
"""Recorded bags as pairs: train on a vehicle of one's own, from its own GNSS and heading."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.typesys import Stores, get_typestore

from g2s_localizer.estimator.prior import Prior, PriorBuffer
from g2s_localizer.geometry import LatLon
from g2s_localizer.geometry.mounting import extrinsic_from_parameters
from g2s_localizer.imagery import Imagery
from g2s_localizer.messages import camera_from, image_from, stamp_ns
from g2s_localizer.model import ModelConfig
from training.datasets import messages
from training.datasets.drives import DriveDataset, LabelledDrive
from training.datasets.files import name_some
from training.datasets.track import odometry_track, truth_track

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class BagConfig:
    """What to read of a bag and how; names and units as in the node's parameters.

    Topics: `image` raw or compressed, `heading` sensor_msgs/Imu or nav_msgs/Odometry. The truth
    of a bag is used for scoring where both of its topics are there: `truth_pose` (PoseStamped)
    in the ENU map at the first `truth_fix`, as g2s-kitti-to-rosbag2 writes them. `odometry`
    nav_msgs/Odometry whose pose is smooth (wheels, gyroscope; no GNSS in it): training.distil
    needs it; "": not read.
    Lengths in m, angles in rad.
    """

    camera_translation: tuple[float, float, float]
    """of the camera on base_link, whose z = 0 is the road"""
    camera_rpy: tuple[float, float, float]
    image: str = "/camera/image_raw"
    camera_info: str = "/camera/camera_info"
    fix: str = "/gnss/fix"
    heading: str = "/imu/data"
    odometry: str = ""
    truth_fix: str = "/truth/fix"
    truth_pose: str = "/truth/pose"
    rectified: bool = False
    """images are: P without distortion in place of K and D"""
    antenna_offset: tuple[float, float] = (0.0, 0.0)
    gnss_default_sigma_m: float = 10.0
    imu_rpy: tuple[float, float, float] = (0.0, 0.0, 0.0)
    heading_offset: float = 0.0
    heading_default_sigma: float = 0.05
    max_gap_s: float = 2.5
    max_extrapolation_s: float = 1.2

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not isinstance(value, str) and not np.isfinite(value).all():
                raise ValueError(f"BagConfig.{each.name} must be finite, got {value}")
        if not self.camera_translation[2] > 0:
            raise ValueError(
                "BagConfig.camera_translation must put the camera above the road, got z = "
                f"{self.camera_translation[2]}"
            )
        for name in ("gnss_default_sigma_m", "heading_default_sigma"):
            if not getattr(self, name) > 0:
                raise ValueError(f"BagConfig.{name} must be positive, got {getattr(self, name)}")


class RosbagDataset(DriveDataset):
    """The images of recorded bags around the priors that the node would have had.

    A bag is a rosbag2 folder (or a ROS 1 file). Images without a prior (or without odometry
    where it is asked for, or without a truth where the bag has one) are left out, counted and
    named in `missing` and in a warning, and so are messages that cannot be used. Raises
    ValueError when a bag lacks a topic or no image is left.
    """

    def __init__(
        self, bags: Sequence[Path], imagery: Imagery, model: ModelConfig, config: BagConfig
    ) -> None:
        missing: list[str] = []
        drives = [_labelled(bag, imagery, config, missing) for bag in bags]
        self.missing = tuple(missing)
        super().__init__(drives, model)


class BagImages:
    """Images of a topic by their number, read from the bag when asked for, in any process."""

    def __init__(self, bag: Path, topic: str, logged_ns: Sequence[int]) -> None:
        self._bag, self._topic = bag, topic
        self._logged_ns = list(logged_ns)
        self._process, self._reader = -1, None

    def __call__(self, number: int) -> NDArray[np.uint8]:
        logged = self._logged_ns[number]
        first = self._logged_ns.index(logged)
        reader = self._open()
        connections = [c for c in reader.connections if c.topic == self._topic]
        try:
            found = list(reader.messages(connections, start=logged, stop=logged + 1))
            connection, _, data = found[number - first]
            return image_from(reader.deserialize(data, connection.msgtype))
        except (AnyReaderError, IndexError) as error:
            raise ValueError(f"{self._bag}: image {number} on {self._topic}: {error}") from error

    def _open(self) -> AnyReader:
        if self._reader is None or self._process != os.getpid():
            self._process, self._reader = os.getpid(), _reader(self._bag)
            self._reader.open()
        return self._reader

    def __reduce__(self) -> tuple[type[BagImages], tuple[Path, str, list[int]]]:
        return BagImages, (self._bag, self._topic, self._logged_ns)


@dataclass
class _Recording:
    """What one pass over a bag finds; stamps and log times in ns."""

    images: list[tuple[int, int]] = field(default_factory=list)
    """stamp, log time"""
    sizes: set[tuple[int, int]] = field(default_factory=set)
    """(width, height) of the images that are not compressed"""
    samples: list[tuple[int, LatLon | float, Any]] = field(default_factory=list)
    """stamp, antenna or yaw, its covariance or variance"""
    info: Any = None
    truth_fix: Any = None
    truth_poses: list[Any] = field(default_factory=list)
    odometry: list[tuple[int, tuple[float, float, float]]] = field(default_factory=list)
    """stamp, x, y (m), yaw (rad)"""


def _labelled(bag: Path, imagery: Imagery, config: BagConfig, missing: list[str]) -> LabelledDrive:
    recording = _read(bag, config)
    priors = _priors(recording, config)
    found = [prior for prior in priors if isinstance(prior, Prior)]
    if not found:
        raise ValueError(f"{bag}: none of {len(priors)} images has a prior: {priors[0]}")
    frame = found[0].frame
    odometry = odometry_track(recording.odometry) if recording.odometry else None
    truth = None
    if recording.truth_fix is not None and recording.truth_poses:
        datum = LatLon(recording.truth_fix.latitude, recording.truth_fix.longitude)
        truth = truth_track(recording.truth_poses, datum, frame)
    left_out, numbers, labels = [], [], []
    for number, ((stamp, _), prior) in enumerate(zip(recording.images, priors, strict=True)):
        if not isinstance(prior, Prior):
            left_out.append(f"{bag}, image at {stamp} ns: {prior}")
        elif odometry is not None and not odometry.covers(stamp, config.max_gap_s):
            left_out.append(f"{bag}, image at {stamp} ns: no odometry")
        elif truth is not None and not truth.covers(stamp):
            left_out.append(f"{bag}, image at {stamp} ns: no truth")
        else:
            numbers.append(number)
            labels.append(prior.pose)
    if not numbers:
        raise ValueError(f"{bag}: no image is left, {name_some(left_out)}")
    if left_out:
        _LOG.warning(
            "%d of %d images left out: %s", len(left_out), len(priors), name_some(left_out)
        )
    missing += left_out
    stamps = [recording.images[n][0] for n in numbers]
    truths = [truth.at(stamp) for stamp in stamps] if truth else None
    track = [odometry.at(stamp) for stamp in stamps] if odometry else None
    T_base_camera = extrinsic_from_parameters(config.camera_translation, config.camera_rpy)
    camera = camera_from(recording.info, T_base_camera, config.rectified)
    if recording.sizes - {(camera.width, camera.height)}:
        raise ValueError(
            f"{bag}: {config.camera_info} says {camera.width} x {camera.height} pixels, the images "
            f"have {sorted(recording.sizes)}"
        )
    images = BagImages(bag, config.image, [logged for _, logged in recording.images])
    return LabelledDrive(str(bag), numbers, images, camera, frame, labels, truths, imagery, track)


def _read(bag: Path, config: BagConfig) -> _Recording:
    recording = _Recording()
    unusable: list[str] = []
    R_base_imu = messages.rotation_from_rpy(config.imu_rpy)
    needed = [config.image, config.camera_info, config.fix, config.heading]
    if config.odometry:
        needed.append(config.odometry)
    with _reader(bag) as reader:
        there = {connection.topic for connection in reader.connections}
        for topic in needed:
            if topic not in there:
                known = ", ".join(sorted(f"{c.topic} ({c.msgtype})" for c in reader.connections))
                raise ValueError(f"{bag} has nothing on {topic}; it has {known}")
        wanted = {*needed, config.truth_fix, config.truth_pose}
        connections = [c for c in reader.connections if c.topic in wanted]
        for connection, logged, data in reader.messages(connections):
            message = reader.deserialize(data, connection.msgtype)
            stamp, topic = stamp_ns(message.header), connection.topic
            try:
                if topic == config.odometry:
                    recording.odometry.append((stamp, messages.planar_pose(message.pose.pose)))
                if topic == config.image:
                    recording.images.append((stamp, logged))
                    if hasattr(message, "width"):
                        recording.sizes.add((message.width, message.height))
                elif topic == config.camera_info:
                    recording.info = _same_info(recording.info, message, f"{bag}: {topic}")
                elif topic == config.truth_fix:
                    recording.truth_fix = recording.truth_fix or message
                elif topic == config.truth_pose:
                    recording.truth_poses.append(message)
                elif topic == config.fix:
                    fix = messages.fix_from(message, config.gnss_default_sigma_m)
                    recording.samples.append((stamp, *fix))
                elif topic == config.heading:
                    heading = messages.heading_from(
                        message, R_base_imu, config.heading_default_sigma, config.heading_offset
                    )
                    recording.samples.append((stamp, *heading))
            except messages.Unusable as error:
                unusable.append(f"{topic} at {stamp} ns: {error}")
    if unusable:
        _LOG.warning("%s: %d messages not used: %s", bag, len(unusable), name_some(unusable))
    return recording


def _reader(bag: Path) -> AnyReader:
    return AnyReader([bag], default_typestore=get_typestore(Stores.ROS2_JAZZY))


def _same_info(known: Any, info: Any, where: str) -> Any:
    """The CameraInfo, which is one for the whole bag."""
    if known is not None:
        for name in ("width", "height", "k", "d", "p"):
            before, now = getattr(known, name), getattr(info, name)
            if not np.array_equal(before, now):
                raise ValueError(f"{where} changes within the bag: {name} {before} becomes {now}")
    return known or info


def _priors(recording: _Recording, config: BagConfig) -> list[Prior | str]:
    """For each image its prior, or why there is none, as the node would have had them."""
    buffer = PriorBuffer(
        None,
        antenna_offset_xy=config.antenna_offset,
        max_gap_s=config.max_gap_s,
        max_extrapolation_s=config.max_extrapolation_s,
        # A label's yaw counts in the north-up crop around it, not in the plane at the datum.
        headings="map",
    )
    samples = iter(sorted(recording.samples, key=lambda sample: sample[0]))
    priors: dict[int, Prior | str] = {}
    for number in np.argsort([stamp for stamp, _ in recording.images], kind="stable").tolist():
        stamp = recording.images[number][0]
        while not buffer.is_settled(stamp) and (sample := next(samples, None)) is not None:
            _feed(buffer, *sample)
        found = buffer.at(stamp)
        priors[number] = found if isinstance(found, Prior) else f"{found[0].value} ({found[1]})"
    return [priors[number] for number in range(len(recording.images))]


def _feed(buffer: PriorBuffer, stamp: int, value: LatLon | float, spread: Any) -> None:
    # A stamp that was recorded twice is refused, and adds nothing.
    with contextlib.suppress(ValueError):
        if isinstance(value, LatLon):
            buffer.add_fix(stamp, value, spread)
        else:
            buffer.add_heading(stamp, value, spread)
