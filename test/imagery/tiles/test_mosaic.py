# SPDX-License-Identifier: Apache-2.0
"""One law for all stores of tiles: what goes wrong with one is MissingImagery, what is no imagery
is missing, and crop, missing, coverage and verify say the same of it."""

import os
import sqlite3
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from g2s_localizer.geometry.geodesy import LatLon, mercator_latlon, mercator_pixel
from g2s_localizer.imagery import MissingImagery, open_imagery
from g2s_localizer.imagery.coverage import box_around, measure_coverage

KARLSRUHE = LatLon(49.011212, 8.422885)
X, Y = (int(p // 256) for p in mercator_pixel(KARLSRUHE.lat, KARLSRUHE.lon, 19))
CASES = Path(
    os.environ.get("G2S_TEST_DATA", Path(__file__).parents[4] / "shared" / "data")
).parent.joinpath("cases")


def photograph(seed, channels=3):
    """A tile with grain; its alpha, where it has one, is opaque."""
    rng = np.random.default_rng(seed)
    smooth = cv2.resize(rng.integers(40, 200, (8, 8, 3), np.uint8), (256, 256))
    tile = np.full((256, 256, channels), 255, np.uint8)
    tile[:, :, :3] = smooth + rng.integers(0, 20, (256, 256, 3), np.uint8)
    return tile


def store(folder, change=lambda x, y, tile: tile, suffix="png", reach=1, channels=3):
    """3 x 3 tiles around KARLSRUHE, each changed by a function of its place in the middle's."""
    for x in range(-reach, reach + 1):
        for y in range(-reach, reach + 1):
            file = folder / "19" / str(X + x) / f"{Y + y}.{suffix}"
            file.parent.mkdir(parents=True, exist_ok=True)
            options = [cv2.IMWRITE_WEBP_QUALITY, 101] if suffix == "webp" else []
            cv2.imwrite(str(file), change(x, y, photograph(9 * x + y + 99, channels)), options)
    return open_imagery(f"slippy:{folder}")


def middle_of(x, y):
    """The middle of a tile."""
    lat, lon = mercator_latlon((X + x + 0.5) * 256, (Y + y + 0.5) * 256, 19)
    return LatLon(float(lat), float(lon))


def without_alpha_in_the_east(x, y, tile):
    if x == 1:
        tile[:, :, 3] = 127
    return tile


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_transparent_pixels_are_missing(tmp_path, suffix):
    imagery = store(tmp_path, without_alpha_in_the_east, suffix, channels=4)
    east = middle_of(0.6, 0)
    with pytest.raises(MissingImagery, match="100.0% of what is needed of it is transp") as error:
        imagery.crop(east, 20.0, 0.2)
    assert error.value.tiles == imagery.missing(east, 20.0, 0.2) == (f"19/{X + 1}/{Y}",)
    assert imagery.missing(middle_of(0, 0), 50.0, 0.2) == ()
    assert imagery.crop(middle_of(0, 0), 50.0, 0.2).image.std() > 20.0
    bad = {name for name, fault in imagery.check() if fault == "transparent"}
    assert bad == {f"19/{X + 1}/{Y + y}" for y in (-1, 0, 1)}


def test_a_crop_beside_the_transparent_part_of_a_tile_is_served(tmp_path):
    def cut(x, y, tile):
        tile[:, 200:, 3] = 0
        return tile

    imagery = store(tmp_path, cut, channels=4)
    for place, served in ((middle_of(-0.2, 0), True), (middle_of(0.2, 0), False)):
        assert (imagery.missing(place, 15.0, 0.2) == ()) is served
    assert {fault for _, fault in imagery.check()} == {"transparent in part"}


def test_coverage_knows_of_transparent_tiles(tmp_path):
    imagery = store(tmp_path, without_alpha_in_the_east, channels=4)
    assert measure_coverage(imagery, box_around(middle_of(-0.4, 0), 10.0), 50.0, 0.2).share == 1.0
    assert measure_coverage(imagery, box_around(middle_of(0.4, 0), 10.0), 50.0, 0.2).share == 0.0


def test_the_case_of_transparent_tiles_is_missing_in_the_east():
    if not (CASES / "rgba_tiles").is_dir():
        pytest.skip(f"no {CASES / 'rgba_tiles'}")
    imagery = open_imagery(f"slippy:{CASES / 'rgba_tiles'}")
    lat, lon = mercator_latlon(274444.5 * 256, 180116.5 * 256, 19)
    assert imagery.missing(LatLon(float(lat), float(lon)), 20.0, 0.2) == ("19/274444/180116",)
    assert sum(bool(fault) for _, fault in imagery.check()) == 3


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (40, 90, 200)])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_collar_of_one_colour_is_refused_by_its_colour(tmp_path, colour, suffix):
    def collar(x, y, tile):
        if x == 1:
            tile[:] = colour
        elif x == 0:
            tile[:, 160:] = colour
        return tile

    imagery = store(tmp_path, collar, suffix)
    place = middle_of(0.2, 0)
    with pytest.raises(MissingImagery, match="of exactly one colour.*: a collar") as error:
        imagery.crop(place, 40.0, 0.2)
    assert imagery.missing(place, 40.0, 0.2) == error.value.tiles
    assert imagery.missing(middle_of(-0.6, 0), 40.0, 0.2) == ()
    assert imagery.missing(middle_of(1.0, 0), 40.0, 0.2) != ()
    bad = {name.split("/")[1] for name, fault in imagery.check() if "one colour" in fault}
    assert bad == {str(X), str(X + 1)}


