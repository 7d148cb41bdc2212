# SPDX-License-Identifier: Apache-2.0
"""g2s-tiles offset: how far imagery is displaced, from the registrations of drives over it."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from g2s_localizer.bag_reader import BagReader
from g2s_localizer.estimator.map_offset import (
    SIGNIFICANCE,
    Disagreements,
    MapOffset,
    estimate_map_offset,
)
from g2s_localizer.imagery.open import scheme_and_path
from g2s_localizer.imagery.sidecar import read_sidecar, write_sidecar

REGISTRATION = "g2s_localizer/msg/Registration"

UNBIASED = {0, 9}
"""Values of Registration.rejection: none, and INNOVATION, since throwing out what disagrees with
the prior would throw out the very offset. The other rejections are of poses worth nothing."""

Commands = argparse._SubParsersAction


def add_offset_command(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add `offset` to the commands of g2s-tiles."""
    parser = commands.add_parser(
        "offset", help="estimate how far imagery is displaced, and note it in its sidecar",
        description="Estimates where the imagery shows things, east and north of where they are, "
        "from the registrations of drives localized in it, and writes that into its sidecar when "
        "it is certain to differ from what stands there. The priors are the reference: what "
        "their GNSS is off by, all drives long, is taken for an offset of the imagery.",
    )  # fmt: skip
    parser.add_argument("store", metavar="STORE", help="a path or URI as imagery.uri takes it")
    parser.add_argument(
        "--registrations", type=Path, nargs="+", required=True, metavar="BAG",
        help="ROS 2 bags that hold ~/registration; several days are better than one",
    )  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="write nothing")
    parser.set_defaults(run=_run)


def read_disagreements(bags: Sequence[Path]) -> Disagreements:
    """Return poses minus priors of the bags' registrations, the offset then in force put back.

    So the differences are those of the imagery as it is stored, whatever its sidecar said during
    the drive. Raises ValueError for a bag that holds none, FileNotFoundError for an absent one.
    """
    rows = [
        (drive, *row)
        for drive, bag in enumerate(bags)
        for row in map(_row, _registrations(bag))
        if row is not None
    ]
    drive, seconds, x, y, yaw, xx, xy, yy = np.array(rows, np.float64).reshape(-1, 8).T
    return Disagreements(
        drive.astype(np.int64),
        seconds,
        np.stack([x, y], axis=1),
        yaw,
        np.stack([xx, xy, xy, yy], axis=1).reshape(-1, 2, 2),
    )


def _registrations(bag: Path) -> list[Any]:
    with BagReader(bag) as reader:
        connections = [one for one in reader.connections if one.msgtype == REGISTRATION]
        topics = sorted({one.topic for one in connections})
        if len(topics) != 1:
            raise ValueError(
                f"{bag} must hold one topic of {REGISTRATION}, it holds "
                f"{', '.join(topics) or 'none'}"
            )
        return [
            reader.deserialize(data, connection)
            for connection, _, data in reader.messages(connections)
        ]


def _row(message: Any) -> tuple[float, ...] | None:
    """Return seconds, difference (x, y), the prior's yaw, and summed covariance xx, xy, yy."""
    if not (message.has_prior and message.has_pose and message.rejection in UNBIASED):
        return None
    pose, prior = message.pose.pose, message.prior.pose
    # A drive recorded before imagery had offsets was driven without one.
    east = getattr(message, "map_offset_east", 0.0)
    north = getattr(message, "map_offset_north", 0.0)
    q = prior.orientation
    total = message.pose.covariance + message.prior.covariance
    row = (
        message.header.stamp.sec + message.header.stamp.nanosec * 1e-9,
        pose.position.x - prior.position.x + east,
        pose.position.y - prior.position.y + north,
        2.0 * math.atan2(q.z, q.w),
        *(float(total[index]) for index in (0, 1, 7)),
    )
    xx, xy, yy = row[4:]
    return row if np.isfinite(row).all() and xx > 0.0 and xx * yy > xy * xy else None


def _run(args: argparse.Namespace) -> int:
    store = scheme_and_path(args.store)[1]
    sidecar = read_sidecar(store)
    found = estimate_map_offset(read_disagreements(args.registrations))
    chance = found.chance(*sidecar.offset_m)
    print(_report(found))
    east, north = sidecar.offset_m
    print(
        f"The sidecar says {east:+.3f} m east, {north:+.3f} m north. Were that right, a difference "
        f"like this one would be seen with a chance of {chance:.2g}."
    )
    if chance >= SIGNIFICANCE:
        print(f"Nothing is written: the limit is {SIGNIFICANCE:g}.", file=sys.stderr)
        return 1
    if args.dry_run:
        print("Nothing is written: --dry-run.")
        return 0
    changed = replace(
        sidecar, offset_east_m=round(found.east, 3), offset_north_m=round(found.north, 3)
    )
    print(f"Written: {write_sidecar(store, changed)}")
    return 0


def _report(found: MapOffset) -> str:
    east, north = found.sigma
    return (
        f"The imagery shows things {found.east:+.3f} +- {east:.3f} m east and {found.north:+.3f} "
        f"+- {north:.3f} m north of where they are (standard errors), from {found.samples} "
        f"registrations ({found.inliers:.0%} of their weight kept, {found.blocks} independent "
        f"stretches of time, headings alike by {found.alikeness:.2f}).\n"
        f"Apart from that, poses lie {found.forward:+.3f} m forward and {found.left:+.3f} m left "
        "of their priors: a matter of antenna, camera or network, not of the map."
    )
