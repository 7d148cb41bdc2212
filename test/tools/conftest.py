# SPDX-License-Identifier: Apache-2.0
"""A small store of tiles with everything that is said of one, and g2s-tiles to run on it."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from g2s_localizer.geometry.geodesy import LatLon, mercator_pixel
from g2s_localizer.imagery.sidecar import Sidecar, write_sidecar
from g2s_localizer.tools.tiles.main import main

KARLSRUHE = LatLon(49.011212, 8.422885)
SIDECAR = Sidecar("© painted", "CC0", "test", 1.5, -0.7, 0.4)


def paint_tile(seed: int, suffix: str = "jpg") -> bytes:
    """A tile of smooth noise: every seed another one."""
    noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    tile = cv2.resize(noise, (256, 256), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(f".{suffix}", tile)[1].tobytes()


def paint_store(folder: Path, zoom: int = 19, side: int = 5, suffix: str = "jpg") -> list[Path]:
    """side x side tiles of `zoom` around KARLSRUHE; their files, from the north-west."""
    px, py = mercator_pixel(KARLSRUHE.lat, KARLSRUHE.lon, zoom)
    left, top = int(px // 256) - side // 2, int(py // 256) - side // 2
    files = []
    for y in range(top, top + side):
        for x in range(left, left + side):
            file = folder / f"{zoom}/{x}/{y}.{suffix}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(paint_tile(len(files), suffix))
            files.append(file)
    return files


@pytest.fixture
def folder(tmp_path):
    """A slippy folder of 25 tiles of zoom 19 and 4 of zoom 18, with a sidecar."""
    folder = tmp_path / "tiles"
    paint_store(folder)
    paint_store(folder, zoom=18, side=2)
    write_sidecar(folder, SIDECAR)
    return folder


@pytest.fixture
def tiles(capsys):
    """tiles(*arguments) -> (exit status, standard output, standard error) of g2s-tiles"""

    def run(*arguments):
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def paint():
    """The function paint_store."""
    return paint_store
