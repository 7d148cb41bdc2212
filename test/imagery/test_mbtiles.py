# SPDX-License-Identifier: Apache-2.0
import sqlite3

import pytest

from g2s_localizer.geometry.geodesy import LatLon, mercator_pixel
from g2s_localizer.imagery.mbtiles import MBTilesStore

PLACE = LatLon(-22.9, -43.2)


def test_rows_count_from_the_north(tile_writer, tmp_path):
    writer = tile_writer()
    writer.mbtiles(tmp_path / "t.mbtiles", PLACE)
    x, y = (int(p // 256) for p in mercator_pixel(PLACE.lat, PLACE.lon, 19))
    store = MBTilesStore(tmp_path / "t.mbtiles")
    assert store.read(19, x, y - 1) == writer.encoded(x, y - 1)
    assert sorted(store.tiles(19))[0] == (x - 1, y - 1)


def test_the_store_knows_its_zooms_its_attribution_and_its_gaps(tile_writer, tmp_path):
    tile_writer().mbtiles(tmp_path / "t.mbtiles", PLACE)
    store = MBTilesStore(tmp_path / "t.mbtiles")
    assert (store.zooms, store.attribution) == ((19,), "painted by formula")
    assert store.read(19, 0, 0) is None


def test_all_tiles_are_listed_page_by_page_and_all_zooms_found(tmp_path, monkeypatch):
    monkeypatch.setattr("g2s_localizer.imagery.mbtiles._PAGE", 7)
    database = sqlite3.connect(tmp_path / "t.mbtiles")
    database.execute("CREATE TABLE metadata (name TEXT, value TEXT)")
    database.execute(
        "CREATE TABLE tiles (zoom_level INT, tile_column INT, tile_row INT, tile_data BLOB)"
    )
    stored = {(zoom, x, y) for zoom in (0, 4, 6) for x in range(1 << zoom) for y in range(zoom + 1)}
    database.executemany("INSERT INTO tiles VALUES (?, ?, ?, x'00')", stored)
    database.commit()
    store = MBTilesStore(tmp_path / "t.mbtiles")
    listed = [(zoom, x, 2**zoom - 1 - y) for zoom in store.zooms for x, y in store.tiles(zoom)]
    assert store.zooms == (0, 4, 6) and sorted(listed) == sorted(stored)


def test_a_file_name_with_special_characters_opens(tile_writer, tmp_path):
    file = tmp_path / "50% of town?#.mbtiles"
    tile_writer().mbtiles(file, PLACE)
    assert MBTilesStore(file).zooms == (19,)


@pytest.mark.parametrize("content", [b"no database at all, but some text" * 40, b""])
def test_a_file_that_is_no_mbtiles_is_named(tmp_path, content):
    file = tmp_path / "broken.mbtiles"
    file.write_bytes(content)
    with pytest.raises(ValueError, match="broken.mbtiles is no MBTiles file"):
        MBTilesStore(file)
