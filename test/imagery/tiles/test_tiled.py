# SPDX-License-Identifier: Apache-2.0
import tempfile
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from g2s_localizer.geometry.geodesy import (
    LatLon,
    LocalFrame,
    ground_sample_distance,
    mercator_latlon,
    mercator_pixel,
)
from g2s_localizer.imagery.open import open_imagery
from g2s_localizer.imagery.resample import mercator_fit, sample_positions
from g2s_localizer.imagery.sidecar import Sidecar, write_sidecar
from g2s_localizer.imagery.source import MissingImagery
from g2s_localizer.imagery.tiles.slippy import SlippyStore
from g2s_localizer.imagery.tiles.tiled import TiledImagery

KARLSRUHE = LatLon(49.011212, 8.422885)
FOUR_HEMISPHERES = [(49.0, 8.42), (-33.9, 18.42), (40.7, -74.0), (-22.9, -43.2)]
latitudes = st.floats(-70.0, 70.0)
longitudes = st.floats(-180.0, 179.999)


def on_tile_corner(centre):
    """The nearest place where four tiles of zoom 19 meet."""
    px, py = mercator_pixel(centre.lat, centre.lon, 19)
    lat, lon = mercator_latlon(round(float(px) / 256) * 256, round(float(py) / 256) * 256, 19)
    return LatLon(float(lat), float(lon))


@settings(max_examples=15, deadline=None)
@given(latitudes, longitudes)
def test_every_pixel_has_the_colour_of_its_place_in_four_hemispheres(
    tile_writer, colour_error, lat, lon
):
    centre = LatLon(lat, lon)
    gsd = ground_sample_distance(lat, 19)
    with tempfile.TemporaryDirectory() as folder:
        imagery = open_imagery(tile_writer().slippy(Path(folder), centre))
        assert colour_error(imagery.crop(centre, 200 * gsd, gsd)) < 3.0


@given(latitudes, longitudes, st.floats(-60.0, 60.0), st.floats(-60.0, 60.0))
def test_a_metre_of_the_crop_is_a_metre_of_the_ground_to_a_centimetre(lat, lon, x, y):
    centre = LatLon(lat, lon)
    terms = [1.0, x, y, x * x, x * y, y * y]
    px, py = terms @ mercator_fit(centre, 120.0, 20)
    found_lat, found_lon = mercator_latlon(px, py, 20)
    found = LocalFrame(centre).to_xy_array(found_lat, found_lon)
    assert np.ravel(found) == pytest.approx([x, y], abs=0.001)


def test_sample_positions_are_the_fit_at_pixel_centres_to_a_hundredth_of_a_pixel():
    fit = mercator_fit(KARLSRUHE, 800.0, 20)
    u, v, column, row = sample_positions(fit, 400, 2.0)
    x, y = (17 - 199.5) * 2.0, -(333 - 199.5) * 2.0
    px, py = np.array([1.0, x, y, x * x, x * y, y * y]) @ fit
    assert (column + u[333, 17] + 0.5, row + v[333, 17] + 0.5) == pytest.approx(
        (px, py), abs=0.01, rel=0
    )


@pytest.mark.parametrize(("lat", "lon"), [*FOUR_HEMISPHERES, (10.0, -180.0)])
def test_a_crop_across_tile_borders_equals_that_from_larger_tiles(tile_writer, tmp_path, lat, lon):
    centre = on_tile_corner(LatLon(lat, lon))
    small = open_imagery(tile_writer().slippy(tmp_path / "small", centre))
    large = open_imagery(tile_writer(512, shrink=1).slippy(tmp_path / "large", centre))
    crops = [imagery.crop(centre, 60.0, 0.3).image for imagery in (small, large)]
    assert np.array_equal(*crops)


@pytest.mark.parametrize("kind", ["mbtiles", "pmtiles"])
def test_a_crop_does_not_depend_on_the_store(tile_writer, tmp_path, kind):
    if kind == "pmtiles":
        pytest.importorskip("pmtiles", reason="needs the package pmtiles")
    folder = open_imagery(tile_writer().slippy(tmp_path / "tiles", KARLSRUHE))
    file = open_imagery(getattr(tile_writer(), kind)(tmp_path / "file", KARLSRUHE))
    assert np.array_equal(
        folder.crop(KARLSRUHE, 50.0, 0.25).image, file.crop(KARLSRUHE, 50.0, 0.25).image
    )


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "webp"])
def test_tiles_are_decoded_by_content_whatever_the_format(
    tile_writer, colour_error, tmp_path, suffix
):
    imagery = open_imagery(tile_writer(suffix=suffix).slippy(tmp_path, KARLSRUHE))
    assert colour_error(imagery.crop(KARLSRUHE, 50.0, 0.2)) < 12.0


