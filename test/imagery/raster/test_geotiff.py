# SPDX-License-Identifier: Apache-2.0
import math
import struct
import sys
import threading

import cv2
import numpy as np
import pytest

from g2s_localizer.geometry.geodesy import LatLon, LocalFrame
from g2s_localizer.imagery import MissingImagery, open_imagery
from g2s_localizer.imagery.sidecar import Sidecar, write_sidecar

pytest.importorskip("rasterio", reason="needs the package rasterio")

import rasterio
import rasterio.warp
from rasterio.enums import Resampling
from rasterio.transform import from_origin
from rasterio.windows import Window

EAST, NORTH = 457580.0, 5428740.0
UNTIED = "+proj=tmerc +lon_0=9 +x_0=500000 +ellps=bessel +units=m"


def write(file, image, tags=None, overviews=(), **profile):
    """A GeoTIFF of (bands, H, W) with 0.2 m pixels, its middle at EAST, NORTH."""
    count, height, width = image.shape
    origin = from_origin(EAST - width * 0.1, NORTH + height * 0.1, 0.2, 0.2)
    profile = {"crs": "EPSG:25832", "transform": origin, "dtype": image.dtype} | profile
    with rasterio.open(
        file, "w", driver="GTiff", width=width, height=height, count=count, **profile
    ) as dataset:
        dataset.write(image)
        dataset.update_tags(**(tags or {}))
        if overviews:
            dataset.build_overviews(overviews, Resampling.average)
    return f"geotiff:{file}"


def noise(side=1024, count=3):
    return np.random.default_rng(0).integers(0, 256, (count, side, side), np.uint8)


def middle():
    lon, lat = rasterio.warp.transform("EPSG:25832", "EPSG:4326", [EAST], [NORTH])
    return LatLon(lat[0], lon[0])


@pytest.mark.parametrize("shrink", [2, 4, 8])
def test_a_coarse_crop_is_the_mean_of_the_area_of_its_pixels(tmp_path, shrink):
    # Smooth enough that a pixel's mean hardly depends on the turn by the meridians' convergence.
    image = np.stack([smoothed(noise(1024, 1)[0])] * 3)
    imagery = open_imagery(write(tmp_path / "o.tif", image, overviews=[2, 4, 8]))
    fine = imagery.crop(middle(), 102.4, 0.2).image.astype(float)
    coarse = imagery.crop(middle(), 102.4, 0.2 * shrink).image
    blocks = fine.reshape(512 // shrink, shrink, 512 // shrink, shrink, 3).mean(axis=(1, 3))
    error = np.abs(coarse - blocks)
    assert error.mean() < 0.1 * blocks.std() and blocks.std() > 8


def smoothed(image):
    smooth = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 8.0)
    smooth = (smooth - smooth.mean()) / smooth.std() * 40.0 + 128.0
    return smooth.clip(0, 255).astype(np.uint8)


def test_coarse_crops_come_from_the_overviews(tmp_path):
    uri = write(tmp_path / "o.tif", noise(), overviews=[2, 4])
    with rasterio.open(tmp_path / "o.tif", "r+", overview_level=1) as overview:
        assert overview.width == 256
    imagery = open_imagery(uri)
    levels = [imagery._window(middle(), 50.0, gsd).level for gsd in (0.1, 0.2, 0.37, 0.7, 0.75, 3)]
    assert levels == [0, 0, 1, 1, 2, 2]


def test_nodata_is_missing_and_named_by_its_place(tmp_path):
    image = noise().clip(1, 255).astype(np.uint8)
    image[:, 500:510, 700:720] = 0
    imagery = open_imagery(write(tmp_path / "n.tif", image, nodata=0))
    with pytest.raises(MissingImagery, match="lacks 1 place.*% of the crop.*nodata") as error:
        imagery.crop(middle(), 100.0, 0.2)
    lat, lon = map(float, error.value.tiles[0].split(","))
    # 198 pixels right of the middle and 7 above it; grid north is turned from north.
    turned = math.radians(9.0 - middle().lon) * math.sin(math.radians(middle().lat))
    x, y = 39.6, 1.4 + 39.6 * math.sin(turned)
    assert LocalFrame(middle()).to_xy(LatLon(lat, lon)) == pytest.approx((x, y), abs=0.15)
    assert imagery.crop(middle(), 60.0, 0.2).image.min() > 0


