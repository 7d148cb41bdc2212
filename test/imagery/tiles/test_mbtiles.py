# SPDX-License-Identifier: Apache-2.0
import contextlib
import re
import sqlite3

import pytest

from g2s_localizer.geometry.geodesy import LatLon, mercator_pixel
from g2s_localizer.imagery import MissingImagery, open_imagery
from g2s_localizer.imagery.source import UnusableTile
from g2s_localizer.imagery.tiles.mbtiles import MBTilesStore

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
    monkeypatch.setattr("g2s_localizer.imagery.tiles.mbtiles._PAGE", 7)
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


@contextlib.contextmanager
def changed(tile_writer, file):
    """An MBTiles file around PLACE, and a connection that may break it."""
    tile_writer().mbtiles(file, PLACE)
    database = sqlite3.connect(file)
    yield database
    database.commit()
    database.close()


@pytest.mark.parametrize("zoom", [0.5, "'top'", "NULL", -3, 4000, 1e300])
def test_a_zoom_that_is_none_is_passed_over(tile_writer, tmp_path, zoom):
    with changed(tile_writer, tmp_path / "t.mbtiles") as database:
        database.execute(f"INSERT INTO tiles VALUES ({zoom}, 1, 1, x'00')")
    assert open_imagery(str(tmp_path / "t.mbtiles")).zooms == (19,)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("NULL", "no blob of at most .*NULL"),
        ("'text'", "no blob of at most .*str text"),
        ("900000000", "no blob of at most .*int 900000000"),
        ("x'1f8b08000000000000'", "gzip, as vector tiles are"),
    ],
)
def test_whatever_tile_data_is_it_is_missing_by_name(tile_writer, tmp_path, content, reason):
    with changed(tile_writer, tmp_path / "t.mbtiles") as database:
        database.execute(f"UPDATE tiles SET tile_data = {content} WHERE tile_column % 2")
    imagery = open_imagery(str(tmp_path / "t.mbtiles"))
    with pytest.raises(MissingImagery, match=reason):
        imagery.crop(PLACE, 120.0, 0.2)
    assert imagery.missing(PLACE, 120.0, 0.2)
    assert any(re.search(reason, fault) for _, fault in imagery.check())


def test_a_blob_too_large_for_a_tile_is_not_read(tile_writer, tmp_path):
    with changed(tile_writer, tmp_path / "t.mbtiles") as database:
        database.execute("INSERT INTO tiles VALUES (19, 5, 524282, zeroblob(67108865))")
    with pytest.raises(UnusableTile, match="no blob of at most .*int 67108865"):
        MBTilesStore(tmp_path / "t.mbtiles").read(19, 5, 5)


def test_tiles_without_a_place_are_not_listed(tile_writer, tmp_path):
    with changed(tile_writer, tmp_path / "t.mbtiles") as database:
        for place in ("-1, 5", "5, 9e9", "'a', 1", "9223372036854775807, 1"):
            database.execute(f"INSERT INTO tiles VALUES (19, {place}, x'00')")
    assert open_imagery(str(tmp_path / "t.mbtiles")).levels()[0].parts == 9


def test_a_file_damaged_under_a_running_node_is_missing_imagery(tile_writer, tmp_path):
    file = tmp_path / "t.mbtiles"
    tile_writer().mbtiles(file, PLACE)
    imagery = open_imagery(str(file))
    with file.open("r+b") as stream:
        stream.seek(4096)
        stream.write(b"\xff" * (file.stat().st_size - 4096))
    with pytest.raises(MissingImagery, match="DatabaseError: .*malformed"):
        imagery.crop(PLACE, 20.0, 0.2)
    assert any(fault for _, fault in imagery.check())


def test_a_view_that_does_not_end_is_no_mbtiles_file(tmp_path, monkeypatch):
    monkeypatch.setattr("g2s_localizer.imagery.tiles.database.QUERY_S", 0.1)
    database = sqlite3.connect(tmp_path / "t.mbtiles")
    database.execute(
        "CREATE VIEW tiles AS WITH RECURSIVE rows(n) AS (SELECT 0 UNION ALL SELECT n FROM rows)"
        " SELECT n AS zoom_level, n AS tile_column, n AS tile_row, x'00' AS tile_data FROM rows"
    )
    database.close()
    with pytest.raises(ValueError, match="t.mbtiles is no MBTiles file: .*views that do not end"):
        open_imagery(str(tmp_path / "t.mbtiles"))


def test_what_the_metadata_call_the_format_plays_no_role(tile_writer, tmp_path):
    with changed(tile_writer, tmp_path / "t.mbtiles") as database:
        database.execute("INSERT INTO metadata VALUES ('format', 'image/pjpeg')")
        database.execute("UPDATE metadata SET value = NULL WHERE name = 'attribution'")
    imagery = open_imagery(str(tmp_path / "t.mbtiles"))
    assert (imagery.missing(PLACE, 50.0, 0.2), imagery.attribution) == ((), "")
