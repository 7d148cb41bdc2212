# SPDX-License-Identifier: Apache-2.0
"""KITTI raw data by the split lists that the cross-view papers share."""

from __future__ import annotations

import logging
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from g2s_localizer.geometry import Camera, LocalFrame, Pose2D
from g2s_localizer.imagery import Imagery
from g2s_localizer.kitti import KittiDrive
from g2s_localizer.model import ModelConfig
from training.data.drives import DriveDataset, LabelledDrive
from training.data.files import report_missing
from training.data.sample import PriorNoise

_LOG = logging.getLogger(__name__)

PAPER_CAMERA = (1.08, -0.26, 1.65)
"""Place of the papers' camera (m): forward and left of the OXTS unit, above the road. The
calibration of 2011-09-26 says 1.081, -0.250 and 1.659, and that the camera is turned by up to
half a degree; the papers take it for level and straight."""


@dataclass(frozen=True)
class SplitLine:
    """One line of a split list: `date/drive/frame.png`, in the test lists with three numbers."""

    drive: str
    frame: int
    noise: tuple[float, float, float] | None
    """shift along u and v and turn, each in [-1, 1]; see `prior_from_noise`"""

    @property
    def name(self) -> str:
        return f"{self.drive[:10]}/{self.drive}/{self.frame:010d}.png"


def read_split(file: Path) -> list[SplitLine]:
    """Read a split list. Raises ValueError naming a line that is none of one."""
    lines = []
    for number, text in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        if not text.strip():
            continue
        name, *columns = text.split()
        date, _, rest = name.partition("/")
        drive, _, image = rest.partition("/")
        frame = image.removesuffix(".png")
        if not (drive.startswith(f"{date}_drive_") and image != frame and frame.isdecimal()):
            raise ValueError(f'{file}, line {number}: "{name}" is not date/drive/frame.png')
        try:
            noise = tuple(float(column) for column in columns)
        except ValueError as error:
            raise ValueError(f"{file}, line {number}: {error}") from error
        if len(noise) not in (0, 3) or any(not abs(value) <= 1.0 for value in noise):
            raise ValueError(
                f"{file}, line {number}: needs no or three numbers in [-1, 1], got {columns}"
            )
        drawn = (noise[0], noise[1], noise[2]) if noise else None
        lines.append(SplitLine(drive, int(frame), drawn))
    if not lines:
        raise ValueError(f"{file} has no lines")
    return lines


def drawn_lines(drive: str, frames: Sequence[int], seeds: Sequence[int]) -> list[SplitLine]:
    """Draw a line for each frame of a drive and each seed; numbers follow from the two."""
    plain = [SplitLine(drive, frame, None) for frame in frames]
    return [replace(line, noise=_draw(line, seed)) for line in plain for seed in seeds]


def prior_from_noise(truth: Pose2D, draw: Sequence[float], noise: PriorNoise) -> Pose2D:
    """Return the prior of a pair from the three numbers (x, y, t) that the papers draw or list for
    it.

    The papers turn the satellite image so that the true heading points right (+u) and centre it
    on the camera; shift it by (x, y) times `position_m`; turn it by t times `yaw_deg`. What they
    store is gt_shift_u = -x, gt_shift_v = -y, gt_heading = t. By their projection, whose camera
    stands at T = (20 gt_shift_v, 1.65, -20 gt_shift_u), and equally by the cell of the label in
    their GPS loss, the true position in the query image, metres right and up of its centre, is
        R(t) (gt_shift_u, gt_shift_v) position_m = -R(t) (x, y) position_m,
    R counter-clockwise, and the true heading lies t yaw_deg counter-clockwise of its u axis.
    The query image is what the prior believes: centre and u axis are the prior's pose. Seen
    from the truth (x forward, y left) the prior therefore stands at (x, y) position_m, turned by
    -t yaw_deg:
        prior = truth @ (x position_m, y position_m, -t yaw_deg).
    Note that the second number moves the prior to the left, that is towards the image's top.
    """
    x, y, turn = draw
    return truth @ Pose2D(
        x * noise.position_m, y * noise.position_m, -turn * math.radians(noise.yaw_deg)
    )


