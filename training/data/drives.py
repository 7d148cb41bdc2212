# SPDX-License-Identifier: Apache-2.0
"""Recorded drives as pairs: whatever has images, a camera, labels and imagery."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from g2s_localizer.geometry import Camera, LatLon, LocalFrame, Panorama, Pose2D
from g2s_localizer.imagery import MissingImagery
from g2s_localizer.imagery.crop import SatelliteCrop
from g2s_localizer.model import ModelConfig, prepare_ground, prepare_satellite, wrong_camera
from training.data.files import said
from training.data.sample import Sample, Unreadable

FloatArray = NDArray[np.float64]

_EARTH_RADIUS_M = 6371e3


class Crops(Protocol):
    """The part of Imagery that pairs are cut from."""

    def crop(self, centre: LatLon, size_m: float, gsd: float, yaw: float = 0.0) -> SatelliteCrop:
        """Crop as Imagery does; whatever it raises makes that sample Unreadable."""


@dataclass(frozen=True, eq=False)
class LabelledDrive:
    """Images of one drive with their weak labels, and the imagery below them.

    frames  numbers of the images, as `read` takes them
    read    frame -> (H, W, 3) uint8 RGB; raises OSError or ValueError where it cannot be read
    labels  one pose of base_link a frame, in `frame`; truths likewise, None where nobody knows
    track   the same by odometry: smooth, in a frame of its own that drifts; None where nobody
            measured
    """

    name: str
    frames: Sequence[int]
    read: Callable[[int], NDArray[np.uint8]]
    camera: Camera | Panorama
    frame: LocalFrame
    labels: Sequence[Pose2D]
    truths: Sequence[Pose2D] | None
    imagery: Crops
    track: Sequence[Pose2D] | None = None

    def __post_init__(self) -> None:
        poses_of = {"labels": self.labels, "truths": self.truths, "poses of odometry": self.track}
        for what, poses in poses_of.items():
            if poses is not None and len(poses) != len(self.frames):
                raise ValueError(f"{self.name}: {len(poses)} {what} for {len(self.frames)} images")

    def taken(self, chosen: Sequence[int]) -> LabelledDrive:
        """Return the drive with some of its images, by their places in `frames`."""

        def some(poses: Sequence[Pose2D] | None) -> list[Pose2D] | None:
            return None if poses is None else [poses[i] for i in chosen]

        return replace(
            self,
            frames=[self.frames[i] for i in chosen],
            labels=[self.labels[i] for i in chosen],
            truths=some(self.truths),
            track=some(self.track),
        )

    def motions(self) -> FloatArray:
        """Return (N - 1, 3) each frame's pose in the one before it (m, m, rad), by odometry. Raises
        ValueError for a drive without.
        """
        if self.track is None:
            raise ValueError(f"{self.name} has no odometry")
        between = [a.between(b) for a, b in pairwise(self.track)]
        return np.array([(m.x, m.y, m.yaw) for m in between], np.float64).reshape(-1, 3)


def pieces(drive: LabelledDrive, spacing_m: float, count: int) -> list[LabelledDrive]:
    """Return the drive in pieces of about `count` images that lie `spacing_m` apart along the way,
    so that odometry's drift stays small in each and a standing vehicle is seen once.
    """
    length = np.hypot(*drive.motions()[:, :2].T)
    travelled = np.concatenate([[0.0], np.cumsum(length)])
    chosen = [0]
    for i, distance in enumerate(travelled):
        if distance - travelled[chosen[-1]] >= spacing_m:
            chosen.append(i)
    parts = np.array_split(chosen, math.ceil(len(chosen) / count))
    return [drive.taken(part.tolist()) for part in parts]


class DriveDataset:
    """A PairDataset of drives, each crop cut around its frame's label when it is asked for.

    aligned  crops are turned so that the label's heading points right; None: where the network
             takes them so

    An image that cannot be read, or a place without imagery, gives an Unreadable.
    """

    def __init__(
        self, drives: Sequence[LabelledDrive], model: ModelConfig, aligned: bool | None = None
    ) -> None:
        for drive in drives:
            if wrong := wrong_camera(drive.camera, model.panorama):
                raise ValueError(f"{drive.name}: {wrong}")
        self.drives = list(drives)
        self._model = model
        self._crop_m = model.crop_m
        self._aligned = model.turned_crop if aligned is None else aligned
        self._ends = list(accumulate(len(drive.frames) for drive in self.drives))
        self.labels = [label for drive in self.drives for label in drive.labels]
        truths = [drive.truths for drive in self.drives]
        self.truths: list[Pose2D] | None = None
        if all(known is not None for known in truths):
            self.truths = [truth for known in truths for truth in known or ()]
        self._places = [place for drive in self.drives for place in _places(drive)]
        imagery = [id(drive.imagery) for drive in self.drives]
        self._map = [imagery.index(id(drive.imagery)) for drive in self.drives]

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def name(self, index: int) -> str:
        drive, k = self._frame(index)
        return f"{drive.name}, frame {drive.frames[k]}"

    def group(self, index: int) -> int:
        return bisect_right(self._ends, index)

    def apart(self, index: int, others: Sequence[int], spacing_m: float) -> bool:
        here, place = self._map[self.group(index)], self._places[index]
        return all(
            self._map[self.group(other)] != here
            or float(np.linalg.norm(self._places[other] - place)) >= spacing_m
            for other in others
        )

    def widened(self, pixels: int) -> DriveDataset:
        wide = copy(self)
        wide._crop_m = pixels * self._model.gsd
        return wide

    def __getitem__(self, index: int) -> Sample | Unreadable:
        if not 0 <= index < len(self):
            raise IndexError(index)
        drive, k = self._frame(index)
        label, model = self.labels[index], self._model
        place = drive.frame.to_latlon(label.x, label.y)
        # a crop's axes are true north's at its place, a label's those of the plane at the datum
        lean = drive.frame.convergence(place)
        heading = label.yaw - lean
        turn = heading if self._aligned else 0.0
        try:
            ground, camera = self._ground(drive, drive.frames[k])
            crop = drive.imagery.crop(place, self._crop_m, model.gsd, turn).image
        except (_NoImage, MissingImagery) as error:
            return Unreadable(index, self.name(index), str(error))
        except ValueError:
            raise  # a crop that no imagery can give, whatever the place
        except Exception as error:  # one tile can be wrong in any way
            return Unreadable(index, self.name(index), said(error))
        return Sample(
            index=index,
            ground=ground,
            K=None if camera.K is None else _float32(camera.K),
            T_base_camera=_float32(camera.T_base_camera),
            satellite=prepare_satellite(crop),
            gsd=model.gsd,
            yaw=heading - turn,
            crop_yaw=turn + lean,
        )

    def _frame(self, index: int) -> tuple[LabelledDrive, int]:
        """Return the drive of a sample, and the place of its image among the drive's frames."""
        drive = self.drives[self.group(index)]
        return drive, index - self._ends[self.group(index)] + len(drive.frames)

    def _ground(self, drive: LabelledDrive, frame: int) -> tuple[Tensor, Camera | Panorama]:
        size = (self._model.ground_height, self._model.ground_width)
        try:
            return prepare_ground(drive.read(frame), drive.camera, size, self._model.whole_image)
        except Exception as error:  # one picture can be wrong in any way
            raise _NoImage(said(error)) from error


class _NoImage(Exception):
    """An image that is not there, cannot be decoded or is not its camera's."""


def _places(drive: LabelledDrive) -> NDArray[np.float64]:
    """Return (N, 3) the labels on a sphere of the Earth's size (m): near on it is near."""
    places = [drive.frame.to_latlon(label.x, label.y) for label in drive.labels]
    lat, lon = np.radians([(place.lat, place.lon) for place in places]).reshape(-1, 2).T
    unit = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)
    return np.asarray(_EARTH_RADIUS_M * unit, np.float64)


def _float32(array: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(array.astype(np.float32))
