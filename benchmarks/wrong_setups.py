# SPDX-License-Identifier: Apache-2.0
"""Drives with wrong set-ups and wrong images through the real bridge, in process: a table.

python -m benchmarks.wrong_setups DRIVE [DRIVE ...] [--other DRIVE] [--only NAME ...] [--json OUT]
DRIVE is a folder that training.simulate wrote, OTHER one more, whose images are shown as those of
another town. Sensors are those of g2s-kitti-to-rosbag2 with its default noise. For each drive and
fault: images, poses published, of these more than 3 m from the truth, seconds of driving until a
watch or a rejection names the cause, and the commonest rejection.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.typesys import Stores, get_typestore

from g2s_localizer.estimator.config import LocalizerConfig
from g2s_localizer.estimator.gate import GateConfig
from g2s_localizer.estimator.localizer import Localizer
from g2s_localizer.geometry.pose import wrap_angle
from g2s_localizer.kitti import KittiDrive
from g2s_localizer.model.checkpoint import SHIPPED
from g2s_localizer.ros.bridge import BridgeConfig, LocalizerBridge
from g2s_localizer.tools.bags.drive_messages import DriveMessages

WRONG_M = 3.0
GNSS_NOISE_M, HEADING_NOISE_DEG = 10.0, 3.0

Config = Callable[[BridgeConfig], BridgeConfig]
Pixels = Callable[[np.ndarray, "Drive", int], np.ndarray]


@dataclass(frozen=True)
class Fault:
    """A wrong set-up: of the bridge, of the yaw (rad) that the IMU tells, or of the pixels.

    names  rejections of which one must be the commonest, or words of a warning: any is enough
    """

    config: Config = lambda config: config
    yaw: Callable[[float], float] = lambda yaw: yaw
    pixels: Pixels = lambda pixels, drive, frame: pixels
    names: tuple[str, ...] = ()


def _offset(radians: float) -> Config:
    return lambda config: replace(config, heading_offset=radians)


def _mounted(*rpy: float) -> Config:
    return lambda config: replace(config, camera_rpy=rpy)


def _noise(pixels: np.ndarray, drive: Drive, frame: int) -> np.ndarray:
    return np.random.default_rng(frame).integers(0, 256, pixels.shape, np.uint8)


def _millimetres(config: BridgeConfig) -> BridgeConfig:
    return replace(config, camera_translation=tuple(1e3 * m for m in config.camera_translation))


HEADING = ("WRONG_HEADING",)
CAMERA = ("NO_CAMERA",)

FAULTS = {
    "none": Fault(),
    "heading +180 degrees": Fault(_offset(math.pi), names=HEADING),
    "heading +90 degrees": Fault(_offset(math.pi / 2), names=HEADING),
    "heading +25 degrees": Fault(_offset(math.radians(25)), names=HEADING),
    "declination of 14 degrees left out": Fault(_offset(math.radians(14)), names=HEADING),
    "no magnetometer (identity)": Fault(yaw=lambda yaw: 0.0, names=HEADING),
    "zero at north": Fault(_offset(-math.pi / 2), names=HEADING),
    "NED": Fault(yaw=lambda yaw: math.pi / 2 - yaw, names=HEADING),
    "camera upside down": Fault(_mounted(math.pi, 0.0, 0.0), names=CAMERA),
    "optical angles as mounting": Fault(_mounted(-math.pi / 2, 0.0, -math.pi / 2), names=CAMERA),
    "millimetres for metres": Fault(_millimetres, names=CAMERA),
    "frozen image": Fault(
        pixels=lambda pixels, drive, frame: drive.images(drive.frames[0]), names=("FROZEN_IMAGE",)
    ),
    "noise": Fault(pixels=_noise, names=("NOT_HERE",)),
    "mirrored": Fault(
        pixels=lambda pixels, drive, frame: pixels[:, ::-1].copy(), names=("NOT_HERE",)
    ),
    "picture upside down": Fault(
        pixels=lambda pixels, drive, frame: pixels[::-1, ::-1].copy(), names=("NOT_HERE",)
    ),
    "another town": Fault(names=("NOT_HERE",)),
}


class Drive:
    """A simulated drive: its messages, images and true poses."""

    def __init__(self, folder: Path) -> None:
        described = json.loads((folder / "world.json").read_text())
        self.name = folder.name
        self.imagery = f"slippy:{folder / 'imagery'}"
        self.kitti = KittiDrive(folder, described["drive"])
        self.frames = list(self.kitti.frames)
        self.images = self.kitti.image
        self.messages = DriveMessages(
            self.kitti, get_typestore(Stores.ROS2_JAZZY), GNSS_NOISE_M, HEADING_NOISE_DEG, 1.0,
            seed=described["seed"],
        )  # fmt: skip

    def events(self) -> Iterator[tuple[int, str, int]]:
        """Yield (stamp, topic, index) in order of time."""
        records = [(int(stamp), "sensors", i) for i, stamp in enumerate(self.kitti.oxts_stamps)]
        images = [(int(self.kitti.image_stamps[f]), "image", f) for f in self.frames]
        yield from sorted(records + images)


@dataclass
class Row:
    """Count what came of one drive with one fault."""

    drive: str
    fault: str
    images: int = 0
    published: int = 0
    wrong: int = 0
    named_s: float = math.nan
    verdicts: str = ""


def run(drive: Drive, name: str, other: Drive | None, config: BridgeConfig, gate: GateConfig,
        checkpoint: str) -> Row:  # fmt: skip
    """Return the row of one drive with the fault `name`."""
    fault, row = FAULTS[name], Row(drive.name, name)
    localizer = Localizer.from_config(
        LocalizerConfig(imagery=drive.imagery, checkpoint=checkpoint, gate=gate)
    )
    try:
        bridge = LocalizerBridge(localizer, fault.config(config))
    except ValueError as error:  # a set-up that configure refuses
        row.images, row.named_s, row.verdicts = len(drive.frames), 0.0, f"refused: {error}"
        return row
    seen: Counter[str] = Counter()
    first_ns = int(drive.kitti.image_stamps[drive.frames[0]])
    for stamp, topic, index in drive.events():
        if topic == "sensors":
            bridge.on_fix(drive.messages.fix(index))
            bridge.on_odometry(drive.messages.odometry(index))
            bridge.on_imu(_told(drive.messages.imu(index), fault.yaw))
            continue
        message = drive.messages.image(index)
        pixels = np.asarray(message.data).reshape(message.height, message.width, 3)
        shown = other.images(other.frames[index % len(other.frames)]) if name == "another town" \
            and other else fault.pixels(pixels, drive, index)  # fmt: skip
        message.data = np.ascontiguousarray(shown).reshape(-1)
        outgoing = bridge.on_image(message, drive.messages.camera_info(index))
        row.images += 1
        if outgoing is None:
            seen["dropped"] += 1
            continue
        estimate = outgoing.estimate
        verdict = estimate.rejection.name if estimate.rejection else "published"
        seen[verdict] += 1
        if verdict in fault.names and math.isnan(row.named_s):
            row.named_s = (stamp - first_ns) * 1e-9
        if outgoing.pose is not None and estimate.pose and estimate.prior:
            row.published += 1
            place, _ = drive.kitti.pose_at(stamp)
            x, y = estimate.prior.frame.to_xy(place)
            row.wrong += math.hypot(estimate.pose.x - x, estimate.pose.y - y) > WRONG_M
    row.verdicts = ", ".join(f"{verdict} {n}" for verdict, n in seen.most_common(4))
    return row


def _told(imu: Any, read: Callable[[float], float]) -> Any:
    q = imu.orientation
    yaw = math.atan2(2 * (q.w * q.z + q.x * q.y), 1 - 2 * (q.y * q.y + q.z * q.z))
    told = wrap_angle(read(yaw))
    if told != yaw:
        q.x, q.y, q.z, q.w = 0.0, 0.0, math.sin(told / 2), math.cos(told / 2)
    return imu


def kitti_car() -> BridgeConfig:
    """Return the set-up of the simulated drives' car, as config/kitti.yaml has it."""
    return BridgeConfig(
        camera_translation=(1.0805, -0.25, 1.6593), camera_rpy=(-0.00426, -0.00841, 0.00103),
        map_frame="map", datum=None, heading_source="imu", max_gap_s=2.5, max_extrapolation_s=1.2,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("drives", type=Path, nargs="+", metavar="DRIVE")
    parser.add_argument("--other", type=Path, metavar="DRIVE", help="for the fault another town")
    parser.add_argument("--only", nargs="+", default=list(FAULTS), choices=list(FAULTS))
    parser.add_argument("--checkpoint", default=str(SHIPPED))
    parser.add_argument("--gate", type=json.loads, default={}, help="limits of GateConfig, as JSON")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    other = Drive(arguments.other) if arguments.other else None
    rows = []
    print("| drive | fault | images | published | > 3 m | named after (s) | verdicts |")
    print("|---|---|---|---|---|---|---|")
    for folder in arguments.drives:
        drive = Drive(folder)
        for name in arguments.only:
            if name == "another town" and other is None:
                continue
            row = run(drive, name, other, kitti_car(), GateConfig(**arguments.gate),
                      arguments.checkpoint)  # fmt: skip
            rows.append(vars(row))
            print(
                f"| {row.drive} | {row.fault} | {row.images} | {row.published} | {row.wrong} | "
                f"{row.named_s:.1f} | {row.verdicts} |",
                flush=True,
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
