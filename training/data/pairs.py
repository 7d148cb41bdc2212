# SPDX-License-Identifier: Apache-2.0
"""Pairs of a street panorama and an aerial picture of its place, in a folder with a table."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from g2s_localizer.geometry import Camera, LatLon, LocalFrame, Panorama, Pose2D
from g2s_localizer.geometry.mounting import extrinsic_from_parameters
from g2s_localizer.geometry.pose import rotation
from g2s_localizer.imagery import MissingImagery
from g2s_localizer.imagery.crop import SatelliteCrop
from g2s_localizer.imagery.resample import (
    crop_pixels,
    resampled,
    sample_positions,
    samples_per_pixel,
    touched_pixels,
)
from g2s_localizer.model import ModelConfig
from training.data.drives import DriveDataset, LabelledDrive
from training.data.files import read_picture
from training.data.sample import PriorNoise

Image = NDArray[np.uint8]

TABLE = "pairs.csv"
COLUMNS = ("panorama", "tile", "gsd", "heading_deg", "height_m")

VIEW = (640, 320)
"""Width and height (pixels) of a view that is cut out of a panorama."""

FIELD_OF_VIEW_DEG = 90.0

_FRAME = LocalFrame(LatLon(0.0, 0.0))
"""Every pair stands alone at its datum: where on Earth that lies is not asked."""


@dataclass(frozen=True)
class Pair:
    """panorama     equirectangular with square pixels, the horizon in its middle row
    tile         north up, its middle at the panorama's place
    gsd          metres per pixel of the tile
    heading_deg  of the panorama's middle column, clockwise from north
    height_m     of the camera above the road
    """

    panorama: Path
    tile: Path
    gsd: float
    heading_deg: float
    height_m: float


def read_pairs(root: Path) -> list[Pair]:
    """Read the table of a folder. Raises ValueError naming the line that is none of a pair."""
    with (root / TABLE).open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        if not set(COLUMNS) <= set(rows.fieldnames or ()):
            raise ValueError(f"{root / TABLE} needs the columns {', '.join(COLUMNS)}")
        pairs = []
        for row in rows:
            try:
                gsd, heading, height = (float(row[name] or "") for name in COLUMNS[2:])
                if not (gsd > 0.0 and height > 0.0 and math.isfinite(gsd + heading + height)):
                    raise ValueError("gsd and height_m must be positive, heading_deg finite")
            except ValueError as error:
                raise ValueError(f"{root / TABLE}, line {rows.line_num}: {error}") from error
            pairs.append(Pair(root / row["panorama"], root / row["tile"], gsd, heading, height))
    if not pairs:
        raise ValueError(f"{root / TABLE} has no pairs")
    return pairs


class PictureImagery:
    """Crops of one picture, north up, whose middle lies at the datum of the pairs' frame."""

    def __init__(self, file: Path, gsd: float) -> None:
        self._file, self._gsd = file, gsd

    def crop(self, centre: LatLon, size_m: float, gsd: float, yaw: float = 0.0) -> SatelliteCrop:
        """Crop as Imagery does. Raises MissingImagery where the picture does not cover the crop."""
        image = _picture(self._file)
        height, width = image.shape[:2]
        pixels = crop_pixels(size_m, gsd)
        x, y = _FRAME.to_xy(centre)
        # Of the turned square, and the half pixel that interpolation needs.
        half = pixels * gsd * (abs(math.cos(yaw)) + abs(math.sin(yaw))) / 2.0 + self._gsd
        if abs(x) + half > width * self._gsd / 2.0 or abs(y) + half > height * self._gsd / 2.0:
            lacking = {f"{x:.0f} m east, {y:.0f} m north": "the picture ends within the crop"}
            raise MissingImagery(str(self._file), lacking, "place")
        samples = samples_per_pixel(pixels, gsd, self._gsd, str(self._file))
        fit = np.zeros((6, 2))
        fit[0] = width / 2.0 + x / self._gsd, height / 2.0 - y / self._gsd
        # Right and up in the crop; rows of the picture run down.
        fit[1:3] = (rotation(yaw) * [[1.0], [-1.0]]).T / self._gsd
        u, v, column, row = sample_positions(fit, pixels * samples, gsd / samples)
        window = image[row : row + touched_pixels(v), column : column + touched_pixels(u)]
        return SatelliteCrop(resampled(window, u, v, pixels), centre, gsd, "", yaw)


