# SPDX-License-Identifier: Apache-2.0
"""VIGOR: panoramas and satellite tiles of four cities, by the labels that SliceMatch corrected.

Conventions, here and nowhere else:
- A tile is north-up, 640 pixels a side, of its city's metres per pixel (GSD).
- A label's offsets (row, column) say where the camera stands: so many pixels of the 640 below
  and LEFT of the tile's centre. East is -column, north is -row.
- A panorama as published has south in its first column and north in its middle one; azimuth
  grows clockwise to the right. Its heading is that of the middle column: yaw pi / 2.
- Rolled by k of W columns to the right, its middle column looks 2 pi k / W further to the left,
  counter-clockwise. That is the true yaw; the prior goes on to say north, or knows it where
  `heading_known` says so.
"""

from __future__ import annotations

import math
import zlib
from copy import copy
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from g2s_localizer.geometry import Panorama, Pose2D
from g2s_localizer.geometry.mounting import extrinsic_from_parameters
from g2s_localizer.model import prepare_ground, prepare_satellite
from training.data.files import read_picture, report_missing, said
from training.data.sample import Sample, Unreadable
from training.data.vigor_mosaic import TileMosaic

TILE_PIXELS = 640

GSD = {
    "NewYork": 0.113248,
    "Seattle": 0.100817,
    "SanFrancisco": 0.118141,
    "Chicago": 0.111262,
}
"""Metres per pixel of a city's tiles."""

CITIES = {
    ("same", "train"): tuple(GSD),
    ("same", "test"): tuple(GSD),
    ("cross", "train"): ("NewYork", "Seattle"),
    ("cross", "test"): ("SanFrancisco", "Chicago"),
}
"""Cities of (area, part)."""

LISTS = {
    ("same", "train"): "same_area_balanced_train__corrected.txt",
    ("same", "test"): "same_area_balanced_test__corrected.txt",
    ("cross", "train"): "pano_label_balanced__corrected.txt",
    ("cross", "test"): "pano_label_balanced__corrected.txt",
}

T_BASE_CAMERA = extrinsic_from_parameters((0.0, 0.0, 2.0), (0.0, 0.0, 0.0))
"""The panoramas' cameras stand 2 m above the road, as the papers take it, and level."""

NORTH = math.pi / 2.0


@dataclass(frozen=True)
class VigorLabel:
    """One line: a panorama and the four tiles that show its place, the positive one first."""

    city: str
    panorama: str
    tiles: tuple[int, int, int, int]
    """lines of satellite_list.txt, from 0"""
    offsets: tuple[tuple[float, float], ...]
    """(row, column) of the camera in each tile, as the file has them"""

    @property
    def camera_xy(self) -> tuple[float, float]:
        """Return metres east and north of the positive tile's centre."""
        row, column = self.offsets[0]
        return -column * GSD[self.city], -row * GSD[self.city]


def read_satellite_list(folder: Path) -> list[str]:
    """Return names of a city's tiles, in the order of its satellite_list.txt."""
    return (folder / "satellite_list.txt").read_text(encoding="utf-8").split()


def read_labels(file: Path, satellites: list[str]) -> list[VigorLabel]:
    """Return labels of the city that the file's folder names.

    Raises ValueError naming the line that is none, or a tile that is not in the list.
    """
    city = file.parent.name
    if city not in GSD:
        raise ValueError(f"{file}: {city} is none of {', '.join(GSD)}")
    numbers = {name: number for number, name in enumerate(satellites)}
    labels = []
    for line, text in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        words = text.split()
        if not words:
            continue
        if len(words) != 13:
            raise ValueError(f"{file}, line {line}: {len(words)} words, a label has 13")
        try:
            tiles = [numbers[name] for name in words[1::3]]
            rows, columns = ([float(word) for word in words[k::3]] for k in (2, 3))
        except KeyError as error:
            raise ValueError(f"{file}, line {line}: no tile {error} in the list") from error
        except ValueError as error:
            raise ValueError(f"{file}, line {line}: {error}") from error
        offsets = tuple(zip(rows, columns, strict=True))
        labels.append(VigorLabel(city, words[0], (tiles[0], tiles[1], tiles[2], tiles[3]), offsets))
    return labels


