# SPDX-License-Identifier: Apache-2.0
"""An index of tiles may come from a stranger: it lists tiles, and leads nowhere else."""

import os
import sqlite3

import cv2
import numpy as np
import pytest

from g2s_localizer.geometry.geodesy import LatLon, mercator_pixel
from g2s_localizer.imagery import MissingImagery, open_imagery
from g2s_localizer.imagery.fetch.store import FetchStore
from g2s_localizer.imagery.picture import ImageHeader
from g2s_localizer.imagery.sidecar import Sidecar
from g2s_localizer.imagery.tiles.index import INDEX_NAME, TileIndex

PLACE = LatLon(49.011212, 8.422885)
TILE = (19, *(int(pixel // 256) for pixel in mercator_pixel(PLACE.lat, PLACE.lon, 19)))


@pytest.fixture
def folder(tmp_path):
    """A store of the one tile at PLACE."""
    image = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    with FetchStore(tmp_path / "store", Sidecar()) as store:
        store.put(TILE, cv2.imencode(".png", image)[1].tobytes(), ImageHeader(0, 256, 256))
    return tmp_path / "store"


def change(folder, statement):
    database = sqlite3.connect(folder / INDEX_NAME)
    database.execute(statement)
    database.commit()
    database.close()


@pytest.mark.parametrize("zoom", ["0.5", "'top'", "-1", "99", "x'00'"])
def test_a_zoom_that_is_none_is_passed_over(folder, zoom):
    change(folder, f"INSERT INTO tiles SELECT {zoom}, 1, 1, 0, 1, 1, x'', '', '', 0, 0")
    assert open_imagery(str(folder)).zooms == (19,)


@pytest.mark.parametrize("place", ["'a', 1", "0.5, 1", "1, -1", "1, 524288", "9e18, 1"])
def test_a_tile_without_a_place_is_not_listed(folder, place):
    change(folder, f"INSERT INTO tiles SELECT 19, {place}, 0, 1, 1, x'', '', '', 0, 0")
    assert list(TileIndex(folder).tiles(19)) == [TILE[1:]]


def test_an_index_that_lies_elsewhere_is_refused(folder, tmp_path):
    (folder / INDEX_NAME).rename(tmp_path / "elsewhere.sqlite")
    (folder / INDEX_NAME).symlink_to(tmp_path / "elsewhere.sqlite")
    with pytest.raises(ValueError, match="index.sqlite is a link that leads out of"):
        open_imagery(str(folder))


def test_an_index_damaged_under_a_running_node_is_missing_imagery(folder):
    imagery = open_imagery(str(folder))
    size = (folder / INDEX_NAME).stat().st_size
    with (folder / INDEX_NAME).open("r+b") as stream:
        stream.write(b"\xff" * size)
    with pytest.raises(MissingImagery, match="its index cannot be read: "):
        imagery.crop(PLACE, 4.0, 0.2)
    assert imagery.missing(PLACE, 4.0, 0.2)


@pytest.mark.parametrize("kind", ["a FIFO", "a folder", "a link that leads out"])
def test_a_file_of_a_tile_that_is_no_regular_one_inside_is_not_read(folder, tmp_path, kind):
    file = TileIndex(folder).path(TILE, 0)
    imagery = open_imagery(str(folder))
    file.rename(tmp_path / "elsewhere")
    {"a FIFO": os.mkfifo, "a folder": os.mkdir}.get(
        kind, lambda file: os.symlink(tmp_path / "elsewhere", file)
    )(file)
    with pytest.raises(MissingImagery, match=f"its file: {kind}"):
        imagery.crop(PLACE, 4.0, 0.2)
