# SPDX-License-Identifier: Apache-2.0
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from g2s_localizer.imagery.sidecar import (
    SIDECAR_NAME,
    Sidecar,
    read_sidecar,
    sidecar_file,
    write_sidecar,
)

FULL = Sidecar("© a surveyor", "dl-de/by-2-0", "karlsruhe", 0.7, -1.25, 0.4)


@pytest.mark.parametrize("sidecar", [Sidecar(), FULL, Sidecar(rendered=True)])
@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_written_is_read_again(tmp_path, kind, sidecar):
    store = tmp_path if kind == "folder" else tmp_path / "area.tif"
    if kind == "file":
        store.write_bytes(b"II*\0")
    write_sidecar(store, sidecar)
    assert read_sidecar(store) == sidecar


@given(st.floats(-100, 100), st.floats(-100, 100), st.none() | st.floats(0, 1e6), st.text())
def test_every_value_survives_the_file_to_the_bit(tmp_path_factory, east, north, sigma, text):
    folder = tmp_path_factory.mktemp("store")
    sidecar = Sidecar(text, text, text, east, north, sigma)
    write_sidecar(folder, sidecar)
    assert read_sidecar(folder) == sidecar


def test_it_lies_in_a_folder_and_beside_a_file(tmp_path):
    file = tmp_path / "area.mbtiles"
    file.write_bytes(b"")
    assert sidecar_file(tmp_path) == tmp_path / "imagery.json"
    assert sidecar_file(file) == tmp_path / "area.mbtiles.imagery.json"


def test_a_store_without_one_is_unshifted_and_of_unknown_sigma(tmp_path):
    sidecar = read_sidecar(tmp_path)
    assert (sidecar.offset_m, sidecar.georeferencing_sigma_m) == ((0.0, 0.0), None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"attribution": "x", "ofset_east_m": 1}', "unknown key.* ofset_east_m; known: attrib"),
        ('{"offset_east_m": "1"}', "offset_east_m must be a finite number, got '1'"),
        ('{"offset_north_m": true}', "offset_north_m must be a finite number, got True"),
        ('{"offset_north_m": NaN}', "offset_north_m must be a finite number, got nan"),
        ('{"offset_east_m": 101}', "offset_east_m must lie within 100.0 m of zero, got 101.0"),
        ('{"georeferencing_sigma_m": -0.1}', "georeferencing_sigma_m must be >= 0, got -0.1"),
        ('{"licence": null}', "licence must be text, got None"),
        ('{"rendered": 1}', "rendered must be true or false, got 1"),
        ("[1]", "must hold one JSON object, got list"),
        ("{", "is no JSON in UTF-8"),
        ("[" * 60000, "is no JSON in UTF-8"),
        ("\xff", "is no JSON in UTF-8"),
        (" " * 70000, "longer than 65536 bytes"),
    ],
)
def test_a_broken_one_is_refused_by_file_and_key(tmp_path, content, message):
    (tmp_path / "imagery.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(ValueError, match=f"imagery.json.*{message}"):
        read_sidecar(tmp_path)


def test_writing_replaces_in_one_step_and_leaves_nothing_else(tmp_path):
    write_sidecar(tmp_path, FULL)
    old = os.open(tmp_path / "imagery.json", os.O_RDONLY)
    write_sidecar(tmp_path, Sidecar(attribution="new"))
    assert json.loads(os.read(old, 4096))["provider"] == "karlsruhe"
    os.close(old)
    assert [entry.name for entry in tmp_path.iterdir()] == ["imagery.json"]


def test_a_sidecar_for_no_store_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such store of imagery.*nowhere"):
        write_sidecar(tmp_path / "nowhere", FULL)


def test_a_sidecar_that_is_a_link_to_elsewhere_is_not_read(tmp_path):
    store, secret = tmp_path / "store", tmp_path / "secret.json"
    store.mkdir()
    secret.write_text('{"attribution": "secret"}')
    (store / SIDECAR_NAME).symlink_to(secret)
    with pytest.raises(ValueError, match="imagery.json: a link that leads out of the store"):
        read_sidecar(store)


def test_a_store_that_is_a_link_has_the_sidecar_beside_the_file_or_beside_the_link(tmp_path):
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    (tmp_path / "there/t.mbtiles").write_bytes(b"")
    (tmp_path / "here/t.mbtiles").symlink_to("../there/t.mbtiles")
    write_sidecar(tmp_path / "there/t.mbtiles", Sidecar("us"))
    (tmp_path / f"here/t.mbtiles.{SIDECAR_NAME}").symlink_to(f"../there/t.mbtiles.{SIDECAR_NAME}")
    assert read_sidecar(tmp_path / "here/t.mbtiles").attribution == "us"


def test_a_sidecar_that_is_a_fifo_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / SIDECAR_NAME)
    with pytest.raises(ValueError, match="imagery.json: a FIFO, no regular file"):
        read_sidecar(tmp_path)