def test_a_coarser_crop_averages_instead_of_aliasing(tmp_path):
    rng = np.random.default_rng(0)
    px, py = (int(p // 256) for p in mercator_pixel(KARLSRUHE.lat, KARLSRUHE.lon, 19))
    for x in range(px - 1, px + 2):
        (tmp_path / "19" / str(x)).mkdir(parents=True)
        for y in range(py - 1, py + 2):
            noise = rng.integers(0, 256, (256, 256, 3), np.uint8)
            cv2.imwrite(str(tmp_path / "19" / str(x) / f"{y}.png"), noise)
    crop = open_imagery(f"slippy:{tmp_path}").crop(KARLSRUHE, 60.0, 1.2)
    assert crop.image.std() < 74.0 / 4


def test_the_zoom_is_the_coarsest_that_is_fine_enough(tile_writer, tmp_path):
    for shrink in (0, 1, 2):
        tile_writer(shrink=shrink).slippy(tmp_path, KARLSRUHE)
    imagery = TiledImagery(SlippyStore(tmp_path))
    gsds = (0.1, 0.19, 0.3, 0.4, 0.79, 3.0)
    zooms = [imagery._window(KARLSRUHE, 30.0, gsd).zoom for gsd in gsds]
    assert zooms == [19, 19, 19, 18, 17, 17]


def test_missing_tiles_are_named(tile_writer, tmp_path):
    imagery = open_imagery(tile_writer().slippy(tmp_path, KARLSRUHE, reach=0))
    corner = on_tile_corner(KARLSRUHE)
    px, py = (round(float(p) / 256) for p in mercator_pixel(corner.lat, corner.lon, 19))
    around = {f"19/{px - dx}/{py - dy}" for dx in (0, 1) for dy in (0, 1)}
    with pytest.raises(MissingImagery, match="lacks 3 tile.*not in the store") as error:
        imagery.crop(corner, 20.0, 0.2)
    assert set(error.value.tiles) < around


def test_what_a_crop_would_lack_is_known_without_a_crop(tile_writer, tmp_path):
    folder = open_imagery(tile_writer().slippy(tmp_path / "t", KARLSRUHE, reach=0))
    file = open_imagery(tile_writer().mbtiles(tmp_path / "t.mbtiles", KARLSRUHE, reach=0))
    corner = on_tile_corner(KARLSRUHE)
    with pytest.raises(MissingImagery) as error:
        folder.crop(corner, 20.0, 0.2)
    assert folder.missing(corner, 20.0, 0.2) == error.value.tiles
    assert file.missing(corner, 20.0, 0.2) == error.value.tiles


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
@pytest.mark.parametrize("share", [0.0, 0.4, 0.95])
def test_a_truncated_tile_is_named_with_its_reason(tile_writer, tmp_path, suffix, share):
    imagery = open_imagery(tile_writer(suffix=suffix).slippy(tmp_path, KARLSRUHE))
    px, py = (int(p // 256) for p in mercator_pixel(KARLSRUHE.lat, KARLSRUHE.lon, 19))
    tile = tmp_path / "19" / str(px) / f"{py}.{suffix}"
    tile.write_bytes(tile.read_bytes()[: int(share * tile.stat().st_size)])
    with pytest.raises(MissingImagery, match=f"19/{px}/{py} .*bytes") as error:
        imagery.crop(KARLSRUHE, 20.0, 0.2)
    assert error.value.tiles == (f"19/{px}/{py}",)


def test_a_tile_of_another_size_is_refused(tile_writer, tmp_path):
    imagery = open_imagery(tile_writer().slippy(tmp_path, KARLSRUHE))
    tile_writer(tile_size=512).slippy(tmp_path, KARLSRUHE, reach=0)
    with pytest.raises(MissingImagery, match="512 x 512 pixels where others have 256"):
        imagery.crop(KARLSRUHE, 20.0, 0.2)


@pytest.mark.parametrize(("size_m", "gsd"), [(0.0, 0.2), (50.0, 0.0), (50.0, -1.0), (9e9, 0.2)])
def test_a_crop_without_pixels_or_with_too_many_is_refused(tile_writer, tmp_path, size_m, gsd):
    imagery = open_imagery(tile_writer().slippy(tmp_path, KARLSRUHE))
    with pytest.raises(ValueError, match=f"{size_m} m at {gsd} m/px"):
        imagery.crop(KARLSRUHE, size_m, gsd)


def test_decoded_tiles_stay_within_the_bound_and_crops_stay_right(tile_writer, tmp_path):
    tile_writer().slippy(tmp_path, KARLSRUHE)
    tight = TiledImagery(SlippyStore(tmp_path), cache_bytes=2 * 256 * 256 * 3)
    roomy = TiledImagery(SlippyStore(tmp_path))
    assert np.array_equal(
        tight.crop(KARLSRUHE, 80.0, 0.2).image, roomy.crop(KARLSRUHE, 80.0, 0.2).image
    )
    assert len(tight._cache._tiles) == 2


def test_the_sidecars_offset_is_taken_out(tile_writer, tmp_path):
    plain = open_imagery(tile_writer().slippy(tmp_path, KARLSRUHE))
    shown_at = LocalFrame(KARLSRUHE).to_latlon(3.0, -2.0)
    as_stored = plain.crop(shown_at, 40.0, 0.2).image.astype(int)
    write_sidecar(tmp_path, Sidecar(offset_east_m=3.0, offset_north_m=-2.0))
    put_right = open_imagery(f"slippy:{tmp_path}").crop(KARLSRUHE, 40.0, 0.2)
    assert np.abs(put_right.image - as_stored).max() <= 1
    assert put_right.centre == KARLSRUHE


def test_the_sidecars_attribution_and_sigma_come_before_the_stores(tile_writer, tmp_path):
    uri = tile_writer().mbtiles(tmp_path / "t.mbtiles", KARLSRUHE)
    assert open_imagery(uri).georeferencing_sigma_m is None
    write_sidecar(tmp_path / "t.mbtiles", Sidecar(attribution="us", georeferencing_sigma_m=0.4))
    imagery = open_imagery(uri)
    crop = imagery.crop(KARLSRUHE, 40.0, 0.2)
    assert (imagery.georeferencing_sigma_m, crop.attribution) == (0.4, "us")


def test_threads_may_share_a_store(tile_writer, tmp_path):
    imagery = open_imagery(tile_writer().mbtiles(tmp_path / "t.mbtiles", KARLSRUHE))
    images = []
    work = lambda: images.append(imagery.crop(KARLSRUHE, 60.0, 0.2).image)  # noqa: E731
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(images) == 8 and all(np.array_equal(images[0], image) for image in images)
