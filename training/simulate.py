# SPDX-License-Identifier: Apache-2.0
"""Simulate a drive: a KITTI raw drive, slippy imagery and the exact truth, all synthetic.

python -m training.simulate --out DIR --seed N --frames M [--difficulty easy|kitti|hard]
    [--camera-translation M M M --camera-rotation-rpy RAD RAD RAD]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from g2s_localizer.geometry.mounting import check_mounting, extrinsic_from_parameters
from training.simulation.drive import route_length, write_description, write_drive
from training.simulation.preset import PRESETS
from training.simulation.sky_view import write_tiles
from training.simulation.world import build_world


def simulate(
    out: Path,
    seed: int,
    frames: int,
    difficulty: str,
    rate: float,
    T_base_camera: NDArray[np.float64] | None = None,
) -> None:
    """Write OUT/2011_09_26/..., OUT/imagery/z/x/y.jpg and, last, OUT/world.json.

    T_base_camera (4, 4), z from the road: another place of the camera than KITTI's. Raises
    FileExistsError when `out` is not empty, NotADirectoryError when it is a file.
    """
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(f"{out} is not empty")
    start = time.perf_counter()
    world = build_world(seed, difficulty, route_length(frames, rate))
    offset = write_tiles(world, out / "imagery")
    built = time.perf_counter()
    written = write_drive(world, out, frames, rate, T_base_camera)
    for _ in tqdm(written, total=frames, desc=f"rendering {out.name}", mininterval=2.0):
        pass
    write_description(world, out, difficulty, offset)
    rendered = time.perf_counter() - built
    print(
        f"{out}: world {built - start:.1f} s, {frames} frames {rendered:.1f} s "
        f"({rendered / frames:.2f} s a frame)"
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--frames", type=int, required=True)
    parser.add_argument("--difficulty", choices=sorted(PRESETS), default="kitti")
    parser.add_argument("--rate", type=float, default=10.0, help="frames a second")
    parser.add_argument(
        "--camera-translation", type=float, nargs=3, metavar="M",
        help="another place of the camera than KITTI's: forward, left, up of base_link on the road",
    )  # fmt: skip
    parser.add_argument(
        "--camera-rotation-rpy", type=float, nargs=3, metavar="RAD",
        help="and how it is turned there, as the node's camera.rotation_rpy",
    )  # fmt: skip
    arguments = parser.parse_args(argv)
    if arguments.frames < 2 or arguments.rate <= 0:
        parser.error(
            f"needs 2 frames and a positive rate, got {arguments.frames}, {arguments.rate}"
        )
    translation, rpy = arguments.camera_translation, arguments.camera_rotation_rpy
    if translation is None and rpy is not None:
        parser.error("--camera-rotation-rpy needs --camera-translation")
    try:
        place = None
        if translation is not None:
            place = extrinsic_from_parameters(translation, rpy or (0.0, 0.0, 0.0))
            check_mounting(place)
        simulate(
            arguments.out, arguments.seed, arguments.frames, arguments.difficulty, arguments.rate,
            place,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        print(f"simulate: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
