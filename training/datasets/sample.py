# SPDX-License-Identifier: Apache-2.0
"""One pair with its weak label, and how recorded drives become such pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from g2s_localizer.geometry import LocalFrame, Pose2D
from g2s_localizer.imagery import Imagery
from g2s_localizer.kitti import KittiDrive
from g2s_localizer.model import ModelConfig, prepare_ground, prepare_satellite


@dataclass(frozen=True)
class Batch:
    """B pairs as the network takes them. The crop is centred on the label: the only trace of a
    pose is the label's, and there is no room for the true one.
    """

    ground: Tensor
    """(B, 3, h, w) uint8"""
    K: Tensor
    """(B, 3, 3)"""
    T_base_camera: Tensor
    """(B, 4, 4)"""
    satellite: Tensor
    """(B, 3, S, S) uint8, north-up, centred on the label"""
    yaw: Tensor
    """(B,) heading of the label (rad)"""


@dataclass(frozen=True)
class PriorNoise:
    """Noise of the labels, uniform as in the papers' protocol: within `position_m` along each
    axis and `yaw_deg` of heading, drawn once for each frame.
    """

    position_m: float = 20.0
    yaw_deg: float = 10.0

    def labels(self, truths: Sequence[Pose2D], seed: Sequence[int]) -> list[Pose2D]:
        draw = np.random.default_rng(list(seed)).uniform(-1.0, 1.0, (len(truths), 3))
        noise = draw * (self.position_m, self.position_m, np.radians(self.yaw_deg))
        return [
            Pose2D(truth.x + x, truth.y + y, truth.yaw + yaw)
            for truth, (x, y, yaw) in zip(truths, noise, strict=True)
        ]


class DriveDataset:
    """The frames of one drive, cropped around `labels` (one pose a frame, in `frame`), in memory.

    Raises MissingImagery when a crop is not covered.
    """

    def __init__(
        self,
        drive: KittiDrive,
        imagery: Imagery,
        frame: LocalFrame,
        labels: Sequence[Pose2D],
        model: ModelConfig,
    ) -> None:
        if len(labels) != len(drive.frames):
            raise ValueError(f"{len(labels)} labels for {len(drive.frames)} images")
        self.labels = list(labels)
        ground, satellite, self._cameras = [], [], []
        for index, label in zip(drive.frames, labels, strict=True):
            image, camera = prepare_ground(
                drive.image(index), drive.camera, (model.ground_height, model.ground_width)
            )
            crop = imagery.crop(frame.to_latlon(label.x, label.y), model.crop_m, model.gsd)
            ground.append(image)
            satellite.append(prepare_satellite(crop.image))
            self._cameras.append(camera)
        self._ground, self._satellite = torch.stack(ground), torch.stack(satellite)

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Sequence[int]) -> Batch:
        cameras = [self._cameras[i] for i in indices]
        return Batch(
            self._ground[list(indices)],
            _stack([camera.K for camera in cameras]),
            _stack([camera.T_base_camera for camera in cameras]),
            self._satellite[list(indices)],
            torch.tensor([self.labels[i].yaw for i in indices], dtype=torch.float32),
        )


def drive_truths(drive: KittiDrive, frame: LocalFrame) -> list[Pose2D]:
    """True poses of base_link in `frame` at the stamps of the drive's images."""
    truths = []
    for i in drive.frames:
        place, yaw = drive.pose_at(int(drive.image_stamps[i]))
        truths.append(Pose2D(*frame.to_xy(place), yaw))
    return truths


def concatenate(batches: Sequence[Batch]) -> Batch:
    names = Batch.__dataclass_fields__
    return Batch(**{name: torch.cat([getattr(b, name) for b in batches]) for name in names})


def distant_batches(
    datasets: Sequence[DriveDataset],
    drives_per_batch: int,
    per_drive: int,
    spacing_m: float,
    rng: np.random.Generator,
) -> Iterator[Batch]:
    """Endless batches: `per_drive` frames of each of `drives_per_batch` drives.

    Labels of one drive lie at least `spacing_m` apart, so that no crop shows the place of
    another pair; several of one drive, so that style alone does not tell them apart.
    Raises ValueError when a drive is too short for that.
    """
    while True:
        chosen = rng.choice(len(datasets), drives_per_batch, replace=False)
        yield concatenate(
            [
                datasets[i].batch(_apart(datasets[i].labels, per_drive, spacing_m, rng))
                for i in chosen
            ]
        )


def _apart(
    labels: Sequence[Pose2D], count: int, spacing_m: float, rng: np.random.Generator
) -> list[int]:
    for _ in range(100):
        picked: list[int] = []
        for i in rng.permutation(len(labels)):
            near = (np.hypot(labels[i].x - labels[j].x, labels[i].y - labels[j].y) for j in picked)
            if all(distance >= spacing_m for distance in near):
                picked.append(int(i))
            if len(picked) == count:
                return picked
    raise ValueError(f"a drive of {len(labels)} frames has no {count} that lie {spacing_m} m apart")


def _stack(arrays: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(arrays).astype(np.float32))
