# SPDX-License-Identifier: Apache-2.0
"""Crops against pyproj: where their pixels lie, and what sources of every kind show there."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyproj import Geod, Transformer

from benchmarks.imagery_exactness import (
    GSD,
    SOURCES,
    Painting,
    displacements,
    open_source,
    placed_wrong,
    utm_zone,
    write_slippy,
    zoom_of,
)
from g2s_localizer.geometry.geodesy import LatLon, ground_sample_distance
from g2s_localizer.imagery import open_imagery
from g2s_localizer.imagery.raster.geotiff import GeoTiffImagery
from g2s_localizer.imagery.resample import COARSER
from g2s_localizer.imagery.tiles.tiled import TiledImagery

rasterio = pytest.importorskip("rasterio", reason="needs the package rasterio")
pytest.importorskip("pmtiles", reason="needs the package pmtiles")

CENTIMETRE = 0.01
places = st.builds(LatLon, st.floats(-70.0, 70.0), st.floats(-180.0, 179.999))
BORDERS = [
    LatLon(49.0, 12.0), LatLon(-33.0, 18.0), LatLon(64.0, -6.0), LatLon(-69.9, -60.0),
    LatLon(0.0, 6.0), LatLon(12.0, 180.0), LatLon(-17.0, 179.99999), LatLon(66.0, -179.99999),
    LatLon(40.97989806962013, -73.828125), LatLon(0.0, 0.0),
]  # fmt: skip
"""Where zones of UTM, tiles, hemispheres and the world end."""


def at_borders(test):
    for place in BORDERS:
        test = example(place)(test)
    return test


class OneTile:
    """A store that says it has one white tile at `zoom`: enough to ask where pixels lie."""

    name, attribution = "one tile", ""

    def __init__(self, zoom):
        self.zooms = (zoom,)

    def tiles(self, zoom):
        yield 0, 0

    def has(self, zoom, x, y):
        return True

    def read(self, zoom, x, y):
        return cv2.imencode(".png", np.full((256, 256, 3), 255, np.uint8))[1].tobytes()


def affine(imagery):
    """The grid of a raster as rasterio has it: coordinates = (c + a column, f + e row)."""
    return rasterio.transform.Affine(*imagery._raster.grid.ravel()[:6])


def metric_error(centre, window, gsd, to_lonlat):
    """Largest distance (m) between where a crop's pixels come from and where they should."""
    corners = [0, len(window.u) // 3, len(window.u) - 1]
    pixels = np.ix_(corners, corners)
    u, v = (axis[pixels].ravel().astype(np.float64) for axis in (window.u, window.v))
    part = getattr(window, "part", window)
    lon, lat = to_lonlat(part.column + u + 0.5, part.row + v + 0.5)
    east, north = Painting(centre).metres(np.asarray(lat), np.asarray(lon))
    metres = (np.array(corners) - (len(window.u) - 1) / 2) * gsd
    wanted = np.meshgrid(metres, -metres)
    return np.hypot(east - wanted[0].ravel(), north - wanted[1].ravel()).max()


@at_borders
@given(places)
def test_pixels_of_tiles_lie_where_pyproj_says_to_a_centimetre(centre):
    zoom = 17
    span = 2 * math.pi * 6378137.0 / 2**zoom / 256
    window = TiledImagery(OneTile(zoom))._window(centre, 240.0, 1.0)
    to_lonlat = Transformer.from_crs(3857, 4326, always_xy=True).transform
    half = math.pi * 6378137.0
    error = metric_error(
        centre,
        window,
        240.0 / len(window.u),
        lambda u, v: to_lonlat(u * span - half, half - v * span),
    )
    assert error < CENTIMETRE


@pytest.fixture(scope="module")
def tiny_raster(tmp_path_factory):
    """Function: a raster of 16 x 16 pixels in a coordinate system, a place near its corner."""
    folder = tmp_path_factory.mktemp("tiny")

    def write(crs, place):
        x, y = Transformer.from_crs(4326, crs, always_xy=True).transform(place.lon, place.lat)
        pixel = 1e-5 if rasterio.crs.CRS.from_epsg(crs).is_geographic else 0.9
        with rasterio.open(
            folder / "tiny.tif", "w", driver="GTiff", width=16, height=16, count=3, dtype="uint8",
            crs=f"EPSG:{crs}", transform=rasterio.transform.from_origin(x, y, pixel, pixel),
        ) as dataset:  # fmt: skip
            dataset.write(np.zeros((3, 16, 16), np.uint8))
        return GeoTiffImagery(folder / "tiny.tif")

    return write


@pytest.mark.parametrize("system", ["utm", "next utm", "3857", "4326"])
@at_borders
@settings(max_examples=40)
@given(places)
def test_pixels_of_rasters_lie_where_pyproj_says_to_a_centimetre(tiny_raster, system, centre):
    zones = {"utm": utm_zone(centre), "next utm": utm_zone(centre, 1)}
    crs = zones.get(system) or int(system)
    imagery = tiny_raster(crs, centre)
    window = imagery._window(centre, 240.0, 1.0)
    grid = affine(imagery)
    back = Transformer.from_crs(crs, 4326, always_xy=True).transform
    to_lonlat = lambda u, v: back(grid.c + u * grid.a, grid.f + v * grid.e)  # noqa: E731
    assert metric_error(centre, window, 240.0 / len(window.u), to_lonlat) < CENTIMETRE


SURVEYS = [
    (25832, 49.01, 8.4), (28992, 52.37, 4.9), (2056, 46.95, 7.44), (2154, 48.85, 2.35),
    (31983, -22.9, -43.2), (5514, 50.08, 14.43), (3031, -66.5, 110.0), (2263, 40.7, -74.0),
    (4807, 48.85, 2.35),
]  # fmt: skip
"""Among them feet (New York), grads (Paris), axes to the south-west (Prague), a pole."""


@pytest.mark.parametrize(("crs", "lat", "lon"), SURVEYS)
def test_pixels_in_the_systems_of_survey_offices_lie_where_pyproj_says(tiny_raster, crs, lat, lon):
    centre = LatLon(lat, lon)
    imagery = tiny_raster(crs, centre)
    window = imagery._window(centre, 240.0, 1.0)
    grid = affine(imagery)
    back = Transformer.from_crs(crs, 4326, always_xy=True).transform
    to_lonlat = lambda u, v: back(grid.c + u * grid.a, grid.f + v * grid.e)  # noqa: E731
    assert metric_error(centre, window, 240.0 / len(window.u), to_lonlat) < CENTIMETRE


@given(places, st.floats(0, 360), st.floats(1.0, 80.0))
def test_the_yardstick_itself_agrees_with_geodesics(centre, azimuth, distance):
    lon, lat, _ = Geod(ellps="WGS84").fwd(centre.lon, centre.lat, azimuth, distance)
    east, north = Painting(centre).metres(np.array(lat), np.array(lon))
    turned = math.radians(azimuth)
    wanted = distance * math.sin(turned), distance * math.cos(turned)
    assert (float(east), float(north)) == pytest.approx(wanted, abs=0.001)


@pytest.mark.parametrize(
    ("centre", "yaw", "side_m"),  # a turned crop of 34 m lies within the north-up one of 48 m
    [
        (LatLon(49.0, 12.0), 0.0, 48.0),
        (LatLon(-63.2, -60.0), 0.0, 48.0),
        (LatLon(12.0, 180.0), 0.0, 48.0),
        (LatLon(-63.2, -60.0), 0.7, 34.0),
        (LatLon(12.0, 180.0), -2.2, 34.0),
    ],
)
def test_every_source_shows_every_place_to_a_centimetre_and_like_the_others(
    tmp_path, centre, yaw, side_m
):
    painting = Painting(centre)
    crops = {
        name: open_source(name, tmp_path / str(number), painting).crop(centre, side_m, GSD, yaw)
        for number, name in enumerate(SOURCES)
    }
    assert {crop.yaw for crop in crops.values()} == {yaw}
    first = crops["slippy"]
    for name, crop in crops.items():
        assert np.abs(placed_wrong(painting, crop)).max() < CENTIMETRE, name
        beside = displacements(painting, crop.image.astype(float) - first.image, crop)
        assert np.abs(beside).max() / GSD < 0.1, name


@pytest.mark.parametrize("place", [LatLon(49.01, 8.42), LatLon(-22.9, -43.2)])
def test_where_the_zoom_changes_the_ground_does_not_move(tmp_path, place):
    painting, fine = Painting(place), zoom_of(place.lat)
    write_slippy(tmp_path, painting, fine - 1)
    imagery = open_imagery(write_slippy(tmp_path, painting, fine))
    border = 2.0 * ground_sample_distance(place.lat, fine) / COARSER
    for gsd, zoom in ((border * 0.999, fine), (border * 1.001, fine - 1)):
        assert imagery._window(place, 48.0, gsd).zoom == zoom
        assert np.abs(placed_wrong(painting, imagery.crop(place, 48.0, gsd))).max() < CENTIMETRE


@settings(max_examples=4)
@given(places, st.sampled_from(sorted(SOURCES)))
def test_a_random_source_shows_a_random_place_to_a_centimetre(tmp_path_factory, centre, name):
    painting = Painting(centre)
    imagery = open_source(name, tmp_path_factory.mktemp("source") / "s", painting)
    assert np.abs(placed_wrong(painting, imagery.crop(centre, 48.0, GSD))).max() < CENTIMETRE