class KittiDataset(DriveDataset):
    """The pairs of a split list, by drive and frame.

    root     folder of the date folders
    split    train_files.txt, test1_files.txt (same area) or test2_files.txt (cross area), or lines
    imagery  of Karlsruhe
    noise    range of the labels' noise, in the vehicle's axes: the list's own numbers where it
             has them, so that all papers test on the same noise, else uniform draws, one for
             each frame, that follow from `seed` and the frame's name alone
    paper    everything as in the papers: base_link is the road below the camera (PAPER_CAMERA,
             level), the truth is the OXTS record of the frame's number, crops are aligned with
             the prior. Else camera and base_link are those of KittiDrive, the truth is
             interpolated at the image's stamp (some 7 ms earlier, 0.1 m at 15 m/s) and crops
             are north-up.

    A line whose image or OXTS record is not there is left out, counted and named in `missing`
    and in a warning. Raises ValueError when none is there, or when a file is broken.
    """

    def __init__(
        self,
        root: Path,
        split: Path | Sequence[SplitLine],
        imagery: Imagery,
        model: ModelConfig,
        *,
        noise: PriorNoise | None = None,
        seed: int = 0,
        paper: bool = False,
    ) -> None:
        listed: dict[str, list[SplitLine]] = {}
        lines = read_split(split) if isinstance(split, Path) else split
        source: Path | str = split if isinstance(split, Path) else "those asked for"
        for line in lines:
            listed.setdefault(line.drive, []).append(line)
        self.lines: list[SplitLine] = []
        """those that are there, in the order of the samples"""
        missing: list[SplitLine] = []
        drives = []
        for name in sorted(listed):
            wanted = sorted(listed[name], key=lambda line: line.frame)
            try:
                drive = KittiDrive(root, name)
            except FileNotFoundError as error:
                _LOG.warning("lines of %s: %s", source, error)
                missing += wanted
                continue
            there = set(drive.frames) & set(range(len(drive.oxts_stamps)))
            missing += [line for line in wanted if line.frame not in there]
            found = [line for line in wanted if line.frame in there]
            if found:
                self.lines += found
                drives.append(_labelled(drive, found, imagery, noise or PriorNoise(), seed, paper))
        self.missing = tuple(line.name for line in missing)
        report_missing(self.missing, len(lines), source, root)
        super().__init__(drives, model, aligned=paper or None)


def _labelled(
    drive: KittiDrive,
    lines: Sequence[SplitLine],
    imagery: Imagery,
    noise: PriorNoise,
    seed: int,
    paper: bool,
) -> LabelledDrive:
    frame = LocalFrame(drive.latlon(lines[0].frame))
    truths = [_truth(drive, line.frame, frame, paper) for line in lines]
    labels = [
        prior_from_noise(truth, line.noise or _draw(line, seed), noise)
        for line, truth in zip(lines, truths, strict=True)
    ]
    frames = [line.frame for line in lines]
    camera = _paper_camera(drive.camera) if paper else drive.camera
    track = [Pose2D(*drive.dead_reckoned[record]) for record in frames]
    return LabelledDrive(
        drive.name, frames, drive.image, camera, frame, labels, truths, imagery, track
    )


def _truth(drive: KittiDrive, record: int, frame: LocalFrame, paper: bool) -> Pose2D:
    if paper:
        place = drive.latlon(record)
        yaw = drive.yaw(record) + frame.convergence(place)
        return Pose2D(*frame.to_xy(place), yaw) @ Pose2D(PAPER_CAMERA[0], PAPER_CAMERA[1], 0.0)
    place, yaw = drive.pose_at(int(drive.image_stamps[record]))
    return Pose2D(*frame.to_xy(place), yaw + frame.convergence(place))


def _paper_camera(camera: Camera) -> Camera:
    """Return the papers' camera, on a base_link on the road below it."""
    T_base_camera = np.array(
        [[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, PAPER_CAMERA[2]], [0, 0, 0, 1]], np.float64
    )
    return replace(camera, T_base_camera=T_base_camera)


def _draw(line: SplitLine, seed: int) -> tuple[float, float, float]:
    rng = np.random.default_rng([seed, zlib.crc32(line.drive.encode()), line.frame])
    x, y, turn = rng.uniform(-1.0, 1.0, 3)
    return float(x), float(y), float(turn)
