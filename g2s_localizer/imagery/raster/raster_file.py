# SPDX-License-Identifier: Apache-2.0
"""The pixels of a GeoTIFF or VRT, level by level, by rasterio: what is there, and what is not."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from g2s_localizer.imagery.blank import MIN_SIDE
from g2s_localizer.imagery.content import is_vrt
from g2s_localizer.imagery.picture import Image
from g2s_localizer.imagery.raster.tiff import MAX_BLOCK_PIXELS, check_beside, check_tiff
from g2s_localizer.imagery.raster.vrt import IntArray, read_vrt
from g2s_localizer.imagery.source import UnusableTile

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]

OPAQUE = 128
"""Mask or alpha from which on a pixel counts as there."""

STRIP_ROWS = MIN_SIDE
"""Rows that are checked at once in a raster of thinner strips."""

MAX_NOTICE = 10_000
"""Characters of a copyright notice that are shown."""

_SAY_WHICH = (
    "say which is which: gdal_edit.py -colorinterp_1 red -colorinterp_2 green -colorinterp_3 blue"
)

_OFFLINE = {
    # No file may send GDAL to a network: no side files with addresses in them, and of all
    # addresses only this one, which does not exist.
    "GDAL_PAM_ENABLED": "NO",
    "CPL_VSIL_CURL_ALLOWED_FILENAME": "none",
    "GDAL_VRT_ENABLE_PYTHON": "NO",
}


@dataclass(frozen=True)
class PixelWindow:
    """A rectangle of pixels of a level; it may reach beyond the raster's border."""

    column: int
    row: int
    width: int
    height: int


