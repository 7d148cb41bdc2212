# SPDX-License-Identifier: Apache-2.0
import os
import sqlite3

import pytest

from g2s_localizer.geometry.geodesy import LatLon
from g2s_localizer.imagery.content import scheme_of
from g2s_localizer.imagery.open import SCHEMES, open_imagery

PLACE = LatLon(49.01, 8.42)


@pytest.mark.parametrize("uri", ["geopackage:a.gpkg", "slippy:", ""])
def test_an_unknown_scheme_is_refused_and_the_known_ones_are_named(uri):
    with pytest.raises(ValueError, match=f'slippy:, mbtiles:, .*satmap:; got "{uri}"'):
        open_imagery(uri)


@pytest.mark.parametrize("uri", ["https://tiles.example/{z}", "geotiff:http://127.0.0.1/a.tif"])
def test_an_address_on_a_network_is_refused(uri):
    with pytest.raises(ValueError, match="read from this machine only.*fetch it first"):
        open_imagery(uri)


@pytest.mark.parametrize("scheme", [*(f"{scheme}:" for scheme in SCHEMES), ""])
def test_an_absent_store_is_named(tmp_path, scheme):
    with pytest.raises(FileNotFoundError, match=r"no such .*nowhere"):
        open_imagery(f"{scheme}{tmp_path / 'nowhere'}")


@pytest.mark.parametrize("kind", ["slippy", "mbtiles", "pmtiles", "geotiff"])
def test_a_plain_path_is_opened_by_its_content_whatever_its_suffix(tile_writer, tmp_path, kind):
    path = tmp_path / "imagery.png"
    if kind == "geotiff":
        path.write_bytes(b"MM\0*" + bytes(60))
        assert scheme_of(path) == "geotiff"
        return
    getattr(tile_writer(), kind)(path, PLACE)
    crop = open_imagery(str(path)).crop(PLACE, 40.0, 0.2)
    assert crop.image.std() > 20


@pytest.mark.parametrize("claimed", ["mbtiles", "geotiff", "satmap"])
def test_content_that_contradicts_the_scheme_is_refused_with_the_right_one(
    tile_writer, tmp_path, claimed
):
    tile_writer().slippy(tmp_path / "t", PLACE, reach=0)
    with pytest.raises(ValueError, match=f"is slippy: by its content; write slippy:{tmp_path}"):
        open_imagery(f"{claimed}:{tmp_path / 't'}")


@pytest.mark.parametrize(
    ("head", "scheme"),
    [
        (b"PMTiles\x03", "pmtiles"),
        (b"PMTiles\x02", None),
        (b"II*\0", "geotiff"),
        (b"MM\0+", "geotiff"),
        (b"II*!", None),
        (b"<VRTDataset rasterXSize='1'>", "geotiff"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<VRTDataset>", "geotiff"),
        (b"<html><VRTDataset>", None),
        (b"SQLite format 3\0" + bytes(80), None),
        (b"\x89PNG\r\n\x1a\n", None),
        (b"", None),
    ],
)
def test_content_is_told_by_its_first_bytes(tmp_path, head, scheme):
    (tmp_path / "file").write_bytes(head)
    assert scheme_of(tmp_path / "file") == scheme


def test_a_database_without_tiles_is_no_imagery(tmp_path):
    database = sqlite3.connect(tmp_path / "a.mbtiles")
    database.execute("CREATE TABLE notes (text TEXT)")
    database.close()
    with pytest.raises(ValueError, match="a.mbtiles holds no imagery: its content is none of"):
        open_imagery(str(tmp_path / "a.mbtiles"))


def test_a_folder_without_tiles_is_refused(tmp_path):
    (tmp_path / "19" / "7").mkdir(parents=True)
    with pytest.raises(ValueError, match=f"slippy:{tmp_path} holds no tile"):
        open_imagery(f"slippy:{tmp_path}")


@pytest.mark.parametrize("scheme", [f"{scheme}:" for scheme in SCHEMES])
def test_a_relative_path_is_shown_absolute(tmp_path, monkeypatch, scheme):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=f" {tmp_path}/nowhere"):
        open_imagery(f"{scheme}nowhere")


def test_what_is_neither_folder_nor_file_is_refused_unread(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ValueError, match="fifo is neither a folder nor a regular file"):
        open_imagery(str(tmp_path / "fifo"))
