# SPDX-License-Identifier: Apache-2.0
"""Crops out of georeferenced rasters: GeoTIFF, cloud-optimised GeoTIFF and VRT, by rasterio."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import cv2
import numpy as np

from g2s_localizer.geometry.geodesy import LatLon, LocalFrame, wrap_longitude
from g2s_localizer.geometry.pose import rotation
from g2s_localizer.imagery.blank import OneColour, are_photographs, blocks, one_colour
from g2s_localizer.imagery.crop import SatelliteCrop
from g2s_localizer.imagery.level import Box, Level
from g2s_localizer.imagery.picture import Image
from g2s_localizer.imagery.raster.coordinates import Coordinates
from g2s_localizer.imagery.raster.raster_file import BoolArray, PixelWindow, RasterFile
from g2s_localizer.imagery.resample import (
    MAX_SAMPLES,
    OUTLINE_SAMPLES,
    Float32Array,
    control_points,
    crop_pixels,
    fit_pixels,
    level_for,
    resampled,
    sample_positions,
    samples_per_pixel,
    touched_pixels,
)
from g2s_localizer.imagery.sidecar import Sidecar
from g2s_localizer.imagery.source import MissingImagery, UnusableTile

MAX_LOOKED_INTO = 1_000_000_000
"""Pixels that `missing` reads: some seconds."""

SAMPLE_SIDE = 256
"""Pixels a side of the pictures that say whether a raster shows photographs or a drawn map."""

NODATA = "nodata or transparent"


@dataclass(frozen=True, eq=False)
class _Window:
    """The pixels of one level that a crop touches, and where its samples lie in them."""

    level: int
    part: PixelWindow
    u: Float32Array
    v: Float32Array
    pixels: int
    yaw: float


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
        self.name = f"geotiff:{file}"
        self._sidecar = sidecar or Sidecar()
        self._looked_into = 0
        self._photographs: bool | None = None
        self._raster = RasterFile(file)
        self._from_grid = np.linalg.inv(self._raster.grid)
        width, height = self._raster.sizes[0]
        middle = self._raster.grid @ (width / 2.0, height / 2.0, 1.0)
        self._coordinates = Coordinates(
            self._raster.wkt, (float(middle[0]), float(middle[1])), str(file)
        )

    @property
    def attribution(self) -> str:
        return self._sidecar.attribution or self._raster.copyright

    @property
    def offset_m(self) -> tuple[float, float]:
        return self._sidecar.offset_m

    @property
    def georeferencing_sigma_m(self) -> float | None:
        """Return the sidecar's; else, where PROJ lacks the grid that ties the coordinate system
        to WGS 84 best, the accuracy it states for the operation used instead.
        """
        stated = self._sidecar.georeferencing_sigma_m
        return self._coordinates.accuracy_m if stated is None else stated

    def levels(self) -> list[Level]:
        """Return the raster and its overviews."""
        width, height = self._raster.sizes[0]
        ticks = np.linspace(0.0, 1.0, 9)
        border = np.array(
            [(a, b) for a in ticks for b in ticks if {a, b} & {0.0, 1.0}]
            + [(0.5, 0.5), (0.5 + 1.0 / width, 0.5), (0.5, 0.5 + 1.0 / height)]
        )
        pixels = np.column_stack([border * (width, height), np.ones(len(border))])
        east, north, _ = self._raster.grid @ pixels.T
        lat, lon = self._coordinates.to_latlon(east, north)
        middle = LatLon(float(lat[-3]), float(lon[-3]))
        x, y = LocalFrame(middle).to_xy_array(lat[-2:], lon[-2:])
        gsd = math.sqrt(abs(float(x[0] * y[1] - x[1] * y[0])))
        turns = np.remainder(lon - middle.lon + 180.0, 360.0) - 180.0
        west, east_end = (
            wrap_longitude(middle.lon + float(turn)) for turn in (turns.min(), turns.max())
        )
        box = Box(west, float(lat.min()), east_end, float(lat.max()))
        return [
            Level(
                f"overview 1:{round(width / own)}" if index else "raster",
                1,
                gsd * width / own,
                box,
            )
            for index, (own, _) in enumerate(self._raster.sizes)
        ]

    def check(self) -> Iterator[tuple[str, str]]:
        """Read every block of the raster: its name, and what is wrong with it or ""."""
        for name, part in self._raster.parts():
            try:
                yield name, self._fault(part)
            except UnusableTile as error:
                yield name, str(error)

    def _fault(self, part: PixelWindow) -> str:
        if self._raster.absent(0, part).any():
            return "never written, or not covered by a source"
        image, transparent = self._raster.read(0, part)
        if transparent.any():
            return NODATA if transparent.all() else f"{NODATA} in part"
        found = one_colour(image)
        return str(found) if found and self._is_gap(found) else ""

    def crop(self, centre: LatLon, size_m: float, gsd: float, yaw: float = 0.0) -> SatelliteCrop:
        """Return the square of round(size_m / gsd) pixels a side around `centre`, as Imagery has
        it.

        One resampling of the coarsest level (the raster or an overview) that is no coarser
        than asked, or of the finest one; each crop pixel is the mean of as many bilinear
        samples as keeps them no more than SPACING pixels of it apart.

        Raises MissingImagery naming the place that is not covered, ValueError for a size or gsd
        that makes no crop or takes too many samples.
        """
        with self._as_missing(centre):
            window = self._window(centre, size_m, gsd, yaw)
            image = self._pixels(centre, gsd, window)
            crop = resampled(image, window.u, window.v, window.pixels)
        return SatelliteCrop(crop, centre, gsd, self.attribution, yaw)

    def missing(self, centre: LatLon, size_m: float, gsd: float) -> tuple[str, ...]:
        """Name the place, as "lat,lon", of imagery that `crop` would miss.

        The pixels are read; after MAX_LOOKED_INTO of them in all, only what lies outside the
        raster or was never written is found.
        """
        try:
            with self._as_missing(centre):
                outline = self._window(centre, size_m, gsd, most=OUTLINE_SAMPLES)
                pixels = outline.part.width * outline.part.height
                if self._looked_into + pixels <= MAX_LOOKED_INTO:
                    self._looked_into += pixels
                    self._pixels(centre, gsd, self._window(centre, size_m, gsd))
                elif self._raster.absent(outline.level, outline.part).any():
                    self._refuse_absent(centre, gsd, self._window(centre, size_m, gsd))
        except MissingImagery as error:
            return error.tiles
        return ()

    def _pixels(self, centre: LatLon, gsd: float, window: _Window) -> Image:
        """Return the pixels (H, W, 3) of a window all of whose samples are imagery."""
        self._refuse_absent(centre, gsd, window)
        image, transparent = self._raster.read(window.level, window.part)
        if transparent.any():
            reason = NODATA
            if self._raster.has_graded_alpha(window.level, window.part):
                band = self._raster.alpha_band
                reason += (
                    f"; band {band} is taken for alpha: where it is infrared, as in NAIP, say so "
                    f"(gdal_edit.py -colorinterp_{band} undefined)"
                )
            self._refuse(centre, gsd, window, transparent, reason)
        for block in blocks(window.part.width, window.part.height):
            found = one_colour(image[block])
            if found and self._is_gap(found):
                bad = np.zeros(image.shape[:2], bool)
                bad[block] = found.where(image[block])
                self._refuse(centre, gsd, window, bad, str(found))
        return image

    def _is_gap(self, found: OneColour) -> bool:
        """Return whether a colour is no imagery; in a drawn map it is."""
        if found.drawn and self._photographs is None:
            self._photographs = are_photographs(self._samples())
        return not found.drawn or bool(self._photographs)

    def _samples(self) -> Iterator[Image]:
        """Yield some pictures of the raster, spread over it."""
        width, height = self._raster.sizes[0]
        side = min(SAMPLE_SIDE, width, height)
        for u, v in product((1, 3, 5), repeat=2):
            left = max(round(width * u / 6 - side / 2), 0)
            top = max(round(height * v / 6 - side / 2), 0)
            with suppress(UnusableTile):
                yield self._raster.read(0, PixelWindow(left, top, side, side))[0]

    @contextmanager
    def _as_missing(self, centre: LatLon) -> Iterator[None]:
        """Raise MissingImagery, which names the place, for whatever goes wrong with the raster."""
        try:
            yield
        except UnusableTile as error:
            raise MissingImagery(self.name, {_place(centre): str(error)}, "place") from error
        except (MissingImagery, ValueError):
            raise
        except Exception as error:
            # rasterio and PROJ raise classes of many kinds.
            reason = f"cannot be read: {type(error).__name__}: {error}"
            raise MissingImagery(self.name, {_place(centre): reason}, "place") from error

    def _window(
        self, centre: LatLon, size_m: float, gsd: float, yaw: float = 0.0, most: int = MAX_SAMPLES
    ) -> _Window:
        """Find the pixels of a crop. most: samples a side; fewer lie farther apart."""
        pixels = crop_pixels(size_m, gsd)
        side = pixels * gsd
        x, y, lat, lon = control_points(centre, side, self._sidecar.offset_m, yaw)
        east, north = self._coordinates.from_latlon(lat, lon)
        if not (np.isfinite(east).all() and np.isfinite(north).all()):
            reason = "beyond the raster's coordinate system"
            raise MissingImagery(self.name, {_place(centre): reason}, "place")
        column, row, _ = self._from_grid @ np.stack([east, north, np.ones_like(east)])
        fit = fit_pixels(x, y, column, row, side)
        own = 1.0 / math.sqrt(abs(np.linalg.det(fit[1:3])))
        sizes = self._raster.sizes
        shrinks = [math.sqrt(math.prod(sizes[0]) / math.prod(size)) for size in sizes]
        level = level_for([own * shrink for shrink in shrinks], gsd)
        fit *= np.array(sizes[level]) / np.array(sizes[0])
        # The denser axis decides: degrees of longitude are shorter than those of latitude.
        finest = 1.0 / float(np.linalg.norm(fit[1:3], axis=0).max())
        samples = samples_per_pixel(pixels, gsd, finest, f"level {level} of {self.name}")
        count, spacing = pixels * samples, gsd / samples
        if count > most:
            count, spacing = most, spacing * (count - 1) / (most - 1)
        u, v, first_column, first_row = sample_positions(fit, count, spacing)
        part = PixelWindow(first_column, first_row, touched_pixels(u), touched_pixels(v))
        return _Window(level, part, u, v, pixels, yaw)

    def _refuse_absent(self, centre: LatLon, gsd: float, window: _Window) -> None:
        absent = self._raster.absent(window.level, window.part)
        self._refuse(centre, gsd, window, absent, "outside the raster or never written")

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
        along = (columns.mean() - middle) * spacing, (middle - rows.mean()) * spacing
        east, north = rotation(window.yaw) @ along
        place = _place(LocalFrame(centre).to_latlon(float(east), float(north)))
        share = f"{hit.mean():.1%} of the crop, around this place, {reason}"
        raise MissingImagery(self.name, {place: share}, "place")


def _place(place: LatLon) -> str:
    return f"{place.lat:.6f},{place.lon:.6f}"