@pytest.mark.parametrize("colour", [0, 255, 200])
def test_one_placeholder_amid_photographs_is_refused(tmp_path, colour):
    imagery = store(tmp_path, lambda x, y, tile: tile if x or y else np.full_like(tile, colour))
    with pytest.raises(MissingImagery, match=f"100.0% of it of exactly one colour, .{colour}, "):
        imagery.crop(middle_of(0, 0.5), 100.0, 0.2)
    assert imagery.missing(middle_of(0, 0.5), 100.0, 0.2) == (f"19/{X}/{Y}",)


def test_the_colours_of_a_drawn_map_are_meant(tmp_path):
    def drawn(x, y, tile):
        tile[:] = (92, 122, 118)
        tile[100:140] = (96, 92, 92)
        return tile if x else np.full_like(tile, 90)

    imagery = store(tmp_path, drawn)
    assert imagery.missing(middle_of(0, 0), 100.0, 0.2) == ()
    assert imagery.crop(middle_of(0, 0), 20.0, 0.2).image.shape == (100, 100, 3)
    assert not any(fault for _, fault in imagery.check())


def test_an_area_of_black_is_none_in_a_drawn_map_either(tmp_path):
    imagery = store(tmp_path, lambda x, y, tile: np.full_like(tile, 90 if x < 1 else 0))
    assert imagery.missing(middle_of(1, 0), 20.0, 0.2) != ()


BREAK = {
    "a folder": lambda file: file.mkdir(),
    "a FIFO, no regular file": os.mkfifo,
    "a link that leads out of the store": lambda file: file.symlink_to("/etc/hostname"),
    "no PNG, JPEG or WebP": lambda file: file.write_bytes(b"<html>"),
    "compressed by gzip, as vector tiles are": lambda file: file.write_bytes(b"\x1f\x8b\x08" * 9),
    "0 bytes": lambda file: file.touch(),
}


@pytest.mark.parametrize("reason", BREAK)
def test_whatever_a_tile_is_it_is_missing_by_name(tmp_path, reason):
    imagery = store(tmp_path, suffix="jpg")
    file = tmp_path / "19" / str(X) / f"{Y}.jpg"
    file.unlink()
    BREAK[reason](file)
    with pytest.raises(MissingImagery, match=f"19/{X}/{Y} .*{reason}"):
        imagery.crop(middle_of(0, 0), 20.0, 0.2)
    assert imagery.missing(middle_of(0, 0), 20.0, 0.2) == (f"19/{X}/{Y}",)
    assert reason in dict(imagery.check())[f"19/{X}/{Y}"]


def test_a_store_that_fails_as_nobody_has_thought_of_is_missing_imagery(tmp_path):
    imagery = store(tmp_path)
    imagery.store.read = lambda *_: 1 / 0
    with pytest.raises(MissingImagery, match="ZeroDivisionError: division by zero"):
        imagery.crop(middle_of(0, 0), 20.0, 0.2)


def test_a_store_whose_tiles_are_no_images_says_what_they_are(tmp_path):
    column = tmp_path / "14" / "7"
    column.mkdir(parents=True)
    (column / "9.png").write_bytes(b"\x1f\x8b" + bytes(40))
    with pytest.raises(ValueError, match="no tile that can be decoded: 14/7/9: .*vector tiles"):
        open_imagery(str(tmp_path))


def test_rows_from_the_south_and_exchanged_folders_are_told(tmp_path):
    store(tmp_path / "xyz")
    for name, place in (("tms", lambda x, y: (x, 2**19 - 1 - y)), ("zyx", lambda x, y: (y, x))):
        for file in (tmp_path / "xyz/19").rglob("*.png"):
            x, y = place(int(file.parent.name), int(file.stem))
            column = tmp_path / name / "19" / str(x)
            column.mkdir(parents=True, exist_ok=True)
            os.link(file, column / f"{y}.png")
    for name, hint in (("tms", "counted from the other side: are they TMS"), ("zyx", "z/y/x")):
        with pytest.raises(MissingImagery, match=f"not in the store.*; it has them .*{hint}"):
            open_imagery(str(tmp_path / name)).crop(KARLSRUHE, 20.0, 0.2)


def test_far_from_the_store_its_box_is_told(tmp_path):
    with pytest.raises(MissingImagery, match=r"zoom 19 lies from 49\.01040 to 49\.01175 deg"):
        store(tmp_path).crop(LatLon(-33.9, 18.42), 20.0, 0.2)


def test_a_store_that_takes_for_ever_to_open_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("g2s_localizer.imagery.tiles.database.QUERY_S", 0.1)
    monkeypatch.setattr("g2s_localizer.imagery.tiles.mosaic.OPEN_S", 0.2)
    rows = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n)"
    database = sqlite3.connect(tmp_path / "t.mbtiles")
    database.execute("CREATE TABLE places (zoom_level INT, tile_column INT, tile_row INT)")
    places = [(zoom, x, 0) for zoom in range(31) for x in range(2)]
    database.executemany("INSERT INTO places VALUES (?, ?, ?)", places)
    database.execute(
        f"CREATE VIEW tiles AS SELECT *, ({rows} SELECT max(i) FROM n) AS tile_data FROM places"
    )
    database.execute("CREATE TABLE metadata (name TEXT, value TEXT)")
    database.commit()
    database.close()
    started = time.monotonic()
    with pytest.raises(ValueError, match=r"takes longer than 0.2 s to open: 0/0/0: .*do not end"):
        open_imagery(str(tmp_path / "t.mbtiles"))
    assert time.monotonic() - started < 2.0
