# SPDX-License-Identifier: Apache-2.0
import pytest

from g2s_localizer.imagery.source import MissingImagery, open_imagery


@pytest.mark.parametrize("uri", ["geotiff:a.tif", "slippy:", "/some/folder", ""])
def test_an_unknown_scheme_is_refused_by_its_name(uri):
    with pytest.raises(ValueError, match=f'"slippy:DIR" or "mbtiles:FILE", got "{uri}"'):
        open_imagery(uri)


@pytest.mark.parametrize("scheme", ["slippy", "mbtiles"])
def test_an_absent_store_is_named(tmp_path, scheme):
    with pytest.raises(FileNotFoundError, match=r"no such .*nowhere"):
        open_imagery(f"{scheme}:{tmp_path / 'nowhere'}")


def test_a_folder_without_tiles_is_refused(tmp_path):
    (tmp_path / "19" / "7").mkdir(parents=True)
    with pytest.raises(ValueError, match=f"slippy:{tmp_path} holds no tile"):
        open_imagery(f"slippy:{tmp_path}")


def test_missing_imagery_spells_out_a_few_tiles_and_holds_all():
    error = MissingImagery("slippy:x", {f"19/{x}/5": "not in the store" for x in range(40)})
    assert len(error.tiles) == 40
    assert "19/0/5 (not in the store)" in str(error) and str(error).endswith("and 34 more")