def cut_view(panorama: Image, azimuth_deg: float) -> Image:
    """Return the level pinhole view (H, W, 3) of VIEW and FIELD_OF_VIEW_DEG that looks
    `azimuth_deg` clockwise of the panorama's middle column. What the panorama lacks is black.
    """
    K = _intrinsics()
    u, v = np.meshgrid(np.arange(VIEW[0]), np.arange(VIEW[1]))
    right, down = (u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1]
    height, width = panorama.shape[:2]
    rays = np.stack([right, down, np.ones_like(right)], axis=-1).reshape(-1, 3)
    # Of the whole sphere, of which a picture that is less high lacks as much above as below.
    sphere = Panorama(width, round(width / 2), np.eye(4))
    uv = sphere.project(rays)[0].reshape(*right.shape, 2)
    columns = uv[..., 0] + width * azimuth_deg / 360.0
    rows = uv[..., 1] + (height - sphere.height) / 2.0
    # One column more on either side, so that the seam is interpolated too.
    wide = np.concatenate([panorama[:, -1:], panorama, panorama[:, :1]], axis=1)
    columns = np.remainder(columns + 0.5, width) + 0.5
    view = cv2.remap(
        wide, columns.astype(np.float32), rows.astype(np.float32), cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
    )  # fmt: skip
    return np.asarray(view, np.uint8)


def pairs_dataset(
    root: Path,
    azimuths_deg: Sequence[float],
    model: ModelConfig,
    noise: PriorNoise,
    seeds: Sequence[int],
) -> DriveDataset:
    """Return the pairs of a folder as a PairDataset: each a drive of views at azimuths from the
    panorama's middle column, with one prior for each seed. Raises as `read_pairs`.
    """
    views = [azimuth for azimuth in azimuths_deg for _ in seeds]
    return DriveDataset(
        [_drive(pair, number, views, noise, seeds) for number, pair in enumerate(read_pairs(root))],
        model,
    )


def _drive(
    pair: Pair, number: int, views: list[float], noise: PriorNoise, seeds: Sequence[int]
) -> LabelledDrive:
    T_base_camera = extrinsic_from_parameters((0.0, 0.0, pair.height_m), (0.0, 0.0, 0.0))
    truths = [
        Pose2D(0.0, 0.0, math.radians(90.0 - pair.heading_deg - azimuth)) for azimuth in views
    ]
    labels = [
        noise.labels([truth], (seeds[i % len(seeds)], number, i))[0]
        for i, truth in enumerate(truths)
    ]
    return LabelledDrive(
        pair.panorama.name, range(len(views)), partial(_view, pair.panorama, views),
        Camera(_intrinsics(), *VIEW, np.zeros(5), T_base_camera), _FRAME, labels, truths,
        PictureImagery(pair.tile, pair.gsd),
    )  # fmt: skip


def _view(file: Path, views: list[float], index: int) -> Image:
    return cut_view(_picture(file), views[index])


def _intrinsics() -> NDArray[np.float64]:
    focal = VIEW[0] / 2.0 / math.tan(math.radians(FIELD_OF_VIEW_DEG / 2.0))
    middle = (VIEW[0] - 1) / 2.0, (VIEW[1] - 1) / 2.0
    return np.array([[focal, 0.0, middle[0]], [0.0, focal, middle[1]], [0.0, 0.0, 1.0]])


@lru_cache(maxsize=4)
def _picture(file: Path) -> Image:
    return read_picture(file)
