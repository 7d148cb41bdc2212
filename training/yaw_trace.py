# SPDX-License-Identifier: Apache-2.0
"""Does the paper's resampling of KITTI leave the angle in the image? One small experiment.

python -m training.yaw_trace --folder out/training/drives --train 5-40 --test 1901-1903

The published loader turns a satellite image to the heading, moves it, and turns it by the angle
that a network is to find, each time with the nearest pixel. A small CNN gets to see the result
ALONE, with nothing to compare it with: what it knows of the angle, it read from the traces of
resampling. The image is first turned by an angle of its own, drawn from the full circle, so that
no direction of a road says anything. Beside it the same network, on images resampled once.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from training.data.simulated import SimulatedDrive, open_drives
from training.evaluate import parse_seeds

RANGE_DEG = 10.0
SHIFT_PX = 20.0
SIDE = 96
"""Pixels of the image that is seen."""
_SOURCE = 256
_GSD = 0.2
_BATCH = 32

Resampling = Literal["three nearest", "one bilinear"]


def turned(
    source: NDArray[np.uint8],
    first_deg: float,
    shift: tuple[float, float],
    angle_deg: float,
    resampling: Resampling,
) -> NDArray[np.uint8]:
    """Square image (S, S, ...) turned by `first_deg`, moved, turned by `angle_deg`; the middle
    SIDE x SIDE of it. "three nearest": one operation after the other, each taking the nearest
    pixel; "one bilinear": all at once.
    """
    side = len(source)
    middle = ((side - 1) / 2, (side - 1) / 2)
    move = np.array([[1.0, 0.0, shift[0]], [0.0, 1.0, shift[1]]])
    steps = [
        cv2.getRotationMatrix2D(middle, first_deg, 1.0),
        move,
        cv2.getRotationMatrix2D(middle, angle_deg, 1.0),
    ]
    if resampling == "three nearest":
        image = source
        for M in steps:
            image = cv2.warpAffine(image, M, (side, side), flags=cv2.INTER_NEAREST)
    else:
        whole = np.eye(3)
        for M in steps:
            whole = np.vstack([M, [0.0, 0.0, 1.0]]) @ whole
        image = cv2.warpAffine(source, whole[:2], (side, side), flags=cv2.INTER_LINEAR)
    start = (side - SIDE) // 2
    return np.asarray(image[start : start + SIDE, start : start + SIDE])


def pairs(
    drives: Sequence[SimulatedDrive], count: int, resampling: Resampling, seed: int
) -> tuple[Tensor, Tensor]:
    """Images (count, 1, SIDE, SIDE) and their angles (count,) in units of RANGE_DEG."""
    rng = np.random.default_rng(seed)
    images, angles = [], []
    for _ in range(count):
        drive = drives[rng.integers(len(drives))]
        place = drive.truths[rng.integers(len(drive.truths))]
        centre = drive.frame.to_latlon(place.x, place.y)
        source = drive.imagery.crop(centre, _SOURCE * _GSD, _GSD).image
        angle = rng.uniform(-1.0, 1.0)
        image = turned(
            cv2.cvtColor(source, cv2.COLOR_RGB2GRAY),
            rng.uniform(0.0, 360.0),
            (rng.uniform(-SHIFT_PX, SHIFT_PX), rng.uniform(-SHIFT_PX, SHIFT_PX)),
            angle * RANGE_DEG,
            resampling,
        )
        images.append(torch.from_numpy(image.astype(np.float32)))
        angles.append(angle)
    return torch.stack(images)[:, None] / 64.0 - 2.0, torch.tensor(angles, dtype=torch.float32)


def reader() -> nn.Module:
    """A CNN that keeps the finest detail for its first layers, and gives one number."""
    layers: list[nn.Module] = []
    channels = [1, 16, 24, 32, 48]
    for inputs, outputs in itertools.pairwise(channels):
        layers += [
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, stride=2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        ]
    flat = channels[-1] * (SIDE // 2 ** (len(channels) - 1)) ** 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(flat, 64), nn.ReLU(), nn.Linear(64, 1))


def median_error_deg(
    training: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], steps: int, seed: int
) -> float:
    """Median error (degrees) on `test` of a reader trained for `steps`. Chance: RANGE_DEG / 2."""
    torch.manual_seed(seed)
    network = reader()
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    images, angles = training
    for _ in tqdm(range(steps), desc="steps", mininterval=5.0):
        chosen = torch.randint(len(images), (_BATCH,))
        loss = (network(images[chosen])[:, 0] - angles[chosen]).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    network.eval()
    with torch.inference_mode():
        found = torch.cat([network(part)[:, 0] for part in test[0].split(_BATCH)])
    return float((found - test[1]).abs().median()) * RANGE_DEG


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path("out/training/drives"))
    parser.add_argument("--train", type=parse_seeds, default=parse_seeds("5-40"))
    parser.add_argument("--test", type=parse_seeds, default=parse_seeds("1901-1903"))
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    worlds = [
        open_drives(arguments.folder, "kitti", seeds, 100, 2.5)
        for seeds in (arguments.train, arguments.test)
    ]
    found = {"chance": RANGE_DEG / 2.0}
    for resampling in ("three nearest", "one bilinear"):
        training, test = (
            pairs(drives, count, resampling, arguments.seed + offset)
            for drives, count, offset in zip(worlds, (arguments.images, 500), (0, 1), strict=True)
        )
        found[resampling] = median_error_deg(training, test, arguments.steps, arguments.seed)
    print(json.dumps({name: round(value, 2) for name, value in found.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