@pytest.mark.parametrize("colour", [0, 255, 37])
def test_a_collar_that_is_not_declared_is_refused_by_its_colour(tmp_path, colour):
    image = noise(900)
    image[:, :, 450:] = colour
    imagery = open_imagery(
        write(tmp_path / "b.tif", image, tiled=True, blockxsize=128, blockysize=128)
    )
    for east, share in ((0.0, "49|50|51"), (60.0, "100")):
        place = LocalFrame(middle()).to_latlon(east, 0.0)
        with pytest.raises(MissingImagery, match=rf"({share})..% of the .*one colour, .{colour},"):
            imagery.crop(place, 50.0, 0.2)
        assert imagery.missing(place, 50.0, 0.2) != ()
    west = LocalFrame(middle()).to_latlon(-40.0, 0.0)
    assert imagery.missing(west, 50.0, 0.2) == () and imagery.crop(west, 50.0, 0.2).image.any()
    assert sum("one colour" in fault for _, fault in imagery.check()) == 7 * 4


def test_black_lines_and_shadows_are_colours_where_nodata_is_not_declared(tmp_path):
    image = noise(600)
    image[:, ::10] = 0
    crop = open_imagery(write(tmp_path / "b.tif", image)).crop(middle(), 60.0, 0.2)
    assert crop.image.min() == 0


@pytest.mark.parametrize("kind", ["alpha", "mask"])
def test_transparent_and_masked_pixels_are_missing(tmp_path, kind):
    opaque = np.full((600, 600), 255, np.uint8)
    opaque[290:300, 290:300] = 0
    if kind == "alpha":
        image = np.concatenate([noise(600), opaque[None]])
        uri = write(tmp_path / "a.tif", image, ALPHA="YES", photometric="RGB")
    else:
        uri = write(tmp_path / "a.tif", noise(600))
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(tmp_path / "a.tif", "r+") as d,
        ):
            d.write_mask(opaque)
    imagery = open_imagery(uri)
    with pytest.raises(MissingImagery, match="nodata or transparent") as error:
        imagery.crop(middle(), 60.0, 0.2)
    assert imagery.missing(middle(), 60.0, 0.2) == error.value.tiles
    assert {fault for _, fault in imagery.check()} == {"", "nodata or transparent in part"}


def test_an_infrared_band_that_is_taken_for_alpha_is_told(tmp_path):
    uri = write(tmp_path / "naip.tif", noise(600, 4), ALPHA="YES", photometric="RGB")
    with pytest.raises(MissingImagery, match="infrared, as in NAIP.*gdal_edit.py -colorinterp_4"):
        open_imagery(uri).crop(middle(), 60.0, 0.2)
    write(tmp_path / "grey.tif", noise(64, 4), photometric="MINISBLACK")
    with pytest.raises(ValueError, match="gdal_edit.py -colorinterp_1 red .*grey.tif"):
        open_imagery(str(tmp_path / "grey.tif"))


@pytest.mark.parametrize("interleave", ["pixel", "band"])
@pytest.mark.parametrize("compress", [None, "deflate"])
def test_a_raster_of_one_tall_strip_is_read(tmp_path, interleave, compress):
    image = np.tile(noise(256), (1, 9, 2))
    more = {"compress": compress} if compress else {}
    uri = write(tmp_path / "s.tif", image, blockysize=9 * 256, interleave=interleave, **more)
    assert open_imagery(uri).crop(middle(), 60.0, 0.2).image.std() > 20.0


