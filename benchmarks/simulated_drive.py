# SPDX-License-Identifier: Apache-2.0
"""A simulated drive as the bridge meets it: messages, pictures, imagery and the true poses."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from rosbags.typesys import Stores, get_typestore

from g2s_localizer.geometry.geodesy import LatLon, LocalFrame
from g2s_localizer.geometry.pose import Pose2D
from g2s_localizer.imagery import Imagery, SatelliteCrop, open_imagery
from g2s_localizer.imagery.level import Level
from g2s_localizer.kitti import OXTS_COLUMNS, KittiDrive
from g2s_localizer.ros.bridge import BridgeConfig
from g2s_localizer.tools.bags.drive_messages import DriveMessages

GNSS_NOISE_M, HEADING_NOISE_DEG = 10.0, 3.0


class Drive:
    """A folder that training.simulate wrote, up to its first `images` images (0: all).

    other  a drive in another town, None where there is none
    """

    def __init__(self, folder: Path, images: int = 0, other: Drive | None = None) -> None:
        described = json.loads((folder / "world.json").read_text())
        self.name = folder.name
        self.other = other
        self.imagery = open_imagery(f"slippy:{folder / 'imagery'}")
        self.kitti = KittiDrive(folder, described["drive"])
        self.frames = list(self.kitti.frames)[: images or None]
        self.messages = DriveMessages(
            self.kitti, get_typestore(Stores.ROS2_JAZZY), GNSS_NOISE_M, HEADING_NOISE_DEG, 1.0,
            seed=described["seed"],
        )  # fmt: skip

    def image(self, number: int) -> np.ndarray:
        """Return the picture of that number, from the first one again after the last."""
        return self.kitti.image(self.frames[number % len(self.frames)])

    def events(self) -> Iterator[tuple[int, str, int]]:
        """Yield (stamp, topic, index) in order of time, sensors before the images they serve."""
        stamps = self.kitti.image_stamps
        images = [(int(stamps[frame]), "image", frame) for frame in self.frames]
        last = images[-1][0] + 1_000_000_000
        records = [(int(s), "sensors", i) for i, s in enumerate(self.kitti.oxts_stamps) if s < last]
        yield from sorted(records + images)

    def truth(self, stamp: int) -> tuple[LatLon, float]:
        """Return place and yaw (rad) at `stamp` (ns), beyond the records straight on."""
        within = int(np.clip(stamp, self.kitti.oxts_stamps[0], self.kitti.oxts_stamps[-1]))
        place, yaw = self.kitti.pose_at(within)
        speed = self.kitti.oxts[0 if stamp < within else -1, OXTS_COLUMNS.index("vf")]
        metres = (stamp - within) * 1e-9 * speed
        return LocalFrame(place).to_latlon(metres * math.cos(yaw), metres * math.sin(yaw)), yaw

    @property
    def start(self) -> tuple[LocalFrame, float]:
        """Return the frame at the first record, and the yaw (rad) there."""
        return LocalFrame(self.kitti.latlon(0)), self.kitti.yaw(0)


class Displaced:
    """Imagery that shows at a place what `source` has at another one, turned by `turn` (rad)."""

    def __init__(
        self, source: Imagery, move: Callable[[LatLon], LatLon], turn: float = 0.0
    ) -> None:
        self._source, self._move, self._turn = source, move, turn
        self.attribution = source.attribution
        self.offset_m = source.offset_m
        self.georeferencing_sigma_m = source.georeferencing_sigma_m

    def crop(self, centre: LatLon, size_m: float, gsd: float, yaw: float = 0.0) -> SatelliteCrop:
        shown = self._source.crop(self._move(centre), size_m, gsd, yaw + self._turn)
        return replace(shown, centre=centre, yaw=yaw)

    def levels(self) -> list[Level]:
        return self._source.levels()

    def check(self) -> Iterator[tuple[str, str]]:
        return self._source.check()

    def missing(self, centre: LatLon, size_m: float, gsd: float) -> tuple[str, ...]:
        return self._source.missing(self._move(centre), size_m, gsd)


def turned(angle: float) -> Callable[[Drive], Imagery]:
    """Return imagery whose crops are turned by `angle` (rad) about their centres."""
    return lambda drive: Displaced(drive.imagery, lambda place: place, angle)


def aside(metres: float) -> Callable[[Drive], Imagery]:
    """Return imagery that shows all things to the right of the first heading by `metres`."""

    def displace(drive: Drive) -> Imagery:
        left = Pose2D(0.0, 0.0, drive.start[1]) @ Pose2D(0.0, metres, 0.0)
        return Displaced(drive.imagery, lambda place: LocalFrame(place).to_latlon(left.x, left.y))

    return displace


def elsewhere(drive: Drive) -> Imagery:
    """Return the other drive's imagery, its start and first heading laid on those of `drive`."""
    assert drive.other is not None
    (here, yaw), (there, other_yaw) = drive.start, drive.other.start
    turn = Pose2D(0.0, 0.0, other_yaw - yaw)

    def move(place: LatLon) -> LatLon:
        moved = turn @ Pose2D(*here.to_xy(place), 0.0)
        return there.to_latlon(moved.x, moved.y)

    return Displaced(drive.other.imagery, move, turn.yaw)


def kitti_car() -> BridgeConfig:
    """Return the set-up of the simulated drives' car, as config/kitti.yaml has it."""
    return BridgeConfig(
        camera_translation=(1.0805, -0.25, 1.6593), camera_rpy=(-0.00426, -0.00841, 0.00103),
        map_frame="map", datum=None, heading_source="imu", max_gap_s=2.5, max_extrapolation_s=1.2,
    )  # fmt: skip
