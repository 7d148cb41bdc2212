# SPDX-License-Identifier: Apache-2.0
import json
import re

import cv2
import numpy as np
import pytest

from g2s_localizer.geometry.geodesy import LatLon
from g2s_localizer.imagery.level import columns_in_order, tile_box

KARLSRUHE = LatLon(49.011212, 8.422885)


def test_info_says_what_a_store_holds(tiles, folder):
    status, out, _ = tiles("info", folder, "--json")
    found = json.loads(out)
    assert (status, found["format"], found["attribution"]) == (0, "slippy", "© painted")
    assert (found["offset_east_m"], found["georeferencing_sigma_m"]) == (1.5, 0.4)
    assert found["bytes"] == sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    coarse, fine = found["levels"]
    assert (coarse["name"], coarse["parts"], fine["parts"]) == ("zoom 18", 4, 25)
    assert fine["gsd"] == pytest.approx(0.196, abs=0.001)
    box = fine["box"]
    assert box["west"] < KARLSRUHE.lon < box["east"] and box["south"] < 49.0112 < box["north"]


def test_info_is_for_people_too(tiles, folder):
    _, out, _ = tiles("info", f"slippy:{folder}")
    assert "offset       1.5 m east, -0.7 m north" in out and "sigma        0.4 m per axis" in out
    assert re.search(r"zoom 19 +25 part\(s\), 0\.196 m per pixel, west 8\.4", out)


def test_a_box_across_the_antimeridian_is_small():
    columns = columns_in_order({0, 1, 1022, 1023}, 1024)
    box = tile_box(10, (columns[0], columns[-1]), (500, 501))
    assert (box.west, box.east) == pytest.approx((180 - 2 * 360 / 1024, -180 + 2 * 360 / 1024))


def test_a_whole_world_is_a_whole_turn_wide():
    columns = columns_in_order(set(range(4)), 4)
    box = tile_box(2, (columns[0], columns[-1]), (0, 3))
    assert (box.west, box.east) == (-180.0, 180.0)


def test_a_whole_store_is_verified(tiles, folder):
    status, out, _ = tiles("verify", folder)
    assert status == 0 and "29 of 29 parts are whole" in out


def test_what_is_bad_is_listed_by_its_reason(tiles, folder):
    files = sorted((folder / "19").rglob("*.jpg"))
    files[3].write_bytes(b"<html>no such tile</html>")
    files[7].write_bytes(files[7].read_bytes()[:100])
    status, out, _ = tiles("verify", folder)
    assert status == 1 and "27 of 29 parts are whole" in out
    names = ["/".join(file.with_suffix("").parts[-3:]) for file in (files[3], files[7])]
    assert f"25 bytes that are no PNG, JPEG or WebP image: {names[0]}" in out
    assert f"truncated at 100 bytes: {names[1]}" in out


def test_what_is_transparent_or_a_collar_is_not_whole(tiles, folder):
    files = sorted((folder / "19").rglob("*.jpg"))
    picture = cv2.imread(str(files[5]))
    clear = np.dstack([picture, np.zeros((256, 256), np.uint8)])
    picture[:100] = 255
    for file, image in ((files[3], clear), (files[5], picture)):
        file.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    status, out, _ = tiles("verify", folder)
    assert status == 1 and "27 of 29 parts are whole" in out
    assert "1 x transparent: 19/" in out and "one colour, (255, 255, 255): a collar" in out


@pytest.mark.parametrize("command", ["info", "verify"])
def test_a_store_that_is_none_is_refused_by_its_name(tiles, tmp_path, command):
    status, _, err = tiles(command, tmp_path / "nowhere")
    assert status == 1 and err.startswith(f"g2s-tiles {command}: error: no such ")
    assert "nowhere" in err
