# SPDX-License-Identifier: Apache-2.0
"""Boxes; what stores without tiles say of themselves, and what is found broken in them."""

import math

import cv2
import numpy as np
import pytest
from pyproj import Transformer

from g2s_localizer.geometry.geodesy import LatLon, LocalFrame
from g2s_localizer.imagery import open_imagery
from g2s_localizer.imagery.level import Box
from g2s_localizer.imagery.sidecar import Sidecar, write_sidecar

EAST, NORTH = 457580.0, 5428740.0
FRAME = LocalFrame(LatLon(49.011212, 8.422885))
DRIVE = "2011_09_26/2011_09_26_drive_0005_sync"


@pytest.fixture
def raster(tmp_path):
    """512 x 256 pixels of 0.2 m in EPSG:25832 with one overview, in blocks of 128 x 128."""
    rasterio = pytest.importorskip("rasterio", reason="needs the package rasterio")
    noise = np.random.default_rng(0).integers(0, 256, (3, 256, 512), np.uint8)
    profile = {"driver": "GTiff", "width": 512, "height": 256, "count": 3, "dtype": "uint8"}
    profile |= {"tiled": True, "blockxsize": 128, "blockysize": 128, "compress": "DEFLATE"}
    profile |= {"transform": rasterio.transform.from_origin(EAST, NORTH, 0.2, 0.2)}
    with rasterio.open(tmp_path / "a.tif", "w", crs="EPSG:25832", **profile) as out:
        out.write(noise)
        out.build_overviews([2], rasterio.enums.Resampling.average)
    return tmp_path / "a.tif"


@pytest.fixture
def satmap(tmp_path):
    """Two images 60 m apart."""
    for number, east in enumerate((0.0, 60.0)):
        place = FRAME.to_latlon(east, 0.0)
        record = tmp_path / DRIVE / f"oxts/data/{number:010d}.txt"
        image = tmp_path / "satmap" / DRIVE / f"{number:010d}.png"
        for file in (record, image):
            file.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(f"{place.lat!r} {place.lon!r} 116.4 0.03 0.01 -1.2\n")
        cv2.imwrite(str(image), np.full((1280, 1280, 3), 90, np.uint8))
    return tmp_path / "satmap"


def test_a_raster_says_its_resolutions_and_its_box_in_degrees(raster):
    full, overview = open_imagery(str(raster)).levels()
    assert (full.name, overview.name) == ("raster", "overview 1:2")
    assert (full.gsd, overview.gsd) == pytest.approx((0.2, 0.4), rel=1e-3)
    to_wgs84 = Transformer.from_crs(25832, 4326, always_xy=True)
    corners = to_wgs84.transform([EAST, EAST + 102.4] * 2, [NORTH] * 2 + [NORTH - 51.2] * 2)
    expected = (min(corners[0]), min(corners[1]), max(corners[0]), max(corners[1]))
    box = full.box
    assert (box.west, box.south, box.east, box.north) == pytest.approx(expected, abs=1e-8)


def test_a_whole_raster_is_whole_and_a_broken_block_is_named(raster):
    imagery = open_imagery(str(raster))
    assert [fault for _, fault in imagery.check()] == [""] * 8
    content = bytearray(raster.read_bytes())
    content[len(content) // 3 : len(content) // 3 + 64] = bytes(64)
    raster.write_bytes(content)
    faults = {name: fault for name, fault in open_imagery(str(raster)).check() if fault}
    assert len(faults) == 1 and all(name.startswith("block ") for name in faults)


def test_images_around_frames_have_one_resolution_and_a_box_around_all(satmap):
    [level] = open_imagery(str(satmap)).levels()
    assert (level.parts, level.gsd) == (2, pytest.approx(0.196, abs=1e-3))
    assert FRAME.to_xy(LatLon(level.box.north, level.box.east)) == pytest.approx(
        (60.0 + 640 * level.gsd, 640 * level.gsd), abs=0.5
    )


def test_an_image_that_cannot_be_decoded_is_named_by_its_frame(satmap):
    (satmap / DRIVE / "0000000001.png").write_bytes(b"<html>")
    found = dict(open_imagery(str(satmap)).check())
    assert found[f"{DRIVE}/0000000000.png"] == ""
    assert "no PNG, JPEG or WebP" in found[f"{DRIVE}/0000000001.png"]


def test_every_source_says_which_offset_it_takes_out(raster, satmap):
    for store in (raster, satmap):
        write_sidecar(store, Sidecar(offset_east_m=1.5, offset_north_m=-0.7))
        assert open_imagery(str(store)).offset_m == (1.5, -0.7)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ((8.0, 50.0, 9.0, 49.0), "latitudes must rise"),
        ((8.0, 49.0, 8.0, 50.0), "some width"),
        ((8.0, 49.0, 190.0, 50.0), "longitudes"),
        ((8.0, 49.0, 9.0, 89.0), "within 85.05"),
        ((math.nan, 49.0, 9.0, 50.0), "finite"),
    ],
)
def test_what_is_no_box_is_refused_with_its_values(values, says):
    with pytest.raises(ValueError, match=says):
        Box(*values)
