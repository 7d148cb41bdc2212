# SPDX-License-Identifier: Apache-2.0
"""Crops out of georeferenced rasters: GeoTIFF, cloud-optimised GeoTIFF and VRT, by rasterio."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from g2s_localizer.geometry.geodesy import LatLon, LocalFrame
from g2s_localizer.imagery.content import is_vrt
from g2s_localizer.imagery.coordinates import Coordinates
from g2s_localizer.imagery.crop import SatelliteCrop
from g2s_localizer.imagery.resample import (
    Float32Array,
    Image,
    control_points,
    crop_pixels,
    fit_pixels,
    level_for,
    reach,
    resampled,
    sample_positions,
    samples_per_pixel,
)
from g2s_localizer.imagery.sidecar import Sidecar
from g2s_localizer.imagery.source import MissingImagery
from g2s_localizer.imagery.tiff import check_beside, check_tiff
from g2s_localizer.imagery.vrt import IntArray, read_vrt

OPAQUE = 128
"""Mask or alpha from which on a pixel counts as there."""

_OFFLINE = {
    # No file may send GDAL to a network: no side files with addresses in them, and of all
    # addresses only this one, which does not exist.
    "GDAL_PAM_ENABLED": "NO",
    "CPL_VSIL_CURL_ALLOWED_FILENAME": "none",
    "GDAL_VRT_ENABLE_PYTHON": "NO",
}

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _Window:
    """The pixels of one level that a crop touches, and where its samples lie in them."""

    level: int
    column: int
    row: int
    width: int
    height: int
    u: Float32Array
    v: Float32Array
    pixels: int


class GeoTiffImagery:
    """Imagery over one raster of three colour bands of 8 bits. Safe to share between threads.

    Crops are north-up in the tangent plane at their centre, whatever the raster's own grid:
    its coordinate system, the convergence of its meridians and any rotation are resampled
    away at once. Overviews serve coarse crops. What is nodata, transparent, masked, never
    written or not covered by a source is missing.

    file     a GeoTIFF or COG, or a VRT as `read_vrt` allows it
    sidecar  offset, sigma and rights; the attribution is otherwise the TIFF's copyright notice

    Raises ImportError without rasterio, FileNotFoundError for an absent file, ValueError naming
    what is not as it must be: bands, depth, georeferencing, or a source of a VRT.
    """

    def __init__(self, file: Path, sidecar: Sidecar | None = None) -> None:
        self._rasterio = _rasterio()
        if not file.is_file():
            raise FileNotFoundError(f"no such GeoTIFF or VRT: {file}")
        self.name = f"geotiff:{file}"
        self._sidecar = sidecar or Sidecar()
        self._lock = Lock()
        with file.open("rb") as stream:
            self._sources = read_vrt(file) if is_vrt(stream.read(1024)) else None
        if self._sources is None:
            check_tiff(file, str(file))
        check_beside(file, str(file))
        try:
            self._open(file)
        except ValueError:
            raise
        except Exception as error:
            # GDAL's own errors share no public class.
            raise ValueError(f"{file} cannot be used: {error}") from error

    def _open(self, file: Path) -> None:
        self._levels = self._open_levels(file)
        full = self._levels[0]
        self._bands = _colour_bands(full, file)
        self._has_mask = any(
            flags != [self._rasterio.enums.MaskFlags.all_valid]
            for band, flags in enumerate(full.mask_flag_enums, start=1)
            if band in self._bands
        )
        self._copyright = str(full.tags().get("TIFFTAG_COPYRIGHT", ""))
        if full.crs is None or full.transform.is_identity:
            raise ValueError(f"{file} is not georeferenced: no coordinate system or no grid")
        # (3, 3): column and row, continuous, to the raster's coordinates.
        grid = np.array(full.transform, np.float64).reshape(3, 3)
        if not (np.isfinite(grid).all() and np.linalg.det(grid) != 0.0):
            raise ValueError(f"{file} has a grid without an area: {full.transform!r}")
        self._from_grid = np.linalg.inv(grid)
        middle = grid @ (full.width / 2.0, full.height / 2.0, 1.0)
        self._coordinates = Coordinates(
            full.crs.to_wkt(), (float(middle[0]), float(middle[1])), str(file)
        )

    @property
    def attribution(self) -> str:
        return self._sidecar.attribution or self._copyright

    @property
    def georeferencing_sigma_m(self) -> float | None:
        """That of the sidecar; else, where PROJ lacks the grid that ties the coordinate system
        to WGS 84 best, the accuracy it states for the operation used instead.
        """
        stated = self._sidecar.georeferencing_sigma_m
        return self._coordinates.accuracy_m if stated is None else stated

    def crop(self, centre: LatLon, size_m: float, gsd: float) -> SatelliteCrop:
        """The north-up square of round(size_m / gsd) pixels a side around `centre`.

        One resampling of the coarsest level (the raster or an overview) that is no coarser
        than asked, or of the finest one; each crop pixel is the mean of as many bilinear
        samples as keeps them no more than SPACING pixels of it apart.

        Raises MissingImagery naming the place that is not covered, ValueError for a size or gsd
        that makes no crop or takes too many samples.
        """
        window = self._window(centre, size_m, gsd)
        absent = self._absent(window)
        self._refuse(centre, gsd, window, absent, "outside the raster or never written")
        image, transparent = self._read(window)
        self._refuse(centre, gsd, window, transparent, "nodata or transparent")
        crop = resampled(image, window.u, window.v, window.pixels)
        return SatelliteCrop(crop, centre, gsd, self.attribution)

    def missing(self, centre: LatLon, size_m: float, gsd: float) -> tuple[str, ...]:
        """The place, as "lat,lon", of what `crop` would find outside the raster or never written;
        nodata within what was written is not known before it is read.
        """
        try:
            window = self._window(centre, size_m, gsd)
            self._refuse(centre, gsd, window, self._absent(window), "")
        except MissingImagery as error:
            return error.tiles
        return ()

    def _window(self, centre: LatLon, size_m: float, gsd: float) -> _Window:
        pixels = crop_pixels(size_m, gsd)
        side = pixels * gsd
        x, y, lat, lon = control_points(centre, side, self._sidecar.offset_m)
        east, north = self._coordinates.from_latlon(lat, lon)
        if not (np.isfinite(east).all() and np.isfinite(north).all()):
            reason = "beyond the raster's coordinate system"
            raise MissingImagery(self.name, {_place(centre): reason}, "place")
        column, row, _ = self._from_grid @ np.stack([east, north, np.ones_like(east)])
        fit = fit_pixels(x, y, column, row, side)
        own = 1.0 / math.sqrt(abs(np.linalg.det(fit[1:3])))
        full = self._levels[0]
        shrinks = [math.sqrt(full.width * full.height / (o.width * o.height)) for o in self._levels]
        level = level_for([own * shrink for shrink in shrinks], gsd)
        chosen = self._levels[level]
        fit *= np.array([chosen.width / full.width, chosen.height / full.height])
        # The denser axis decides: degrees of longitude are shorter than those of latitude.
        finest = 1.0 / float(np.linalg.norm(fit[1:3], axis=0).max())
        samples = samples_per_pixel(pixels, gsd, finest, f"level {level} of {self.name}")
        u, v, first_column, first_row = sample_positions(fit, pixels * samples, gsd / samples)
        return _Window(level, first_column, first_row, reach(u), reach(v), u, v, pixels)

    def _absent(self, window: _Window) -> BoolArray:
        """Which pixels (height, width) of the window the file does not hold, by its index."""
        dataset = self._levels[window.level]
        absent = np.ones((window.height, window.width), bool)
        u0, v0 = max(-window.column, 0), max(-window.row, 0)
        u1 = min(window.width, dataset.width - window.column)
        v1 = min(window.height, dataset.height - window.row)
        if u0 >= u1 or v0 >= v1:
            return absent
        absent[v0:v1, u0:u1] = False
        if self._sources is None:
            self._mark_unwritten(absent, window, dataset)
        else:
            shrink = np.array([dataset.width, dataset.height] * 2) / np.array(
                [self._levels[0].width, self._levels[0].height] * 2
            )
            for band in self._bands:
                absent |= ~_covered(self._sources[band - 1], shrink, window)
        return absent

    def _mark_unwritten(self, absent: BoolArray, window: _Window, dataset: Any) -> None:
        """A sparse TIFF has blocks without a place in the file, which GDAL reads as black."""
        high, wide = dataset.block_shapes[0]
        rows = range(max(window.row, 0) // high, (window.row + window.height - 1) // high + 1)
        columns = range(
            max(window.column, 0) // wide, (window.column + window.width - 1) // wide + 1
        )
        with self._lock, self._rasterio.Env(**_OFFLINE):
            for y in rows:
                for x in columns:
                    if any(
                        dataset.get_tag_item(f"BLOCK_OFFSET_{x}_{y}", "TIFF", bidx=band) is None
                        for band in self._bands
                    ):
                        top, left = y * high - window.row, x * wide - window.column
                        absent[max(top, 0) : top + high, max(left, 0) : left + wide] = True

    def _read(self, window: _Window) -> tuple[Image, BoolArray]:
        """Pixels (height, width, 3) of the window and which of them are nodata or transparent;
        zeros beyond the raster's border.
        """
        dataset = self._levels[window.level]
        u0, v0 = max(-window.column, 0), max(-window.row, 0)
        u1 = min(window.width, dataset.width - window.column)
        v1 = min(window.height, dataset.height - window.row)
        part = self._rasterio.windows.Window(window.column + u0, window.row + v0, u1 - u0, v1 - v0)
        image = np.zeros((window.height, window.width, 3), np.uint8)
        transparent = np.zeros((window.height, window.width), bool)
        try:
            with self._lock, self._rasterio.Env(**_OFFLINE):
                bands = dataset.read(self._bands, window=part)
                mask = dataset.dataset_mask(window=part) if self._has_mask else None
        except Exception as error:
            # GDAL's own errors share no public class.
            where = f"level {window.level}, pixels {part.col_off},{part.row_off}"
            raise MissingImagery(self.name, {where: f"cannot be read: {error}"}, "place") from error
        image[v0:v1, u0:u1] = bands.transpose(1, 2, 0)
        if mask is not None:
            transparent[v0:v1, u0:u1] = mask < OPAQUE
        return image, transparent

    def _refuse(
        self, centre: LatLon, gsd: float, window: _Window, bad: BoolArray, reason: str
    ) -> None:
        """Raise MissingImagery where a sample of the crop touches a bad pixel."""
        if not bad.any():
            return
        hit = cv2.remap(bad.astype(np.float32), window.u, window.v, cv2.INTER_LINEAR) > 0.0
        if not hit.any():
            return
        rows, columns = np.nonzero(hit)
        spacing = gsd * window.pixels / len(hit)
        middle = (len(hit) - 1) / 2.0
        east, north = (columns.mean() - middle) * spacing, (middle - rows.mean()) * spacing
        place = _place(LocalFrame(centre).to_latlon(float(east), float(north)))
        share = f"{hit.mean():.1%} of the crop, around this place, {reason}"
        raise MissingImagery(self.name, {place: share}, "place")

    def _open_levels(self, file: Path) -> list[Any]:
        """The raster and its overviews, each as a data set of its own."""
        driver = "GTiff" if self._sources is None else "VRT"
        with self._rasterio.Env(**_OFFLINE), warnings.catch_warnings():
            warnings.simplefilter("ignore", self._rasterio.errors.NotGeoreferencedWarning)
            full = self._rasterio.open(file.resolve(), driver=driver)
            overviews = range(len(full.overviews(1)) if full.count else 0)
            return [full] + [
                self._rasterio.open(file.resolve(), driver=driver, overview_level=level)
                for level in overviews
            ]


def _covered(sources: IntArray, shrink: NDArray[np.float64], window: _Window) -> BoolArray:
    """Pixels (height, width) of the window that lie in a source's rectangle."""
    corner = np.array([window.column, window.row] * 2)
    placed = np.rint(sources * shrink).astype(np.int64) - corner
    placed = placed.clip(0, [window.width, window.height] * 2)
    covered = np.zeros((window.height, window.width), bool)
    for left, top, right, bottom in placed[(placed[:, :2] < placed[:, 2:]).all(axis=1)]:
        covered[top:bottom, left:right] = True
    return covered


