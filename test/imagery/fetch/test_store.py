# SPDX-License-Identifier: Apache-2.0
"""A store of fetched tiles: what is in it is whole, or is said not to be."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from g2s_localizer.geometry.geodesy import LatLon, mercator_pixel
from g2s_localizer.imagery import MissingImagery, open_imagery
from g2s_localizer.imagery.fetch.store import FetchStore, RepeatedTile, StoreFull, StoreLocked
from g2s_localizer.imagery.picture import ImageHeader
from g2s_localizer.imagery.sidecar import Sidecar, read_sidecar, write_sidecar
from g2s_localizer.imagery.tiles.slippy import SlippyStore

PLACE = LatLon(49.011212, 8.422885)
X, Y = (int(pixel // 256) for pixel in mercator_pixel(PLACE.lat, PLACE.lon, 19))
RIGHTS = Sidecar("© a surveyor", "dl-de/by-2-0", "surveyor")
HEADER = ImageHeader(0, 256, 256)


def picture(seed):
    image = np.random.default_rng(seed).integers(0, 256, (256, 256, 3), np.uint8)
    return cv2.imencode(".png", image)[1].tobytes()


def fill(folder, count=9):
    """`count` tiles around PLACE, three a row."""
    with FetchStore(folder, RIGHTS) as store:
        for i in range(count):
            store.put((19, X - 1 + i % 3, Y - 1 + i // 3), picture(i), HEADER)
    return folder


def file_of(folder, x=X, y=Y):
    return folder / "19" / str(x) / f"{y}.png"


def test_what_is_put_is_read_and_carries_its_attribution(tmp_path):
    imagery = open_imagery(f"slippy:{fill(tmp_path)}")
    assert imagery.crop(PLACE, 20.0, 0.2).attribution == "© a surveyor"
    assert SlippyStore(tmp_path).read(19, X, Y) == picture(4)
    assert sorted(SlippyStore(tmp_path).tiles(19))[0] == (X - 1, Y - 1)


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b[:99] + b"!" + b[100:], lambda b: b""]
)
def test_damage_on_disk_is_missing_imagery_with_its_reason(tmp_path, damage):
    imagery = open_imagery(f"slippy:{fill(tmp_path)}")
    file_of(tmp_path).write_bytes(damage(file_of(tmp_path).read_bytes()))
    with pytest.raises(MissingImagery, match="SHA-256 is not that of what was") as error:
        imagery.crop(PLACE, 20.0, 0.2)
    assert error.value.tiles == (f"19/{X}/{Y}",)


def test_a_tile_whose_file_is_gone_is_missing_imagery_with_its_reason(tmp_path):
    imagery = open_imagery(f"slippy:{fill(tmp_path)}")
    file_of(tmp_path).unlink()
    with pytest.raises(MissingImagery, match="its file is gone"):
        imagery.crop(PLACE, 20.0, 0.2)


def test_a_file_that_the_index_does_not_list_is_no_tile(tmp_path):
    fill(tmp_path, count=3)
    file_of(tmp_path).write_bytes(picture(4))
    store = SlippyStore(tmp_path)
    assert (store.has(19, X, Y), store.read(19, X, Y)) == (False, None)


@pytest.mark.parametrize("nonsense", ["format = '/../../etc/passwd'", "format = 9", "bytes = 'x'"])
def test_an_index_cannot_lead_outside_the_store(tmp_path, nonsense):
    with FetchStore(fill(tmp_path), RIGHTS) as store:
        store.index.query(f"UPDATE tiles SET {nonsense}")
    store = SlippyStore(tmp_path)
    assert (store.has(19, X, Y), store.read(19, X, Y)) == (False, None)


def test_survey_tells_the_damaged_the_absent_and_the_unknown_apart(tmp_path):
    with FetchStore(fill(tmp_path), RIGHTS) as store:
        file_of(tmp_path).unlink()
        store.note_absent((19, 1, 1), "404 Not Found", time.time() + 60)
        store.note_absent((19, 2, 2), "404 Not Found", time.time() - 60)
        status = store.status([(19, X, Y), (19, X - 1, Y), (19, 1, 1), (19, 2, 2)])
    assert status.fresh == [(19, X - 1, Y)] and list(status.damaged) == [(19, X, Y)]
    assert status.absent == {(19, 1, 1): "404 Not Found"} and status.unknown == [(19, 2, 2)]


def test_what_was_used_longest_ago_is_evicted_first(tmp_path):
    fill(tmp_path)
    for i in range(9):
        path = file_of(tmp_path, X - 1 + i % 3, Y - 1 + i // 3)
        os.utime(path, (1e9 - i, 1e9))
    SlippyStore(tmp_path).read(19, X + 1, Y + 1)  # The oldest, used again.
    size = len(picture(0))
    with FetchStore(tmp_path, RIGHTS, cap_bytes=int(9.5 * size)) as store:
        store.put((19, 5, 5), picture(50), HEADER)
        held = {(x, y) for x, y in store.index.tiles(19)}
        assert store.bytes <= 9.5 * size
    assert (X + 1, Y + 1) in held and (X, Y + 1) not in held and (5, 5) in held


def test_what_was_fetched_just_now_is_not_evicted_for_what_comes_next(tmp_path):
    with FetchStore(tmp_path, RIGHTS, cap_bytes=3 * len(picture(0))) as store:
        with pytest.raises(StoreFull, match="reached by tiles of this fetch itself"):
            for i in range(5):
                store.put((19, i, 1), picture(i), HEADER)
        assert sorted(store.index.tiles(19))[0] == (0, 1)


def test_the_same_bytes_in_a_third_place_are_no_photograph(tmp_path):
    with FetchStore(tmp_path, RIGHTS) as store:
        for i in range(2):
            store.put((19, i, 1), picture(0), HEADER)
        store.put((19, 1, 1), picture(0), HEADER)  # The second place again.
        with pytest.raises(RepeatedTile, match="the same bytes came for 3 places") as error:
            store.put((19, 2, 1), picture(0), HEADER)
    assert error.value.places == [(19, 0, 1), (19, 1, 1)]


def test_a_store_is_of_one_provider(tmp_path):
    with pytest.raises(ValueError, match="holds the tiles of surveyor; those of other need"):
        FetchStore(fill(tmp_path), Sidecar("b", "c", "other"))


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ValueError, match="is not empty and no store of fetched tiles"):
        FetchStore(tmp_path, RIGHTS)
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_the_offset_of_a_store_survives_the_next_fetch(tmp_path):
    write_sidecar(fill(tmp_path), Sidecar("old", "old", "surveyor", 0.5, -0.25, 0.3))
    FetchStore(tmp_path, RIGHTS).close()
    sidecar = read_sidecar(tmp_path)
    assert (sidecar.offset_m, sidecar.georeferencing_sigma_m) == ((0.5, -0.25), 0.3)
    assert json.loads((tmp_path / "imagery.json").read_text())["attribution"] == "© a surveyor"


def test_a_broken_index_is_named(tmp_path):
    (fill(tmp_path) / "index.sqlite").write_bytes(b"no database" * 400)
    with pytest.raises(ValueError, match="index.sqlite is no index of tiles"):
        SlippyStore(tmp_path)


WRITER = """
import sys
from test_store import *
with FetchStore(Path(sys.argv[1]), RIGHTS) as store:
    print("open", flush=True)
    for i in range(int(sys.argv[2])):
        store.put((19, X + i % 5, Y), picture(i), HEADER)
    sys.stdin.read()
"""


def writer(folder, count=0):
    """Another process that holds the store open, and has begun to write."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), str(count)],
        cwd=Path(__file__).parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout.readline() == b"open\n"
    return process


def test_a_second_writer_is_told_who_the_first_is(tmp_path):
    process = writer(tmp_path)
    with pytest.raises(StoreLocked, match=f"written to by process {process.pid} on .* since"):
        FetchStore(tmp_path, RIGHTS)
    process.communicate(timeout=20)
    FetchStore(tmp_path, RIGHTS).close()


def test_a_writer_that_was_killed_holds_nobody_up(tmp_path):
    process = writer(tmp_path)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=20)
    FetchStore(tmp_path, RIGHTS).close()


def test_readers_see_whole_tiles_while_another_process_writes(tmp_path):
    fill(tmp_path)
    process = writer(tmp_path, count=40)
    seen, store = 0, SlippyStore(tmp_path)
    process.stdin.close()
    while process.poll() is None:
        seen += sum(store.read(19, x, y) is not None for x, y in store.tiles(19))
    assert process.returncode == 0 and seen > 10
