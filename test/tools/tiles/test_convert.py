# SPDX-License-Identifier: Apache-2.0
import sqlite3

import numpy as np
import pytest

from g2s_localizer.geometry.geodesy import LatLon
from g2s_localizer.imagery import open_imagery
from g2s_localizer.imagery.sidecar import read_sidecar

KARLSRUHE = LatLon(49.011212, 8.422885)
KINDS = ["slippy", "mbtiles", "pmtiles"]


def everything(uri):
    store = open_imagery(str(uri)).store
    return {
        (zoom, x, y): store.read(zoom, x, y) for zoom in store.zooms for x, y in store.tiles(zoom)
    }


@pytest.mark.parametrize("last", KINDS)
@pytest.mark.parametrize("first", KINDS)
def test_tiles_and_sidecar_survive_any_two_conversions(tiles, folder, tmp_path, first, last):
    pytest.importorskip("pmtiles", reason="needs the package pmtiles")
    assert tiles("convert", folder, f"{first}:{tmp_path / 'one'}")[0] == 0
    assert tiles("convert", tmp_path / "one", f"{last}:{tmp_path / 'two'}")[0] == 0
    assert everything(tmp_path / "two") == everything(folder)
    assert read_sidecar(tmp_path / "two") == read_sidecar(folder)


def test_a_packed_store_gives_the_same_crops(tiles, folder, tmp_path):
    assert tiles("pack", folder, tmp_path / "map.mbtiles")[0] == 0
    crops = [
        open_imagery(str(store)).crop(KARLSRUHE, 60.0, 0.2).image
        for store in (folder, tmp_path / "map.mbtiles")
    ]
    assert np.array_equal(*crops)


def test_an_mbtiles_file_says_what_its_specification_asks_for(tiles, folder, tmp_path):
    tiles("pack", folder, tmp_path / "map.mbtiles")
    database = sqlite3.connect(tmp_path / "map.mbtiles")
    metadata = dict(database.execute("SELECT name, value FROM metadata"))
    assert (metadata["format"], metadata["minzoom"], metadata["maxzoom"]) == ("jpg", "18", "19")
    west, south, east, north = map(float, metadata["bounds"].split(","))
    assert west < KARLSRUHE.lon < east and south < KARLSRUHE.lat < north
    assert metadata["attribution"] == "© painted"


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_tile_is_named_and_nothing_is_left(tiles, folder, tmp_path, kind):
    pytest.importorskip("pmtiles", reason="needs the package pmtiles")
    bad = sorted((folder / "19").rglob("*.jpg"))[-1]
    bad.write_bytes(b"<html>")
    status, _, err = tiles("convert", folder, f"{kind}:{tmp_path / 'out'}")
    assert status == 1 and f"{bad.parent.name}/{bad.stem}: 6 bytes that are no PNG" in err
    assert list(tmp_path.iterdir()) == [folder]


def test_what_is_there_is_not_replaced(tiles, folder, tmp_path):
    (tmp_path / "map.mbtiles").write_bytes(b"precious")
    status, _, err = tiles("pack", folder, tmp_path / "map.mbtiles")
    assert status == 1 and "map.mbtiles exists already" in err
    assert (tmp_path / "map.mbtiles").read_bytes() == b"precious"


def test_an_unknown_suffix_is_asked_about(tiles, folder, tmp_path):
    status, _, err = tiles("convert", folder, tmp_path / "map.zip")
    assert status == 1 and "map.zip: what is it to be?" in err
