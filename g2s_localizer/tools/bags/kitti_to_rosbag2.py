# SPDX-License-Identifier: Apache-2.0
"""g2s-kitti-to-rosbag2: a KITTI raw drive as a ROS 2 bag, with a GNSS as bad as you like."""

from __future__ import annotations

import argparse
import math
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin
from tqdm import tqdm

from g2s_localizer.geometry.mounting import ENU_FROM
from g2s_localizer.kitti import KittiDrive
from g2s_localizer.tools.bags.drive_messages import ALIGNED_IMU, DriveMessages, ImuSetup
from g2s_localizer.tools.bags.new_bag import jazzy_types, new_bag
from g2s_localizer.tools.bags.vehicle_odometry import (
    SPEED_NOISE,
    SPEED_SCALE,
    TURN_RATE_BIAS,
    TURN_RATE_NOISE,
)


def _qos(depth: int, reliability: QosReliability, durability: QosDurability) -> Qos:
    never = QosTime(9223372036, 854775807)
    return Qos(
        QosHistory.KEEP_LAST,
        depth,
        reliability,
        durability,
        never,
        never,
        QosLiveliness.AUTOMATIC,
        never,
        avoid_ros_namespace_conventions=False,
    )


IMAGES = _qos(5, QosReliability.BEST_EFFORT, QosDurability.VOLATILE)
# A reliable publisher serves best-effort subscribers too.
RECORDS = _qos(10, QosReliability.RELIABLE, QosDurability.VOLATILE)
LATCHED = _qos(1, QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL)

# In the order of publication at equal stamps: an image comes after what it is to be matched with.
TOPICS = {
    "/tf_static": ("tf2_msgs/msg/TFMessage", LATCHED),
    "/gnss/fix": ("sensor_msgs/msg/NavSatFix", RECORDS),
    "/imu/data": ("sensor_msgs/msg/Imu", RECORDS),
    "/odometry": ("nav_msgs/msg/Odometry", RECORDS),
    "/tf": ("tf2_msgs/msg/TFMessage", RECORDS),
    "/truth/fix": ("sensor_msgs/msg/NavSatFix", RECORDS),
    "/truth/pose": ("geometry_msgs/msg/PoseStamped", RECORDS),
    "/camera/camera_info": ("sensor_msgs/msg/CameraInfo", RECORDS),
    "/camera/image_raw": ("sensor_msgs/msg/Image", IMAGES),
}

Event = tuple[int, str, Callable[[], Any]]


def events(drive: KittiDrive, messages: DriveMessages) -> list[Event]:
    """Return the drive's (stamp ns, topic, function that makes the message) in time order."""
    listed = list(_events(drive, messages))
    rank = {topic: index for index, topic in enumerate(TOPICS)}
    return sorted(listed, key=lambda event: (event[0], rank[event[1]]))


def _events(drive: KittiDrive, messages: DriveMessages) -> Iterator[Event]:
    first, last = int(drive.oxts_stamps[0]), int(drive.oxts_stamps[-1])
    image_stamps = {frame: int(drive.image_stamps[frame]) for frame in drive.frames}
    start = min([first, *image_stamps.values()])
    yield start, "/tf_static", partial(messages.tf_static, start)
    for record, stamp in enumerate(drive.oxts_stamps.tolist()):
        yield stamp, "/gnss/fix", partial(messages.fix, record)
        yield stamp, "/imu/data", partial(messages.imu, record)
        yield stamp, "/odometry", partial(messages.odometry, record)
        yield stamp, "/tf", partial(messages.tf, record)
        yield stamp, "/truth/fix", partial(messages.truth_fix, record)
        yield stamp, "/truth/pose", partial(messages.truth_pose, stamp)
    for frame, stamp in image_stamps.items():
        yield stamp, "/camera/camera_info", partial(messages.camera_info, frame)
        yield stamp, "/camera/image_raw", partial(messages.image, frame)
        # So that the truth at an image can always be interpolated.
        if not first <= stamp <= last:
            yield stamp, "/truth/pose", partial(messages.truth_pose, stamp)


