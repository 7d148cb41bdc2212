# SPDX-License-Identifier: Apache-2.0
import pytest

from g2s_localizer.imagery.slippy import SlippyStore


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
