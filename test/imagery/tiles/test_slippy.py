# SPDX-License-Identifier: Apache-2.0
import os

import pytest

from g2s_localizer.imagery.source import UnusableTile
from g2s_localizer.imagery.tiles.slippy import SlippyStore


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "webp"])
def test_a_tile_is_found_by_zoom_column_and_row_whatever_its_suffix(tmp_path, suffix):
    (tmp_path / "19" / "3").mkdir(parents=True)
    (tmp_path / "19" / "3" / f"5.{suffix}").write_bytes(b"tile")
    store = SlippyStore(tmp_path)
    assert (store.zooms, list(store.tiles(19))) == ((19,), [(3, 5)])
    assert (store.read(19, 3, 5), store.read(19, 5, 3)) == (b"tile", None)


def test_other_files_in_the_folder_are_not_tiles(tmp_path):
    (tmp_path / "19" / "3").mkdir(parents=True)
    (tmp_path / "19" / "3" / "notes.txt").write_text("")
    (tmp_path / "20").write_text("")
    (tmp_path / "latest").mkdir()
    store = SlippyStore(tmp_path)
    assert (store.zooms, list(store.tiles(19))) == ((19,), [])


def test_the_attribution_is_the_text_beside_the_tiles(tmp_path):
    assert SlippyStore(tmp_path).attribution == ""
    (tmp_path / "attribution.txt").write_text("© a surveyor\n", encoding="utf-8")
    assert SlippyStore(tmp_path).attribution == "© a surveyor"


def test_an_attribution_that_lies_elsewhere_is_not_shown(tmp_path):
    (tmp_path / "secret").write_text("a secret")
    store = tmp_path / "store"
    store.mkdir()
    (store / "attribution.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(ValueError, match="attribution.txt: a link that leads out of the store"):
        SlippyStore(store)


def test_an_attribution_without_end_is_not_read(tmp_path):
    (tmp_path / "attribution.txt").write_text("©" * 10_000)
    with pytest.raises(ValueError, match="attribution.txt: longer than 10000 bytes"):
        SlippyStore(tmp_path)


def test_links_within_the_store_are_followed_and_others_are_not(tmp_path):
    (tmp_path / "elsewhere").write_bytes(b"secret")
    column = tmp_path / "store" / "19" / "3"
    column.mkdir(parents=True)
    (column / "5.png").write_bytes(b"tile")
    (column / "6.png").symlink_to("5.png")
    (column / "7.png").symlink_to(tmp_path / "elsewhere")
    store = SlippyStore(tmp_path / "store")
    assert store.read(19, 3, 6) == b"tile"
    with pytest.raises(UnusableTile, match="a link that leads out of the store"):
        store.read(19, 3, 7)


def test_a_fifo_among_the_tiles_is_not_waited_for(tmp_path):
    (tmp_path / "19" / "3").mkdir(parents=True)
    os.mkfifo(tmp_path / "19" / "3" / "5.png")
    with pytest.raises(UnusableTile, match="a FIFO, no regular file"):
        SlippyStore(tmp_path).read(19, 3, 5)


@pytest.mark.parametrize("ending", [".PNG", ".JPG", "@2x.png", "@2x.WEBP"])
def test_capital_suffixes_and_the_mark_of_large_tiles_are_read(tmp_path, ending):
    (tmp_path / "19" / "3").mkdir(parents=True)
    (tmp_path / "19" / "3" / f"5{ending}").write_bytes(b"tile")
    (tmp_path / "19" / "3" / f"._6{ending}").write_bytes(b"left by macOS")
    store = SlippyStore(tmp_path)
    assert (list(store.tiles(19)), store.has(19, 3, 5)) == ([(3, 5)], True)
    assert store.read(19, 3, 5) == b"tile"


def test_folders_and_files_that_are_no_place_of_a_zoom_are_not_tiles(tmp_path):
    for place in ("2/1/9", "2/9/1", "99/1/1", "2/1/1"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{place}.png").write_bytes(b"tile")
    store = SlippyStore(tmp_path)
    assert (store.zooms, list(store.tiles(2))) == ((2,), [(1, 1)])
