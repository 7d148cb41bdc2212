# SPDX-License-Identifier: Apache-2.0
import gzip
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from g2s_localizer.geometry.geodesy import LatLon, mercator_pixel
from g2s_localizer.imagery import open_imagery
from g2s_localizer.imagery.source import UnusableTile
from g2s_localizer.imagery.tiles.pmtiles import PMTilesStore, _id_from_xy, _xy_from_id

# The package of the format's authors: they wrote the files that are read here.
pytest.importorskip("pmtiles", reason="needs the package pmtiles")

from pmtiles.tile import Compression, TileType, tileid_to_zxy, zxy_to_tileid
from pmtiles.writer import Writer

PLACE = LatLon(-22.9, -43.2)
HEADER = {"tile_type": TileType.PNG, "tile_compression": Compression.NONE}


def written(file, tiles, **header):
    """A file of {(z, x, y): bytes}, written by the authors' package."""
    with file.open("wb") as stream:
        writer = Writer(stream)
        for tile in sorted(tiles, key=lambda key: zxy_to_tileid(*key)):
            writer.write_tile(zxy_to_tileid(*tile), tiles[tile])
        writer.finalize(HEADER | header, {"attribution": "the authors"})
    return file


@given(st.integers(0, 30).flatmap(lambda z: st.tuples(st.just(z), *[st.integers(0, 2**z - 1)] * 2)))
def test_the_hilbert_curve_is_that_of_the_formats_authors(zxy):
    z, x, y = zxy
    tile = _id_from_xy(z, x, y)
    assert tile == zxy_to_tileid(z, x, y)
    assert (z, *_xy_from_id(z, tile)) == zxy == tileid_to_zxy(tile)


@given(st.dictionaries(st.tuples(st.integers(0, 63), st.integers(0, 63)), st.binary(min_size=1)))
def test_every_tile_that_was_written_is_read_and_no_other(tmp_path_factory, tiles):
    tiles = {(6, x, y): content for (x, y), content in tiles.items()} | {(5, 3, 3): b"coarse"}
    store = PMTilesStore(written(tmp_path_factory.mktemp("pm") / "t", tiles))
    assert {(z, *xy) for z in store.zooms for xy in store.tiles(z)} == set(tiles)
    assert all(store.read(*tile) == content for tile, content in tiles.items())
    other = next((6, x, 7) for x in range(64) if (6, x, 7) not in tiles)
    assert store.read(*other) is None and not store.has(*other)


def test_a_file_with_leaf_directories_is_read(tmp_path):
    tiles = {
        (9, x, y): random.Random(x << 9 | y).randbytes(1 + (x * y) % 251)
        for x in range(180)
        for y in range(180)
    }
    file = written(tmp_path / "large.pmtiles", tiles)
    store = PMTilesStore(file)
    assert (store._root.runs == 0).all()
    assert all(store.read(*tile) == tiles[tile] for tile in list(tiles)[::97])
    assert set(store.tiles(9)) == {(x, y) for _, x, y in tiles}


def test_repeated_tiles_are_a_run(tmp_path):
    tiles = {(4, x, y): b"sea" for x in range(16) for y in range(16)}
    store = PMTilesStore(written(tmp_path / "sea", tiles))
    assert len(store._root.ids) == 1
    assert store.read(4, 9, 15) == b"sea" and len(list(store.tiles(4))) == 256


def test_compressed_tiles_are_inflated(tmp_path):
    tiles = {(0, 0, 0): gzip.compress(b"tile")}
    file = written(tmp_path / "t", tiles, tile_compression=Compression.GZIP)
    assert PMTilesStore(file).read(0, 0, 0) == b"tile"


def test_imagery_and_attribution_come_out_of_the_file(tile_writer, colour_error, tmp_path):
    imagery = open_imagery(tile_writer().pmtiles(tmp_path / "t.pmtiles", PLACE))
    crop = imagery.crop(PLACE, 50.0, 0.2)
    assert colour_error(crop) < 12.0 and crop.attribution == "painted by formula"


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"tile_type": TileType.MVT}, "its tiles are MVT, not PNG, JPEG or WebP"),
        ({"tile_compression": Compression.ZSTD}, "its tiles are zstd-compressed"),
    ],
)
def test_what_holds_no_images_is_refused(tmp_path, header, message):
    file = written(tmp_path / "roads.pmtiles", {(0, 0, 0): b"x"}, **header)
    with pytest.raises(ValueError, match=f"roads.pmtiles is no PMTiles.*{message}"):
        PMTilesStore(file)


@given(st.data())
def test_a_damaged_file_is_refused_or_answers_and_never_crashes(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("pm")
    good = written(folder / "good", {(4, x, x): b"tile" * x for x in range(1, 16)}).read_bytes()
    cut = good[: data.draw(st.integers(0, len(good)))]
    place = data.draw(st.integers(8, max(len(cut) - 1, 8)))
    (folder / "bad").write_bytes(cut[:place] + data.draw(st.binary(max_size=9)) + cut[place + 4 :])
    try:
        store = PMTilesStore(folder / "bad")
        [store.read(4, x, x) for x in range(16) if store.has(4, x, x)]
    except (ValueError, UnusableTile) as error:
        assert "bad" in str(error) or isinstance(error, UnusableTile)


def test_a_directory_that_inflates_without_end_is_refused(tmp_path):
    file = written(tmp_path / "bomb", {(0, 0, 0): b"x"})
    content = bytearray(file.read_bytes())
    bomb = gzip.compress(bytes(64 * 1024 * 1024))
    content[8:24] = len(content).to_bytes(8, "little") + len(bomb).to_bytes(8, "little")
    file.write_bytes(bytes(content) + bomb)
    with pytest.raises(ValueError, match="bomb is no PMTiles.*inflate beyond 16777216"):
        PMTilesStore(file)


def test_a_directory_of_millions_of_entries_is_refused(tmp_path):
    file = written(tmp_path / "wide", {(0, 0, 0): b"x"})
    content = bytearray(file.read_bytes())
    wide = gzip.compress(b"\x01" * 3_000_000)
    content[8:24] = len(content).to_bytes(8, "little") + len(wide).to_bytes(8, "little")
    file.write_bytes(bytes(content) + wide)
    with pytest.raises(ValueError, match="a directory of more than 500000 entries"):
        PMTilesStore(file)


def test_one_entry_that_stands_for_the_whole_world_is_not_listed(tmp_path):
    file = written(tmp_path / "sea", {(20, 0, 0): b"sea"}, max_zoom=20)
    store = PMTilesStore(file)
    store._root.runs[0] = 1 << 40
    with pytest.raises(UnusableTile, match="equal tiles in one entry, which is no imagery"):
        next(store.tiles(20))


def test_a_file_cut_short_while_open_loses_tiles_and_not_the_process(tile_writer, tmp_path):
    file = tmp_path / "t.pmtiles"
    tile_writer().pmtiles(file, PLACE)
    store = PMTilesStore(file)
    x, y = (int(p // 256) for p in mercator_pixel(PLACE.lat, PLACE.lon, 19))
    with file.open("r+b") as stream:
        stream.truncate(400)
    with pytest.raises(UnusableTile, match="the file was cut while in use"):
        store.read(19, x, y)