@pytest.mark.parametrize("tiled", [False, True])
def test_pixels_that_must_be_decoded_at_once_are_bounded(tmp_path, tiled):
    def tag(number, kind, value, count=1):
        return struct.pack("<HHI", number, kind, count) + struct.pack("<I", value)

    size = [(322, 30_000), (323, 30_000)] if tiled else [(278, 30_000)]
    tags = [(256, 30_000), (257, 30_000), (258, 8), (259, 8), (262, 1), (273, 8), (277, 1)]
    table = b"".join(tag(number, 4, value) for number, value in sorted(tags + size))
    count = struct.pack("<H", len(tags + size))
    (tmp_path / "bomb.tif").write_bytes(b"II*\0\x08\0\0\0" + count + table + bytes(400))
    with pytest.raises(ValueError, match="bomb.tif has 30000 x 30000 pixels in one (strip|tile)"):
        open_imagery(str(tmp_path / "bomb.tif"))


def test_whatever_rasterio_raises_is_missing_imagery(tmp_path):
    imagery = open_imagery(write(tmp_path / "c.tif", noise(600)))
    imagery._raster._levels[0].close()
    with pytest.raises(MissingImagery, match="cannot be read") as error:
        imagery.crop(middle(), 60.0, 0.2)
    assert imagery.missing(middle(), 60.0, 0.2) == error.value.tiles
    assert all("cannot be read" in fault for _, fault in imagery.check())


@pytest.mark.parametrize(
    ("system", "stated"),
    [("EPSG:28356", 3.0), ("EPSG:32756", None), ("EPSG:7856", 3.0)],
)
def test_what_proj_states_of_gda_is_the_sigma(tmp_path, system, stated):
    origin = from_origin(334000, 6251000, 0.2, 0.2)
    uri = write(tmp_path / "g.tif", noise(64), crs=system, transform=origin)
    assert open_imagery(uri).georeferencing_sigma_m == stated


def test_blocks_that_were_never_written_are_missing_before_anything_is_read(tmp_path):
    file = tmp_path / "s.tif"
    origin = from_origin(EAST - 102.4, NORTH + 102.4, 0.2, 0.2)
    with rasterio.open(
        file, "w", driver="GTiff", width=1024, height=1024, count=3, dtype="uint8",
        crs="EPSG:25832", transform=origin, tiled=True, blockxsize=256, blockysize=256,
        SPARSE_OK=True,
    ) as dataset:  # fmt: skip
        dataset.write(noise(512), window=Window(0, 0, 512, 512))
    imagery = open_imagery(f"geotiff:{file}")
    north_west = LocalFrame(middle()).to_latlon(-50.0, 50.0)
    assert imagery.missing(north_west, 60.0, 0.2) == ()
    assert imagery.crop(north_west, 60.0, 0.2).image.any()
    with pytest.raises(MissingImagery, match="never written") as error:
        imagery.crop(middle(), 60.0, 0.2)
    assert imagery.missing(middle(), 60.0, 0.2) == error.value.tiles != ()


def test_a_crop_over_the_edge_or_far_away_is_missing(tmp_path):
    imagery = open_imagery(write(tmp_path / "e.tif", noise(600)))
    edge = LocalFrame(middle()).to_latlon(55.0, 0.0)
    with pytest.raises(MissingImagery, match="outside the raster"):
        imagery.crop(edge, 60.0, 0.2)
    for place in (edge, LatLon(-33.0, 18.0), LatLon(49.0, -171.0), LatLon(90.0, 0.0)):
        assert len(imagery.missing(place, 60.0, 0.2)) == 1


@pytest.mark.parametrize(
    ("image", "profile", "message"),
    [
        (noise(64, 1), {}, "one red, one green and one blue band, it has gray"),
        (noise(64, 2), {}, "one red, one green and one blue band, it has gray, "),
        (noise(64).astype(np.uint16), {"photometric": "RGB"}, "8 bits a band, it has uint16"),
        (noise(64).astype(np.float32), {}, "8 bits a band, it has float32"),
        (noise(64), {"crs": None}, "is not georeferenced"),
        (noise(64), {"crs": 'LOCAL_CS["a yard",UNIT["metre",1]]'}, "its coordinate system is not"),
        (noise(64), {"crs": UNTIED}, "nothing ties its coordinate system, .*, to WGS 84"),
    ],
)
def test_what_is_no_georeferenced_rgb_of_8_bits_is_refused(tmp_path, image, profile, message):
    with pytest.raises(ValueError, match=f"bad.tif.*{message}"):
        open_imagery(write(tmp_path / "bad.tif", image, **profile))