def _colour_bands(dataset: Any, file: Path) -> list[int]:
    """Numbers of the red, green and blue band."""
    kinds = [interpretation.name for interpretation in dataset.colorinterp]
    named = [kinds.index(name) + 1 for name in ("red", "green", "blue") if kinds.count(name) == 1]
    if len(named) < 3 and len(kinds) == 3 and not set(kinds) & {"red", "green", "blue", "alpha"}:
        named = [1, 2, 3]
    if len(named) < 3:
        raise ValueError(
            f"{file} must have one red, one green and one blue band, it has {', '.join(kinds)}"
        )
    depths = {dataset.dtypes[band - 1] for band in named}
    if depths != {"uint8"}:
        raise ValueError(
            f"{file} must have 8 bits a band, it has {', '.join(sorted(depths))}: "
            "scale it first (gdal_translate -ot Byte -scale)"
        )
    return named


def _place(place: LatLon) -> str:
    return f"{place.lat:.6f},{place.lon:.6f}"


def _rasterio() -> Any:
    try:
        import rasterio
        import rasterio.enums
        import rasterio.errors
        import rasterio.windows
    except ImportError as error:
        raise ImportError(
            "GeoTIFF and VRT need the package rasterio: install python3-rasterio, or rasterio "
            "with pip"
        ) from error
    return rasterio
