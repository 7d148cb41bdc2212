# SPDX-License-Identifier: Apache-2.0
"""Simulated drives as data: simulated when they are not there yet, then read as any KITTI drive."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from g2s_localizer.geometry import LocalFrame, Pose2D
from g2s_localizer.imagery import Imagery
from g2s_localizer.kitti import KittiDrive
from g2s_localizer.model import ModelConfig
from training.data.drives import DriveDataset, LabelledDrive
from training.data.process_imagery import ProcessImagery
from training.data.sample import PriorNoise
from training.simulation.preset import PRESET_VERSION


@dataclass(frozen=True)
class SimulatedDrive:
    """A drive with exact poses of base_link at the images' stamps, in `frame`."""

    seed: int
    drive: KittiDrive
    imagery: Imagery
    frame: LocalFrame
    truths: list[Pose2D]

    def labelled(self, noise: PriorNoise) -> LabelledDrive:
        """Return the drive with labels that carry `noise`, drawn once from its seed."""
        labels = noise.labels(self.truths, seed=(self.seed, 7))
        drive = self.drive
        return LabelledDrive(
            f"simulated drive {self.seed}", drive.frames, drive.image, drive.camera, self.frame,
            labels, self.truths, self.imagery,
        )  # fmt: skip


def simulated_dataset(
    drives: Sequence[SimulatedDrive], model: ModelConfig, noise: PriorNoise
) -> DriveDataset:
    """Return the pairs of all drives, whose worlds have nothing in common."""
    return DriveDataset([drive.labelled(noise) for drive in drives], model)


def open_drive(folder: Path, seed: int) -> SimulatedDrive:
    """Return the drive that `training.simulate --out folder --seed seed` wrote."""
    drive = KittiDrive(folder, f"2011_09_26_drive_{seed % 10000:04d}_sync")
    frame = LocalFrame(drive.latlon(drive.frames[0]))
    imagery = ProcessImagery(f"slippy:{folder / 'imagery'}")
    truths = []
    for i in drive.frames:
        place, yaw = drive.pose_at(int(drive.image_stamps[i]))
        truths.append(Pose2D(*frame.to_xy(place), yaw + frame.convergence(place)))
    return SimulatedDrive(seed, drive, imagery, frame, truths)


def open_drives(
    folder: Path, difficulty: str, seeds: Sequence[int], frames: int, rate: float
) -> list[SimulatedDrive]:
    """Return the drives of `seeds`, one process a core simulating those that are missing.

    Raises RuntimeError with the simulator's own words when it fails.
    """
    kind = f"{difficulty}_v{PRESET_VERSION}_{frames}x{rate:g}Hz"
    folders = {seed: folder / f"{kind}_{seed:04d}" for seed in seeds}
    missing = [seed for seed in seeds if not (folders[seed] / "world.json").is_file()]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = (
            pool.submit(_simulate, folders[seed], difficulty, seed, frames, rate)
            for seed in missing
        )
        for job in tqdm(list(jobs), desc="simulating drives", disable=not missing):
            job.result()
    return [open_drive(folders[seed], seed) for seed in seeds]


def _simulate(folder: Path, difficulty: str, seed: int, frames: int, rate: float) -> None:
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    command = [sys.executable, "-m", "training.simulate", "--out", str(partial)]
    command += ["--seed", str(seed), "--frames", str(frames), "--rate", str(rate)]
    command += ["--difficulty", difficulty]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    partial.rename(folder)
