# SPDX-License-Identifier: Apache-2.0
"""Drives placed by `training.lift.trajectory`: pairs with a fresh crop each time.

A label that is good to a metre can be spoilt anew at every step: the crop's centre, its turn and
the prior's heading are drawn again for each pair, half of the crops are mirrored with all that is
seen in them, and several frames share a crop.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from g2s_localizer.geometry import Pose2D
from g2s_localizer.geometry.pose import rotation
from g2s_localizer.imagery import MissingImagery
from g2s_localizer.model import ModelConfig, prepare_ground
from training.data.drives import LabelledDrive
from training.data.files import name_some, said
from training.data.sample import PriorNoise, Unreadable

_LOG = logging.getLogger(__name__)

_FINER = 1.5
"""Pixels of the imagery per pixel of the turned crop."""
_OTHER_SIDE = np.diag([1.0, -1.0, 1.0]).astype(np.float32)
_OTHER_COLUMN = np.diag([-1.0, 1.0, 1.0]).astype(np.float32)
_ATTEMPTS = 20
"""Places at the edge of the imagery that are passed over before it is taken for missing."""
_MARGIN_M = 2.0
"""Between the farthest frame of a crop and the end of the search."""


@dataclass(frozen=True, eq=False)
class PlacedBatch:
    """C crops and G ground images, each on one of them, with pseudo-poses in the crop's frame:
    metres right and up of its centre, yaw counter-clockwise from its right.
    """

    satellite: Tensor
    """(C, 3, S, S) uint8, turned and mirrored at random"""
    ground: Tensor
    """(G, 3, h, w) uint8"""
    K: Tensor
    """(G, 3, 3)"""
    T_base_camera: Tensor
    """(G, 4, 4)"""
    crop: Tensor
    """(G,) int64, index of the image's crop: ascending, each as often"""
    pose: Tensor
    """(G, 3) pseudo-pose x, y (m), yaw (rad)"""
    prior_yaw: Tensor
    """(G,) the pseudo-pose's yaw with fresh noise"""

    def __len__(self) -> int:
        return len(self.ground)

    @property
    def skipped(self) -> tuple[Unreadable, ...]:
        """Nothing: what cannot be read was left out when the drives were placed."""
        return ()

    def to(self, device: Any, non_blocking: bool = False) -> PlacedBatch:
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> PlacedBatch:
        """Copy to pinned memory, as a DataLoader with pin_memory=True asks."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> PlacedBatch:
        return PlacedBatch(*(change(getattr(self, field.name)) for field in fields(self)))


class PlacedDrive:
    """The frames of one drive in memory, with `poses` (one a frame, in `frame`).

    readable  indices of the frames whose image can be read; a warning counts the others and says
              why, and their place in `ground` is black. Raises ValueError where there is none.
    """

    def __init__(self, drive: LabelledDrive, poses: Sequence[Pose2D], model: ModelConfig) -> None:
        size = (model.ground_height, model.ground_width)
        self.ground = torch.zeros((len(drive.frames), 3, *size), dtype=torch.uint8)
        readable, reasons = [], []
        for i, frame in enumerate(drive.frames):
            try:
                self.ground[i], camera = prepare_ground(drive.read(frame), drive.camera, size)
                readable.append(i)
            except Exception as error:  # one picture can be wrong in any way
                reasons.append(f"frame {frame}: {said(error)}")
        report = f"{drive.name}: {len(reasons)} of {len(poses)} images skipped: "
        if not readable:
            raise ValueError(report + name_some(reasons))
        if reasons:
            _LOG.warning("%s%s", report, name_some(reasons))
        self.readable = np.array(readable)
        self.K = camera.K.astype(np.float32)
        self.T_base_camera = camera.T_base_camera.astype(np.float32)
        self.poses = np.array([(p.x, p.y, p.yaw) for p in poses])
        self.model = model
        self._imagery, self._frame = drive.imagery, drive.frame

    def turned_crop(
        self, centre: NDArray[np.float64], turn: float, crop_m: float
    ) -> NDArray[np.uint8]:
        """Imagery (S, S, 3) of `crop_m` around `centre`, turned counter-clockwise by `turn` (rad)
        from the axes of the poses. Raises MissingImagery when the crop's circle is not covered.
        """
        place = self._frame.to_latlon(*centre)
        turn += self._frame.convergence(place)
        side = round(crop_m / self.model.gsd)
        finer = self.model.gsd / _FINER
        diagonal = 2 * math.ceil(side * _FINER / math.sqrt(2)) * finer
        wide = self._imagery.crop(place, diagonal, finer).image
        middle, end = (side - 1) / 2, (len(wide) - 1) / 2
        # image rows point down: what turns counter-clockwise on the map turns so in the image
        M = _FINER * np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
        shift = np.array([end, end]) - M @ (middle, middle)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return np.asarray(cv2.warpAffine(wide, np.c_[M, shift], (side, side), flags=flags))


def placed_batch(
    drives: Sequence[PlacedDrive],
    crops: int,
    per_crop: int,
    crop_m: float,
    noise: PriorNoise,
    rng: np.random.Generator,
) -> PlacedBatch:
    """`crops` random crops of `crop_m` metres, each with `per_crop` of the frames that lie within
    what can be searched in it. A small crop is cheap, and its wrong places are the near ones,
    which are the hard ones. Raises MissingImagery when many places in a row lie at its edge.
    """
    satellite, ground, K, T, crop, pose, prior_yaw = [], [], [], [], [], [], []
    for index in range(crops):
        drive, centre, turn, image = _crop(drives, crop_m, noise, rng)
        xy = (drive.poses[:, :2] - centre) @ rotation(turn).T
        near = np.abs(xy[drive.readable]).max(axis=1) < _search(drive, crop_m)
        within = drive.readable[near]
        mirrored = rng.random() < 0.5
        satellite.append(recoloured(image[:, ::-1] if mirrored else image, rng))
        for i in rng.choice(within, per_crop, replace=len(within) < per_crop):
            seen = _Seen(
                drive.ground[i].numpy().transpose(1, 2, 0),
                drive.K,
                drive.T_base_camera,
                np.array([*xy[i], drive.poses[i, 2] + turn]),
            )
            if mirrored:
                seen = seen.mirrored()
            ground.append(recoloured(seen.image, rng))
            K.append(seen.K)
            T.append(seen.T_base_camera)
            crop.append(index)
            pose.append(seen.pose)
            prior_yaw.append(seen.pose[2] + math.radians(rng.uniform(-1.0, 1.0) * noise.yaw_deg))
    return PlacedBatch(
        torch.from_numpy(np.stack(satellite)),
        torch.from_numpy(np.stack(ground)),
        torch.from_numpy(np.stack(K)),
        torch.from_numpy(np.stack(T)),
        torch.tensor(crop),
        torch.tensor(np.array(pose), dtype=torch.float32),
        torch.tensor(prior_yaw, dtype=torch.float32),
    )


def _search(drive: PlacedDrive, crop_m: float) -> float:
    """Return the largest distance of frames from a crop's centre, along each of its axes (m)."""
    return crop_m / 2.0 - drive.model.reach_m - _MARGIN_M


