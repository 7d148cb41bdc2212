# SPDX-License-Identifier: Apache-2.0
"""Small generated data for the datasets: drives in KITTI's raw layout, imagery that is a dot."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from g2s_localizer.geometry import LatLon, LocalFrame
from g2s_localizer.imagery import SatelliteCrop
from g2s_localizer.model import ModelConfig, model_config
from training.simulate import simulate
from training.simulation.drive import CALIBRATION

DATE = "2011_09_26"
KARLSRUHE = LatLon(49.015, 8.43)


@dataclass(frozen=True)
class DotImagery:
    """Black ground with one white dot of some two metres at a place."""

    place: LatLon
    attribution: str = "drawn for a test"

    def crop(self, centre: LatLon, size_m: float, gsd: float, yaw: float = 0.0) -> SatelliteCrop:
        pixels = round(size_m / gsd)
        crop = SatelliteCrop(np.zeros((pixels, pixels, 3), np.uint8), centre, gsd, "", yaw)
        u, v = crop.uv_from_xy(LocalFrame(centre).to_xy(self.place))[0]
        grid = np.arange(pixels)
        distance2 = ((grid - u)[None, :] ** 2 + (grid - v)[:, None] ** 2) * gsd**2
        image = 255.0 * np.exp(-distance2 / 2.0)
        return replace(crop, image=np.repeat(image[..., None], 3, 2).astype(np.uint8))


def dot_of(image) -> np.ndarray:
    """(column, row) of the dot in an image (3, S, S), from its centre in pixels, right and down."""
    weight = np.asarray(image[0], np.float64)
    grid = np.arange(weight.shape[0]) - (weight.shape[0] - 1) / 2.0
    return np.array([(weight * grid).sum(), (weight * grid[:, None]).sum()]) / weight.sum()


def write_drive(root: Path, number: int, places: list[LatLon], yaw: float, speed: float = 0.0):
    """A raw drive with one grey image a place, taken at the stamp of its OXTS record."""
    folder = root / DATE / f"{DATE}_drive_{number:04d}_sync"
    images, records = folder / "image_02" / "data", folder / "oxts" / "data"
    images.mkdir(parents=True)
    records.mkdir(parents=True)
    for name, text in CALIBRATION.items():
        (root / DATE / name).write_text(text)
    stamps = "".join(f"2011-09-26 10:00:{i / 10:012.9f}\n" for i in range(len(places)))
    for sensor in (images, records):
        (sensor.parent / "timestamps.txt").write_text(stamps)
    for i, place in enumerate(places):
        record = np.zeros(30)
        record[[0, 1, 2, 5, 8, 23, 24]] = place.lat, place.lon, 110.0, yaw, speed, 0.02, 0.01
        (records / f"{i:010d}.txt").write_text(" ".join(f"{v:.13g}" for v in record) + "\n")
        picture = np.full((375, 1242, 3), 40 + i, np.uint8)
        cv2.imwrite(str(images / f"{i:010d}.png"), picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return folder


@pytest.fixture(scope="session")
def tiny() -> ModelConfig:
    return model_config(
        width=4, levels=3, features=4, gsd=0.5, ground_height=32, ground_width=128, yaw_step_deg=6.0
    )


@pytest.fixture
def dot_imagery():
    """The class: imagery of one dot at a place."""
    return DotImagery


@pytest.fixture
def find_dot():
    """`dot_of`: (column, row) of the dot from the centre of an image, in pixels."""
    return dot_of


@pytest.fixture
def raw(tmp_path):
    """(root of a raw drive 1 of three frames, heading 0.7 rad at 10 m/s; their places)."""
    frame = LocalFrame(KARLSRUHE)
    places = [frame.to_latlon(i * math.cos(0.7), i * math.sin(0.7)) for i in range(3)]
    write_drive(tmp_path / "raw", 1, places, 0.7, 10.0)
    return tmp_path / "raw", places


@pytest.fixture(scope="session")
def simulated(tmp_path_factory):
    """The folder of a simulated drive of five frames, half a second apart, seed 31."""
    folder = tmp_path_factory.mktemp("simulated") / "drive"
    simulate(folder, 31, 5, "easy", rate=2.0)
    return folder
