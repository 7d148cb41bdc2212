# SPDX-License-Identifier: Apache-2.0
import re

import cv2
import numpy as np
import pytest

from g2s_localizer.imagery import open_imagery
from g2s_localizer.tools.tiles.preview import HOLE_COLOUR, OUTSIDE_COLOUR, draw_mosaic


def cell(mosaic, row, column):
    side = len(mosaic.picture) // -(-mosaic.rows // mosaic.tiles)
    return mosaic.picture[row * side : (row + 1) * side, column * side : (column + 1) * side]


def shows(pixels, colour):
    return bool((pixels == colour).all(axis=2).any())


def tile_files(folder):
    """Files of zoom 19 by (row, column)."""
    columns = sorted((folder / "19").iterdir())
    return {(r, c): f for c, col in enumerate(columns) for r, f in enumerate(sorted(col.iterdir()))}


def test_a_missing_tile_amid_others_is_a_hole_and_one_at_the_edge_is_outside(folder):
    files = tile_files(folder)
    for place in ((2, 2), (0, 4)):
        files[place].unlink()
    mosaic = draw_mosaic(open_imagery(str(folder)).store, 19)
    assert mosaic.holes == 1
    assert shows(cell(mosaic, 2, 2), HOLE_COLOUR) and not shows(cell(mosaic, 1, 1), HOLE_COLOUR)
    assert (cell(mosaic, 0, 4) == OUTSIDE_COLOUR).all()


def test_an_unusable_tile_is_a_hole_wherever_it_lies(folder):
    tile_files(folder)[0, 0].write_bytes(b"<html>")
    mosaic = draw_mosaic(open_imagery(str(folder)).store, 19)
    assert mosaic.holes == 1 and shows(cell(mosaic, 0, 0), HOLE_COLOUR)


def test_a_transparent_tile_is_a_hole_and_what_is_transparent_of_another_is_outside(folder):
    files = tile_files(folder)
    for place, alpha in (((1, 1), np.zeros(256)), ((3, 3), np.where(np.arange(256) < 128, 0, 255))):
        tile = cv2.imread(str(files[place]))
        columns = np.broadcast_to(alpha.astype(np.uint8), (256, 256))
        png = cv2.imencode(".png", np.dstack([tile, columns]))[1]
        files[place].write_bytes(png.tobytes())
    mosaic = draw_mosaic(open_imagery(str(folder)).store, 19)
    assert mosaic.holes == 1 and shows(cell(mosaic, 1, 1), HOLE_COLOUR)
    assert shows(cell(mosaic, 3, 3), OUTSIDE_COLOUR)


def test_one_missing_tile_of_many_is_still_seen(tmp_path, monkeypatch, paint):
    monkeypatch.setattr("g2s_localizer.tools.tiles.preview.MAX_CELLS", 4)
    files = paint(tmp_path, side=12)
    files[12 * 5 + 5].unlink()
    mosaic = draw_mosaic(open_imagery(str(tmp_path)).store, 19)
    assert (mosaic.tiles, mosaic.holes) == (3, 1)
    assert [shows(cell(mosaic, r, c), HOLE_COLOUR) for r in range(4) for c in range(4)].count(
        1
    ) == 1
    assert shows(cell(mosaic, 1, 1), HOLE_COLOUR)


def test_the_picture_shows_the_tiles_where_they_lie(folder):
    mosaic = draw_mosaic(open_imagery(str(folder)).store, 19)
    expected = cv2.imread(str(tile_files(folder)[1, 3]))[:, :, ::-1]
    seen = cell(mosaic, 1, 3)
    shrunk = cv2.resize(expected, seen.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(seen.astype(int) - shrunk).max() <= 1


def test_the_page_loads_nothing_from_anywhere_and_names_whose_imagery_it_is(
    tiles, folder, tmp_path
):
    tile_files(folder)[2, 2].unlink()
    status, out, _ = tiles("preview", folder, tmp_path / "map.html")
    text = (tmp_path / "map.html").read_text(encoding="utf-8")
    assert status == 0 and "2 zoom(s), 1 tile(s) missing amid others" in out
    assert "© painted" in text and "<b>1 missing or unusable</b>" in text
    assert not re.search(r"(?i)https?:|(src|href)=.(?!data:)|url\(|@import|<script", text)


def test_names_from_a_store_are_no_markup(tiles, tmp_path, paint):
    store = tmp_path / "<script>alert(1)<"
    paint(store)
    tiles("preview", store, tmp_path / "map.html")
    assert "<script>" not in (tmp_path / "map.html").read_text(encoding="utf-8")


def test_what_has_no_tiles_is_refused_in_words(tiles, tmp_path):
    rasterio = pytest.importorskip("rasterio", reason="needs the package rasterio")
    profile = {"driver": "GTiff", "width": 8, "height": 8, "count": 3, "dtype": "uint8"}
    grid = rasterio.transform.from_origin(450000.0, 5430000.0, 0.2, 0.2)
    with rasterio.open(tmp_path / "a.tif", "w", crs="EPSG:25832", transform=grid, **profile) as out:
        out.write(np.full((3, 8, 8), 90, np.uint8))
    status, _, err = tiles("preview", tmp_path / "a.tif", tmp_path / "map.html")
    assert status == 1 and "a.tif has no tiles" in err


def test_a_file_that_is_no_page_is_not_replaced(folder, tiles, tmp_path):
    (tmp_path / "area.mbtiles").write_bytes(b"SQLite format 3")
    code, _, err = tiles("preview", folder, tmp_path / "area.mbtiles")
    assert code == 1 and "area.mbtiles is there and no page" in err
    assert (tmp_path / "area.mbtiles").read_bytes() == b"SQLite format 3"