class VigorDataset:
    """A PairDataset of VIGOR.

    root            folder of the cities and of splits__corrected
    area, part      "same" or "cross", "train" or "test"
    rotation_range  degrees: panoramas are rolled by a uniform angle within it to either side,
                    drawn once, from `seed` and the panorama's name alone; 0 or 180 in the papers
    heading_known   whether the label's heading is that of the rolled panorama, or north
    ground_size     (height, width) of the panorama, satellite_size pixels of the tile, resized

    A label is the tile's centre: positions are metres from there, so each pair has a
    frame of its own. A line whose panorama or tile is not there is left out, counted and named
    in `missing`. Raises ValueError when none is there, or when a list is broken.
    """

    def __init__(
        self,
        root: Path,
        area: str,
        part: str,
        *,
        rotation_range: float = 0.0,
        heading_known: bool = False,
        seed: int = 0,
        ground_size: tuple[int, int] = (320, 640),
        satellite_size: int = 512,
    ) -> None:
        if (area, part) not in CITIES:
            raise ValueError(f"area and part must be same|cross and train|test: {area}, {part}")
        if not 0.0 <= rotation_range <= 180.0:
            raise ValueError(f"rotation_range must lie in [0, 180] degrees, got {rotation_range}")
        self._root = root
        self._ground_size, self._satellite_size = ground_size, satellite_size
        self._wide: int | None = None
        self._mosaics: dict[str, TileMosaic] = {}
        self._cities = CITIES[area, part]
        self._satellites: dict[str, list[str]] = {}
        self._pairs: list[VigorLabel] = []
        missing: list[str] = []
        for city in self._cities:
            folder = root / "splits__corrected" / city
            self._satellites[city] = read_satellite_list(folder)
            labels = read_labels(folder / LISTS[area, part], self._satellites[city])
            absent = self._absent(city, labels)
            report_missing(absent, len(labels), folder / LISTS[area, part], root / city)
            missing += absent
            gone = set(absent)
            self._pairs += [
                label for label in labels if not gone & {label.panorama, self._tile(label)}
            ]
        self.missing = tuple(missing)
        width = ground_size[1]
        self._rolls = [_roll(pair, rotation_range, width, seed) for pair in self._pairs]
        yaws = [NORTH + 2.0 * math.pi * roll / width for roll in self._rolls]
        self.labels = [Pose2D(0.0, 0.0, yaw if heading_known else NORTH) for yaw in yaws]
        self.truths = [
            Pose2D(*pair.camera_xy, yaw) for pair, yaw in zip(self._pairs, yaws, strict=True)
        ]

    def __len__(self) -> int:
        return len(self._pairs)

    def name(self, index: int) -> str:
        return f"{self._pairs[index].city}/{self._pairs[index].panorama}"

    def group(self, index: int) -> int:
        return self._cities.index(self._pairs[index].city)

    def apart(self, index: int, others: list[int], spacing_m: float) -> bool:
        here = self._pairs[index]
        return not any(
            here.city == self._pairs[other].city and set(here.tiles) & set(self._pairs[other].tiles)
            for other in others
        )

    def widened(self, pixels: int) -> VigorDataset:
        """Widen as PairDataset says, by the tiles around each. Raises ValueError naming a tile
        whose name gives no place.
        """
        wide = copy(self)
        wide._wide = pixels
        wide._mosaics = {
            city: TileMosaic(names, GSD[city], TILE_PIXELS, partial(self._read_tile, city))
            for city, names in self._satellites.items()
        }
        return wide

    def __getitem__(self, index: int) -> Sample | Unreadable:
        label = self._pairs[index]
        city = self._root / label.city
        try:
            picture = read_picture(city / "panorama" / label.panorama)
            camera = Panorama(picture.shape[1], picture.shape[0], T_BASE_CAMERA)
            ground, _ = prepare_ground(picture, camera, self._ground_size)
            tile = self._satellite(label)
        except Exception as error:  # one picture can be wrong in any way
            return Unreadable(index, self.name(index), said(error))
        return Sample(
            index=index,
            ground=ground.roll(self._rolls[index], dims=2),
            K=None,
            T_base_camera=torch.tensor(T_BASE_CAMERA, dtype=torch.float32),
            satellite=prepare_satellite(tile),
            gsd=GSD[label.city] * TILE_PIXELS / self._satellite_size,
            yaw=self.labels[index].yaw,
        )

    def _satellite(self, label: VigorLabel) -> NDArray[np.uint8]:
        """Return the tile, or what lies around it too, with as many pixels as are wanted."""
        size = self._wide or self._satellite_size
        if self._wide is None:
            image = self._read_tile(label.city, self._tile(label))
        else:
            # an even number of pixels more than a tile has: both have one middle
            wide = TILE_PIXELS + 2 * round((size / self._satellite_size - 1) * TILE_PIXELS / 2)
            image = self._mosaics[label.city].around(label.tiles[0], wide)
        return np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA), np.uint8)

    def _read_tile(self, city: str, name: str) -> NDArray[np.uint8]:
        tile = read_picture(self._root / city / "satellite" / name)
        if tile.shape[:2] != (TILE_PIXELS, TILE_PIXELS):
            raise ValueError(f"{name} is not {TILE_PIXELS} pixels a side")
        return tile

    def _tile(self, label: VigorLabel) -> str:
        return self._satellites[label.city][label.tiles[0]]

    def _absent(self, city: str, labels: list[VigorLabel]) -> list[str]:
        """Return for each label that lacks a file the first one that it lacks."""
        there = {
            kind: {file.name for file in (self._root / city / kind).glob("*")}
            for kind in ("panorama", "satellite")
        }
        absent = []
        for label in labels:
            if label.panorama not in there["panorama"]:
                absent.append(label.panorama)
            elif self._tile(label) not in there["satellite"]:
                absent.append(self._tile(label))
        return absent


def _roll(label: VigorLabel, rotation_range: float, width: int, seed: int) -> int:
    """Return by how many columns a panorama is rolled to the right."""
    rng = np.random.default_rng([seed, zlib.crc32(label.panorama.encode())])
    return round(float(rng.uniform(-1.0, 1.0)) * rotation_range / 360.0 * width)
