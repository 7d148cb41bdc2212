# SPDX-License-Identifier: Apache-2.0
"""One pair of a ground image and a satellite crop with its weak label, and batches of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from g2s_localizer.geometry import Pose2D


@dataclass(frozen=True, eq=False)
class Sample:
    """One pair as the network takes it. The crop is centred on the label: the only trace of a
    pose is the label's, and there is no room for the true one.
    """

    index: int
    """in the dataset: finds the label and, for scoring, the truth"""
    ground: Tensor
    """(3, h, w) uint8"""
    K: Tensor | None
    """(3, 3) float32; None: the image is a panorama, equirectangular and one full turn wide,
    whose middle column looks along the optical axis of T_base_camera"""
    T_base_camera: Tensor
    """(4, 4) float32"""
    satellite: Tensor
    """(3, S, S) uint8, centred on the label; its u axis points along `crop_yaw`"""
    gsd: float
    """metres per pixel of the satellite crop"""
    yaw: float
    """heading of the label from the crop's u axis (rad, counter-clockwise): label yaw - crop_yaw"""
    crop_yaw: float = 0.0
    """yaw in map of the crop's u axis (rad); about 0: north-up, since map is the plane at a datum
    and a crop's north that of its place"""


@dataclass(frozen=True)
class Unreadable:
    """Placeholder of a sample whose image or imagery cannot be read."""

    index: int
    name: str
    reason: str


@dataclass(frozen=True, eq=False)
class Batch:
    """B samples, field by field, and the names of those that could not be read."""

    ground: Tensor
    """(B, 3, h, w) uint8"""
    K: Tensor | None
    """(B, 3, 3); None: panoramas"""
    T_base_camera: Tensor
    """(B, 4, 4)"""
    satellite: Tensor
    """(B, 3, S, S) uint8, centred on the label"""
    yaw: Tensor
    """(B,) heading of the label from the crop's u axis (rad)"""
    crop_yaw: Tensor
    """(B,) yaw in map of the crop's u axis (rad)"""
    gsd: Tensor
    """(B,) metres per pixel of the satellite crop"""
    index: Tensor
    """(B,) int64 in the dataset"""
    skipped: tuple[Unreadable, ...] = ()

    def __len__(self) -> int:
        return len(self.ground)

    def to(self, device: Any, non_blocking: bool = False) -> Batch:
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """Pin the tensors, as a DataLoader with pin_memory=True asks."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Any) -> Batch:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
        return replace(self, **{name: change(value) for name, value in tensors.items()})


def collate(samples: Sequence[Sample | Unreadable]) -> Batch:
    """Return the samples as one batch; those that could not be read are left out and named in it.

    The batch may be smaller than asked, and empty. Raises ValueError when panoramas and pinhole
    images meet.
    """
    read = [sample for sample in samples if isinstance(sample, Sample)]
    skipped = tuple(sample for sample in samples if isinstance(sample, Unreadable))
    intrinsics = [sample.K for sample in read if sample.K is not None]
    if len(intrinsics) not in (0, len(read)):
        raise ValueError("panoramas and pinhole images do not share a batch")
    return Batch(
        ground=_stack([sample.ground for sample in read], (3, 0, 0)),
        K=_stack(intrinsics, (3, 3)) if intrinsics or not read else None,
        T_base_camera=_stack([sample.T_base_camera for sample in read], (4, 4)),
        satellite=_stack([sample.satellite for sample in read], (3, 0, 0)),
        yaw=torch.tensor([sample.yaw for sample in read], dtype=torch.float32),
        crop_yaw=torch.tensor([sample.crop_yaw for sample in read], dtype=torch.float32),
        gsd=torch.tensor([sample.gsd for sample in read], dtype=torch.float32),
        index=torch.tensor([sample.index for sample in read], dtype=torch.int64),
        skipped=skipped,
    )


def _stack(tensors: Sequence[Tensor], empty: tuple[int, ...]) -> Tensor:
    return torch.stack(list(tensors)) if tensors else torch.empty((0, *empty))


class PairDataset(Protocol):
    """A map-style dataset for torch's DataLoader. What `[i]` gives depends on i alone, not on
    the worker that asks; datasets can be pickled and open their imagery in each process.
    """

    @property
    def labels(self) -> list[Pose2D]:
        """Return the weak labels, each in the frame of its drive (or satellite tile)."""

    @property
    def truths(self) -> list[Pose2D] | None:
        """Return exact poses in the frames of the labels, for scoring; None where nobody knows."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample | Unreadable: ...

    def name(self, index: int) -> str:
        """Return the names of the drive (or city) and the frame, as the files have them."""

    def group(self, index: int) -> int:
        """Return the drive (or city) that a sample comes from."""

    def apart(self, index: int, others: Sequence[int], spacing_m: float) -> bool:
        """Return whether the sample shows no place that one of the others shows.

        Drives: its label lies at least `spacing_m` from theirs. Satellite tiles: they have none
        in common, and `spacing_m` is not asked.
        """

    def widened(self, pixels: int) -> PairDataset:
        """Return the same samples with `pixels` of satellite a side, around the same places and of
        the same metres per pixel; what has no imagery so wide is Unreadable.
        """


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