def _crop(
    drives: Sequence[PlacedDrive], crop_m: float, noise: PriorNoise, rng: np.random.Generator
) -> tuple[PlacedDrive, NDArray[np.float64], float, NDArray[np.uint8]]:
    """Return a drive, and a crop around one of its frames: centre, turn and image."""
    for attempt in range(_ATTEMPTS):
        drive = drives[rng.integers(len(drives))]
        reference = drive.poses[drive.readable[rng.integers(len(drive.readable))], :2]
        turn = float(rng.uniform(-math.pi, math.pi))
        # drawn along the axes of the turned crop, whose square of positions is what is searched
        reach = 0.9 * min(_search(drive, crop_m), noise.position_m)
        centre = reference - rotation(turn).T @ rng.uniform(-reach, reach, 2)
        try:
            return drive, centre, turn, drive.turned_crop(centre, turn, crop_m)
        except MissingImagery:
            if attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError("one of the attempts returns or raises")


@dataclass(frozen=True, eq=False)
class _Seen:
    """A ground image (H, W, 3), its camera, and the pose (3,) it was seen from."""

    image: NDArray[np.uint8]
    K: NDArray[np.float32]
    T_base_camera: NDArray[np.float32]
    pose: NDArray[np.float64]

    def mirrored(self) -> _Seen:
        """As seen in a world whose x axis points the other way: left and right change places."""
        K, T = self.K.copy(), self.T_base_camera.copy()
        K[0, 2] = self.image.shape[1] - 1 - K[0, 2]
        T[:3, :3] = _OTHER_SIDE @ T[:3, :3] @ _OTHER_COLUMN
        T[:3, 3] = _OTHER_SIDE @ T[:3, 3]
        x, y, yaw = self.pose
        return _Seen(self.image[:, ::-1], K, T, np.array([-x, y, math.pi - yaw]))


def recoloured(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Image (H, W, 3) -> (3, H, W) in another light: channels mixed, brighter or darker, noisy."""
    mix = np.eye(3) + rng.normal(0.0, 0.15, (3, 3))
    shift = 110.0 + rng.normal(0.0, 6.0, 3) - mix @ np.full(3, 110.0)
    value = cv2.transform(
        np.ascontiguousarray(image, np.float32), np.c_[mix, shift].astype(np.float32)
    )
    value += rng.standard_normal(value.shape, dtype=np.float32) * np.float32(rng.uniform(0.0, 3.0))
    return np.ascontiguousarray(np.clip(value, 0, 255).astype(np.uint8).transpose(2, 0, 1))