def test_near_infrared_beside_red_green_and_blue_is_left_alone(tmp_path):
    image = noise(600, 4)
    uri = write(tmp_path / "rgbi.tif", image, photometric="RGB", ALPHA="NO")
    assert open_imagery(uri).crop(middle(), 60.0, 0.2).image.any()


@pytest.mark.parametrize("share", [0.0001, 0.3, 0.9])
def test_a_truncated_file_is_refused_or_missing_and_never_grey(tmp_path, share):
    file = tmp_path / "t.tif"
    uri = write(file, noise(), tiled=True, compress="deflate")
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    with pytest.raises((MissingImagery, ValueError), match="t.tif"):
        open_imagery(uri).crop(middle(), 180.0, 0.2)


def test_a_file_name_with_special_characters_opens(tmp_path):
    write(tmp_path / "plain.tif", noise(600))
    odd = (tmp_path / "plain.tif").rename(tmp_path / "50% of town?#!,x=1.jpg")
    assert open_imagery(f"geotiff:{odd}").crop(middle(), 60.0, 0.2).image.any()


def test_the_copyright_notice_is_the_attribution_unless_a_sidecar_says(tmp_path):
    uri = write(tmp_path / "c.tif", noise(64), tags={"TIFFTAG_COPYRIGHT": "© an office"})
    assert open_imagery(uri).attribution == "© an office"
    write_sidecar(tmp_path / "c.tif", Sidecar(attribution="© us", georeferencing_sigma_m=0.2))
    assert open_imagery(uri).attribution == "© us"
    assert open_imagery(uri).georeferencing_sigma_m == 0.2


def test_the_sidecars_offset_is_taken_out(tmp_path):
    uri = write(tmp_path / "c.tif", np.stack([smoothed(noise(600, 1)[0])] * 3))
    shown_at = LocalFrame(middle()).to_latlon(-4.0, 2.5)
    as_stored = open_imagery(uri).crop(shown_at, 60.0, 0.2).image.astype(int)
    write_sidecar(tmp_path / "c.tif", Sidecar(offset_east_m=-4.0, offset_north_m=2.5))
    assert np.abs(open_imagery(uri).crop(middle(), 60.0, 0.2).image - as_stored).max() <= 1


def test_a_system_whose_best_tie_to_wgs84_is_not_installed_states_its_accuracy(tmp_path):
    """British National Grid needs OSTN15; without it PROJ is good to 2 m."""
    origin = from_origin(430000.0, 400000.0, 0.2, 0.2)
    uri = write(tmp_path / "uk.tif", noise(64), crs="EPSG:27700", transform=origin)
    assert open_imagery(uri).georeferencing_sigma_m in (None, 2.0)


def test_threads_may_share_a_raster(tmp_path):
    uri = write(tmp_path / "t.tif", noise(2048), tiled=True, compress="deflate")
    around = [LocalFrame(middle()).to_latlon(12.0 * i - 100.0, 9.0 * i - 70.0) for i in range(16)]
    alone = [open_imagery(uri).crop(place, 100.0, 0.2).image for place in around]
    shared, same = open_imagery(uri), []

    def work(order):
        for i in order:
            same.append(np.array_equal(alone[i], shared.crop(around[i], 100.0, 0.2).image))

    orders = [np.random.default_rng(seed).permutation(16) for seed in range(8)]
    threads = [threading.Thread(target=work, args=(order,)) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(same) == 128 and all(same)


def test_without_rasterio_the_error_names_it(tmp_path, monkeypatch):
    uri = write(tmp_path / "t.tif", noise(64))
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(ImportError, match="need the package rasterio: install"):
        open_imagery(uri)
