# SPDX-License-Identifier: Apache-2.0
"""Drives with wrong set-ups and wrong messages through the real bridge, in process: a table.

python -m benchmarks.fault_campaign [DRIVE ...] [--other DRIVE] [--images N] [--only NAME ...]
DRIVE is a folder that training.simulate wrote, OTHER one more, of another town; without any, two
are simulated in OUT once and kept. Sensors are as g2s-kitti-to-rosbag2 has them by default.
Each fault of benchmarks/faults.py is a row: images, poses published, of these more than 3 m from
the truth (drive by drive), with a heading more than 5 degrees off, and beyond their own 99 %
ellipse, the commonest verdicts, and seconds of driving until one came that was expected. Rows go to
OUT/table.json as well, without the headings and seconds. Exit code: 1 where a row says another
thing than expected or misleads more often than it may, named on stderr.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.faults import FAULTS, Fault
from benchmarks.simulated_drive import Drive, kitti_car
from g2s_localizer.estimator.config import LocalizerConfig
from g2s_localizer.estimator.estimate import Estimate
from g2s_localizer.estimator.gate import GateConfig
from g2s_localizer.estimator.localizer import Localizer
from g2s_localizer.geometry import LatLon
from g2s_localizer.geometry.pose import wrap_angle
from g2s_localizer.model import load_checkpoint
from g2s_localizer.model.checkpoint import SHIPPED
from g2s_localizer.model.folding import fold_batch_norm
from g2s_localizer.motion_messages import matrix_from_quaternion
from g2s_localizer.ros.bridge import LocalizerBridge
from training.simulate import simulate

WRONG_M, TURNED_DEG = 3.0, 5.0
OUTSIDE = -2.0 * math.log(0.01)
"""Squared Mahalanobis distance of two dimensions that 1 % exceed."""

SEEDS, IMAGES, DIFFICULTY = (3101, 3102), 100, "kitti"
"""Drives simulated where none is given: seeds, images and preset. No weight has seen them."""


@dataclass
class Row:
    """Count what came of one fault on one drive."""

    images: int = 0
    published: int = 0
    wrong_3m: int = 0
    turned: int = 0
    outside_99: int = 0
    alive: bool = True
    named_s: float = math.nan
    verdicts: Counter[str] = field(default_factory=Counter)

    def add(self, estimate: Estimate, drive: Drive) -> None:
        """Judge a pose that was published."""
        assert estimate.pose and estimate.prior and estimate.covariance is not None
        place, yaw = drive.truth(estimate.stamp_ns)
        x, y = estimate.prior.frame.to_xy(place)
        apart = np.array([estimate.pose.x - x, estimate.pose.y - y])
        squared = float(apart @ np.linalg.solve(estimate.covariance[:2, :2], apart))
        self.published += 1
        self.wrong_3m += math.hypot(*apart) > WRONG_M
        self.turned += abs(wrap_angle(estimate.pose.yaw - yaw)) > math.radians(TURNED_DEG)
        self.outside_99 += squared > OUTSIDE


def drive_with(
    fault: Fault, drive: Drive, gate: GateConfig | None = None, checkpoint: Path = SHIPPED
) -> Row:
    """Return the row of one drive with one fault; what the bridge raises is printed."""
    row = Row()
    network, checkpoint_id = load_checkpoint(checkpoint)
    fold_batch_norm(network)
    config = LocalizerConfig("", gate=gate or GateConfig())
    localizer = Localizer(network, checkpoint_id, fault.imagery(drive), config)
    try:
        bridge = LocalizerBridge(localizer, fault.config(kitti_car()))
    except ValueError:  # a set-up that configure refuses
        row.images, row.named_s, row.verdicts = len(drive.frames), 0.0, Counter(["refused"])
        return row
    accepted: list[Estimate] = []
    try:
        _feed(bridge, fault, drive, row, accepted)
    except Exception:  # a row that says so; the other faults are run all the same
        traceback.print_exc()
        row.alive = False
    for estimate in accepted:
        row.add(estimate, drive)
    return row


def _feed(
    bridge: LocalizerBridge, fault: Fault, drive: Drive, row: Row, accepted: list[Estimate]
) -> None:
    first_ns = int(drive.kitti.image_stamps[drive.frames[0]])
    for stamp, topic, index in drive.events():
        if topic == "sensors":
            bridge.on_fix(_told_place(drive, index, fault))
            bridge.on_odometry(drive.messages.odometry(index))
            bridge.on_imu(_told_yaw(drive.messages.imu(index), fault.yaw))
            continue
        image, info = drive.messages.image(index), drive.messages.camera_info(index)
        pixels = np.asarray(image.data).reshape(image.height, image.width, 3)
        image.data = np.ascontiguousarray(fault.pixels(pixels, drive, row.images)).reshape(-1)
        fault.messages(image, info, row.images)
        row.images += 1
        outgoing = bridge.on_image(image, info)
        rejection = outgoing.estimate.rejection if outgoing else None
        verdict = "dropped" if not outgoing else rejection.name if rejection else "published"
        row.verdicts[verdict] += 1
        if verdict in fault.names and math.isnan(row.named_s):
            row.named_s = (stamp - first_ns) * 1e-9
        if outgoing and outgoing.pose is not None:
            accepted.append(outgoing.estimate)


def _told_place(drive: Drive, index: int, fault: Fault) -> Any:
    fix = drive.messages.fix(index)
    share = index / len(drive.frames)
    place = fault.fix(LatLon(fix.latitude, fix.longitude), share, index)
    fix.latitude, fix.longitude = place.lat, place.lon
    return fix


def _told_yaw(imu: Any, read: Callable[[float], float]) -> Any:
    q = imu.orientation
    R = matrix_from_quaternion(q)
    yaw = math.atan2(R[1, 0], R[0, 0])
    told = wrap_angle(read(yaw))
    if told != yaw:
        q.x, q.y, q.z, q.w = 0.0, 0.0, math.sin(told / 2), math.cos(told / 2)
    return imu


def summary(name: str, rows: Sequence[Row]) -> dict[str, Any]:
    """Return the line of table.json: one fault on all drives."""
    verdicts = sum((row.verdicts for row in rows), Counter[str]())
    counts = ("images", "published", "wrong_3m", "outside_99")
    return {
        "fault": name,
        "mode": "single_frame",
        **{count: sum(getattr(row, count) for row in rows) for count in counts},
        "alive": all(row.alive for row in rows),
        "verdict": verdicts.most_common(1)[0][0] if verdicts else "",
    }


def misses(line: dict[str, Any], fault: Fault) -> Iterable[str]:
    """Yield what a line of the table has that its fault does not allow, in words."""
    if not line["alive"]:
        yield "the bridge raised"
    if line["wrong_3m"] > fault.wrong * line["images"]:
        yield (
            f"{line['wrong_3m']} of {line['images']} images published and more than {WRONG_M:g} m "
            f"wrong, at most {fault.wrong:.0%} may be"
        )
    if line["verdict"] not in fault.names:
        yield f"says {line['verdict']}, expected {' or '.join(fault.names)}"


def campaign(
    drives: Sequence[Drive], names: Iterable[str], out: Path, run: Callable[[Fault, Drive], Row]
) -> list[str]:
    """Print the table, write it to OUT/table.json as it grows; return the sentences on misses."""
    lines, missed = [], []
    print("| fault | images | published | > 3 m (each drive) | > 5 deg | > 99 % | verdicts | s |")
    print("|---|---|---|---|---|---|---|---|")
    for name in names:
        fault = FAULTS[name]
        if fault.other and any(drive.other is None for drive in drives):
            print(f"{name}: left out, it needs --other", file=sys.stderr)
            continue
        rows = [run(fault, drive) for drive in drives]
        line = summary(name, rows)
        lines.append(line)
        (out / "table.json").write_text(json.dumps(lines, indent=1) + "\n")
        missed += [f"{name}: {sentence}" for sentence in misses(line, fault)]
        each = ", ".join(str(row.wrong_3m) for row in rows)
        turned = sum(row.turned for row in rows)
        verdicts = sum((row.verdicts for row in rows), Counter[str]()).most_common(4)
        said = ", ".join(f"{verdict} {n}" for verdict, n in verdicts)
        named = [row.named_s for row in rows]
        print(
            f"| {name} | {line['images']} | {line['published']} | {line['wrong_3m']} ({each}) | "
            f"{turned} | {line['outside_99']} | {said} | {min(named):.1f} to {max(named):.1f} |",
            flush=True,
        )
    return missed


def simulated(out: Path, images: int) -> tuple[Path, Path]:
    """Return the folders of a drive and of one in another town, simulated where they are absent."""
    here, there = (out / f"drive_{seed}_of_{images}" for seed in SEEDS)
    for folder, seed in zip((here, there), SEEDS, strict=True):
        if not folder.exists():
            with TemporaryDirectory(dir=out) as unfinished:
                simulate(Path(unfinished) / "drive", seed, images, DIFFICULTY, rate=10.0)
                (Path(unfinished) / "drive").rename(folder)
    return here, there


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("drives", type=Path, nargs="*", metavar="DRIVE")
    parser.add_argument("--other", type=Path, metavar="DRIVE", help="in another town")
    parser.add_argument("--images", type=int, default=IMAGES, help="of each drive; 0: all")
    parser.add_argument("--only", nargs="+", default=list(FAULTS), choices=list(FAULTS))
    parser.add_argument("--checkpoint", type=Path, default=SHIPPED)
    parser.add_argument("--gate", type=json.loads, default={}, help="limits of GateConfig, as JSON")
    parser.add_argument("--out", type=Path, default=Path("out/faults"))
    arguments = parser.parse_args(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    folders, town = arguments.drives, arguments.other
    if not folders:
        *folders, town = simulated(arguments.out, arguments.images or IMAGES)
    other = Drive(town) if town else None
    drives = [Drive(folder, arguments.images, other) for folder in folders]
    gate = GateConfig(**arguments.gate)
    missed = campaign(
        drives, arguments.only, arguments.out,
        lambda fault, drive: drive_with(fault, drive, gate, arguments.checkpoint),
    )  # fmt: skip
    print("\n".join([f"{arguments.out / 'table.json'}: {len(missed)} misses", *missed]),
          file=sys.stderr)  # fmt: skip
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
