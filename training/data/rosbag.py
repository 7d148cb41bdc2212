# SPDX-License-Identifier: Apache-2.0
"""Recorded bags as pairs: train on a vehicle of one's own, from its own GNSS and heading."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from g2s_localizer.bag_reader import BagReader
from g2s_localizer.estimator.datum import GeodeticFix, agree
from g2s_localizer.estimator.estimate import Prior
from g2s_localizer.estimator.prior import PriorBuffer
from g2s_localizer.geometry import LatLon, LocalFrame
from g2s_localizer.imagery import Imagery
from g2s_localizer.messages import image_from
from g2s_localizer.model import ModelConfig
from training.data.bag_config import BagConfig as BagConfig
from training.data.drives import DriveDataset, LabelledDrive
from training.data.files import name_some
from training.data.recording import RecordedImage, Recording, read_recording
from training.data.track import odometry_track, truth_track

_LOG = logging.getLogger(__name__)

_MIN_RUN = 0.1
"""Fixes in a row that agree are used when they are so many of the longest row's."""


class RosbagDataset(DriveDataset):
    """The images of recorded bags around the priors that the node would have had.

    A bag is a rosbag2 folder or file, or a ROS 1 file. Images without a prior (or without odometry
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

    def __init__(self, bag: Path, topic: str, images: Sequence[RecordedImage]) -> None:
        self._bag, self._topic = bag, topic
        self._images = list(images)
        self._process, self._reader = -1, BagReader(bag)

    def __call__(self, number: int) -> NDArray[np.uint8]:
        """Decode an image. Raises ValueError naming the bag, the topic and the number."""
        logged, place = self._images[number].logged, self._images[number].place
        try:
            reader = self._open()
            connections = [c for c in reader.connections if c.topic == self._topic]
            found = list(reader.messages(connections, start=logged, stop=logged + 1))
            connection, _, data = found[place]
            return image_from(reader.deserialize(data, connection))
        except (OSError, ValueError, IndexError) as error:
            raise ValueError(f"{self._bag}: image {number} on {self._topic}: {error}") from error

    def _open(self) -> BagReader:
        if self._process != os.getpid():
            self._reader = BagReader(self._bag).open()
            self._process = os.getpid()
        return self._reader

    def __reduce__(self) -> tuple[type[BagImages], tuple[Path, str, list[RecordedImage]]]:
        return BagImages, (self._bag, self._topic, self._images)


def _labelled(bag: Path, imagery: Imagery, config: BagConfig, missing: list[str]) -> LabelledDrive:
    recording = read_recording(bag, config)
    camera = recording.camera
    assert camera is not None
    if recording.sizes - {(camera.width, camera.height)}:
        raise ValueError(
            f"{bag}: {config.camera_info} says {camera.width} x {camera.height} pixels, the images "
            f"have {sorted(recording.sizes)}"
        )
    frame, fixes = _agreeing_fixes(bag, recording, config)
    priors = _priors(recording, config, frame, fixes)
    odometry = odometry_track(recording.odometry) if recording.odometry else None
    truth = None
    if recording.truth_fix is not None and recording.truth_poses:
        truth = truth_track(recording.truth_poses, recording.truth_fix, frame)
    left_out, numbers, labels = [], [], []
    for number, (image, prior) in enumerate(zip(recording.images, priors, strict=True)):
        stamp = image.stamp
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
    stamps = [recording.images[n].stamp for n in numbers]
    truths = [truth.at(stamp) for stamp in stamps] if truth else None
    track = [odometry.at(stamp) for stamp in stamps] if odometry else None
    images = BagImages(bag, config.image, recording.images)
    return LabelledDrive(str(bag), numbers, images, camera, frame, labels, truths, imagery, track)


def _agreeing_fixes(
    bag: Path, recording: Recording, config: BagConfig
) -> tuple[LocalFrame, list[GeodeticFix]]:
    """Return fixes that agree with those beside them, and the frame at the most central of them."""
    fixes = sorted(
        (GeodeticFix(stamp, place, spread) for stamp, place, spread in recording.fixes),
        key=lambda fix: fix.stamp_ns,
    )
    runs: list[list[GeodeticFix]] = []
    for fix in fixes:
        if runs and agree(runs[-1][-1], fix):
            runs[-1].append(fix)
        else:
            runs.append([fix])
    # A receiver may be wrong for a while: what is short beside the rest of the drive is that.
    least = max(2.0, _MIN_RUN * max((len(run) for run in runs), default=0))
    kept = [fix for run in runs if len(run) >= least for fix in run]
    if not kept:
        raise ValueError(f"{bag}: of {len(fixes)} fixes on {config.fix} no two in a row agree")
    if len(kept) < len(fixes):
        odd = [f"{fix.place} at {fix.stamp_ns} ns" for fix in set(fixes) - set(kept)]
        _LOG.warning(
            "%s: %d fixes not used, far from those before and after: %s",
            *(bag, len(odd), name_some(odd)),
        )
    lat, lon = np.radians([(fix.place.lat, fix.place.lon) for fix in kept]).T
    on_sphere = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    from_middle = np.linalg.norm(on_sphere - np.median(on_sphere, axis=1, keepdims=True), axis=0)
    return LocalFrame(kept[int(from_middle.argmin())].place), kept


def _priors(
    recording: Recording, config: BagConfig, frame: LocalFrame, fixes: Sequence[GeodeticFix]
) -> list[Prior | str]:
    """Return for each image its prior, or why there is none, as the node would have had them."""
    antenna_x, antenna_y = config.antenna_offset
    buffer = PriorBuffer(
        frame,
        antenna_offset_xy=(antenna_x, antenna_y),
        max_gap_s=config.max_gap_s,
        max_extrapolation_s=config.max_extrapolation_s,
        # A label's yaw counts in the north-up crop around it, not in the plane at the datum.
        headings="map",
    )
    samples: list[tuple[int, LatLon | float, Any]] = [
        *((fix.stamp_ns, fix.place, fix.covariance) for fix in fixes),
        *recording.headings,
    ]
    coming = iter(sorted(samples, key=lambda sample: sample[0]))
    stamps = [image.stamp for image in recording.images]
    priors: dict[int, Prior | str] = {}
    for number in np.argsort(stamps, kind="stable").tolist():
        stamp = stamps[number]
        while not buffer.is_settled(stamp) and (sample := next(coming, None)) is not None:
            _feed(buffer, *sample)
        found = buffer.at(stamp)
        priors[number] = found if isinstance(found, Prior) else f"{found[0].value} ({found[1]})"
    return [priors[number] for number in range(len(stamps))]


def _feed(buffer: PriorBuffer, stamp: int, value: LatLon | float, spread: Any) -> None:
    # A stamp that was recorded twice is refused, and adds nothing.
    with contextlib.suppress(ValueError):
        if isinstance(value, LatLon):
            buffer.add_fix(stamp, value, spread)
        else:
            buffer.add_heading(stamp, value, spread)