class RasterFile:
    """Three colour bands of 8 bits in a grid that a coordinate system gives a meaning to.

    sizes      (width, height) of the raster and of its overviews, the finest first
    grid       (3, 3): column and row of the raster, continuous, to its coordinates
    wkt        the coordinate system in well-known text
    copyright  the TIFF's notice, "" without one

    One handle a level, one thread in them at a time. Raises as GeoTiffImagery does.
    """

    def __init__(self, file: Path) -> None:
        self._rasterio = _rasterio()
        if not file.is_file():
            raise FileNotFoundError(f"no such GeoTIFF or VRT: {file}")
        self._lock = Lock()
        with file.open("rb") as stream:
            self._sources = read_vrt(file) if is_vrt(stream.read(1024)) else None
        self._strip_rows = check_tiff(file, str(file)) if self._sources is None else {}
        check_beside(file, str(file))
        try:
            with self._rasterio.Env(**_OFFLINE), warnings.catch_warnings():
                warnings.simplefilter("ignore", self._rasterio.errors.NotGeoreferencedWarning)
                self._open(file)
        except ValueError:
            raise
        except Exception as error:
            # GDAL's own errors share no public class.
            raise ValueError(f"{file} cannot be used: {error}") from error

    def _open(self, file: Path) -> None:
        driver = "GTiff" if self._sources is None else "VRT"
        full = self._rasterio.open(file.resolve(), driver=driver)
        self._bands = _colour_bands(full, file)
        kinds = [interpretation.name for interpretation in full.colorinterp]
        self.alpha_band = kinds.index("alpha") + 1 if "alpha" in kinds else None
        self._levels = [full] + [
            self._rasterio.open(file.resolve(), driver=driver, overview_level=level)
            for level in range(len(full.overviews(1)))
        ]
        for level in self._levels:
            high, wide = max(level.block_shapes, key=math.prod)
            if high * wide > MAX_BLOCK_PIXELS:
                raise ValueError(f"{file} has blocks of {wide} x {high} pixels, too large to read")
        self.sizes = [(level.width, level.height) for level in self._levels]
        self._has_mask = any(
            flags != [self._rasterio.enums.MaskFlags.all_valid]
            for band, flags in enumerate(full.mask_flag_enums, start=1)
            if band in self._bands
        )
        self.copyright = str(full.tags().get("TIFFTAG_COPYRIGHT", ""))[:MAX_NOTICE]
        if full.crs is None or full.transform.is_identity:
            raise ValueError(f"{file} is not georeferenced: no coordinate system or no grid")
        self.wkt = str(full.crs.to_wkt())
        self.grid: FloatArray = np.array(full.transform, np.float64).reshape(3, 3)
        if not (np.isfinite(self.grid).all() and np.linalg.det(self.grid) != 0.0):
            raise ValueError(f"{file} has a grid without an area: {full.transform!r}")

    def absent(self, level: int, window: PixelWindow) -> BoolArray:
        """Return which pixels (height, width) of the window the file does not hold, by its index.

        Raises UnusableTile when that cannot be read.
        """
        absent = np.ones((window.height, window.width), bool)
        left, top, right, bottom = self._inside(level, window)
        if left >= right or top >= bottom:
            return absent
        absent[top:bottom, left:right] = False
        if self._sources is None:
            try:
                self._mark_unwritten(absent, level, window)
            except Exception as error:
                # GDAL's own errors share no public class.
                raise UnusableTile(f"cannot be read: {error}") from error
        else:
            for band in self._bands:
                absent |= ~self._covered(self._sources[band - 1], level, window)
        return absent

    def read(self, level: int, window: PixelWindow) -> tuple[Image, BoolArray]:
        """Return pixels (height, width, 3) of the window, zeros beyond the raster's border, and
        which of them are nodata or transparent. Raises UnusableTile saying why they cannot be read.
        """
        left, top, right, bottom = self._inside(level, window)
        part = self._rasterio.windows.Window(
            window.column + left, window.row + top, right - left, bottom - top
        )
        bands, mask = self._bands_and_mask(level, part)
        image = np.zeros((window.height, window.width, 3), np.uint8)
        transparent = np.zeros((window.height, window.width), bool)
        image[top:bottom, left:right] = bands.transpose(1, 2, 0)
        if mask is not None:
            transparent[top:bottom, left:right] = mask < OPAQUE
        return image, transparent

    def parts(self) -> Iterator[tuple[str, PixelWindow]]:
        """Yield all of the raster, block by block; strips, which may be thin, several at once."""
        (high, wide), (width, height) = self._levels[0].block_shapes[0], self.sizes[0]
        rows = high if high >= STRIP_ROWS else -(-STRIP_ROWS // high) * high
        for top in range(0, height, rows):
            for left in range(0, width, wide):
                name = f"block {left // wide},{top // high}"
                yield name, PixelWindow(left, top, min(wide, width - left), min(rows, height - top))

    def has_graded_alpha(self, level: int, window: PixelWindow) -> bool:
        """Return whether much of the alpha band is neither 0 nor 255, as in an infrared band."""
        if self.alpha_band is None:
            return False
        left, top, right, bottom = self._inside(level, window)
        part = self._rasterio.windows.Window(
            window.column + left, window.row + top, right - left, bottom - top
        )
        with self._lock, self._rasterio.Env(**_OFFLINE):
            alpha = self._levels[level].read(self.alpha_band, window=part)
        return bool(((alpha > 0) & (alpha < 255)).mean() > 0.1)

    def _bands_and_mask(self, level: int, part: Any) -> tuple[Any, Any]:
        dataset = self._levels[level]
        try:
            with self._lock, self._rasterio.Env(**_OFFLINE):
                mask = dataset.dataset_mask(window=part) if self._has_mask else None
                return dataset.read(self._bands, window=part), mask
        except Exception as error:
            # GDAL's own errors share no public class.
            raise UnusableTile(f"cannot be read: {error}") from error

    def _inside(self, level: int, window: PixelWindow) -> tuple[int, int, int, int]:
        """Return left, top, right and bottom in the window of what lies in the raster."""
        width, height = self.sizes[level]
        return (
            max(-window.column, 0),
            max(-window.row, 0),
            min(window.width, width - window.column),
            min(window.height, height - window.row),
        )

    def _mark_unwritten(self, absent: BoolArray, level: int, window: PixelWindow) -> None:
        """Mark blocks that a sparse TIFF does not hold, and that GDAL reads as black."""
        dataset = self._levels[level]
        high, wide = dataset.block_shapes[0]
        # GDAL shows one tall strip row by row, but knows its place only by its own number.
        strip = max(self._strip_rows.get(self.sizes[level], high), high)
        last_column, last_row = window.column + window.width - 1, window.row + window.height - 1
        with self._lock, self._rasterio.Env(**_OFFLINE):
            for y in range(max(window.row, 0) // high, last_row // high + 1):
                for x in range(max(window.column, 0) // wide, last_column // wide + 1):
                    places = (
                        dataset.get_tag_item(
                            f"BLOCK_OFFSET_{x}_{y * high // strip}", "TIFF", bidx=band
                        )
                        for band in self._bands
                    )
                    if any(place is None for place in places):
                        top, left = y * high - window.row, x * wide - window.column
                        absent[max(top, 0) : top + high, max(left, 0) : left + wide] = True

    def _covered(self, sources: IntArray, level: int, window: PixelWindow) -> BoolArray:
        """Return which pixels (height, width) of the window lie in a VRT's source."""
        shrink = np.array(self.sizes[level] * 2) / np.array(self.sizes[0] * 2)
        corners = np.rint(sources * shrink).astype(np.int64) - [window.column, window.row] * 2
        corners = corners.clip(0, [window.width, window.height] * 2)
        covered = np.zeros((window.height, window.width), bool)
        for left, top, right, bottom in corners[(corners[:, :2] < corners[:, 2:]).all(axis=1)]:
            covered[top:bottom, left:right] = True
        return covered


def _colour_bands(dataset: Any, file: Path) -> list[int]:
    """Return numbers of the red, green and blue band."""
    kinds = [interpretation.name for interpretation in dataset.colorinterp]
    named = [kinds.index(name) + 1 for name in ("red", "green", "blue") if kinds.count(name) == 1]
    if len(named) < 3 and len(kinds) == 3 and not set(kinds) & {"red", "green", "blue", "alpha"}:
        named = [1, 2, 3]
    if len(named) < 3:
        raise ValueError(
            f"{file} must have one red, one green and one blue band, it has {', '.join(kinds)}"
            + (f": {_SAY_WHICH} {file}" if len(kinds) > 3 else "")
        )
    depths = {dataset.dtypes[band - 1] for band in named}
    if depths != {"uint8"}:
        raise ValueError(
            f"{file} must have 8 bits a band, it has {', '.join(sorted(depths))}: "
            "scale it first (gdal_translate -ot Byte -scale)"
        )
    return named


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