def convert(
    drive: KittiDrive,
    out: Path,
    storage: StoragePlugin = StoragePlugin.MCAP,
    gnss_noise: float = 0.0,
    heading_noise: float = 0.0,
    seed: int = 0,
    odometry_noise: float = 0.0,
    imu: ImuSetup = ALIGNED_IMU,
) -> Counter[str]:
    """Write the drive to the new bag `out`; returns the number of messages per topic.

    gnss_noise in m, heading_noise in degrees: standard deviations; odometry_noise in units of a
    usual car's errors (VehicleOdometry). Message stamps are the drive's. Raises FileExistsError
    when `out` is there, ValueError for a drive without images or a noise that is none; leaves
    nothing behind when it fails.
    """
    if not drive.frames:
        raise ValueError(f"{drive.name} has no image: {drive.images} holds no .png or .jpg file")
    typestore = jazzy_types()
    messages = DriveMessages(drive, typestore, gnss_noise, heading_noise, odometry_noise, seed, imu)
    counts: Counter[str] = Counter()
    writer = new_bag(out, storage)
    made = False
    try:
        with writer as bag:
            made = True
            connections = {
                topic: bag.add_connection(
                    topic, msgtype, typestore=typestore, offered_qos_profiles=[qos]
                )
                for topic, (msgtype, qos) in TOPICS.items()
            }
            for stamp, topic, make in tqdm(
                events(drive, messages), desc=drive.name, unit="msg", file=sys.stderr
            ):
                connection = connections[topic]
                data = typestore.serialize_cdr(make(), connection.msgtype)
                bag.write(connection, stamp, data)
                counts[topic] += 1
    except BaseException:
        if made:  # else the folder is another's, who was faster
            shutil.rmtree(out, ignore_errors=True)
        raise
    return counts


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="g2s-kitti-to-rosbag2", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="folder of the date folders")
    parser.add_argument("--drive", required=True, help="for example 2011_09_26_drive_0005_sync")
    parser.add_argument("--out", type=Path, required=True, help="the bag, a new folder")
    parser.add_argument("--storage", choices=["mcap", "sqlite3"], default="mcap")
    parser.add_argument(
        "--gnss-noise", type=float, default=0.0, metavar="M", help="std per axis in metres"
    )
    parser.add_argument(
        "--heading-noise", type=float, default=0.0, metavar="DEG", help="std in degrees"
    )
    parser.add_argument(
        "--odometry-noise", type=float, default=1.0, metavar="FACTOR",
        help=f"errors of odometry: 1, the default, is {100 * SPEED_SCALE:g} %% of the speed, "
        f"{math.degrees(TURN_RATE_BIAS):g} deg/s of the turn rate, and noise of {SPEED_NOISE:g} "
        f"m/s and {math.degrees(TURN_RATE_NOISE):g} deg/s; 0 none",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of the noise")
    parser.add_argument(
        "--heading-convention", choices=ENU_FROM, default="enu",
        help="of the orientation on /imu/data; this and the next two are what the node's "
        "parameters heading.* must say",
    )  # fmt: skip
    parser.add_argument(
        "--heading-offset", type=float, default=0.0, metavar="RAD",
        help="what is missing from its yaw: 1.5708 for a zero at north",
    )  # fmt: skip
    parser.add_argument(
        "--imu-rotation-rpy", type=float, nargs=3, default=(0.0, 0.0, 0.0), metavar="RAD",
        help="roll, pitch, yaw of its axes about base_link's",
    )  # fmt: skip
    args = parser.parse_args(argv)
    try:
        drive = KittiDrive(args.root, args.drive)
        storage = StoragePlugin[args.storage.upper()]
        noise = args.gnss_noise, args.heading_noise, args.seed, args.odometry_noise
        imu = ImuSetup(args.heading_convention, args.heading_offset, tuple(args.imu_rotation_rpy))
        counts = convert(drive, args.out, storage, *noise, imu)
    except (OSError, ValueError) as error:
        print(f"g2s-kitti-to-rosbag2: error: {error}", file=sys.stderr)
        return 1
    listed = ", ".join(f"{count} on {topic}" for topic, count in counts.items())
    print(
        f"{args.out}: {drive.name} as {args.storage}, {counts.total()} messages ({listed}); "
        f"GNSS noise {args.gnss_noise:g} m per axis, heading noise {args.heading_noise:g} deg, "
        f"odometry noise {args.odometry_noise:g} of a usual car's, seed {args.seed}."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
