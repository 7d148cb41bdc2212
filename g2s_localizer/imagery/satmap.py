# SPDX-License-Identifier: Apache-2.0
"""One satellite image around each frame of KITTI's raw drives, as cross-view papers lay it out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from g2s_localizer.geometry.geodesy import (
    TILE_SIZE,
    LatLon,
    ground_sample_distance,
    mercator_latlon,
    mercator_pixel,
    wrap_longitude,
)
from g2s_localizer.imagery.blank import OneColour, are_photographs, one_colour
from g2s_localizer.imagery.crop import SatelliteCrop
from g2s_localizer.imagery.level import Box, Level
from g2s_localizer.imagery.local_file import UnreadableFile, read_file
from g2s_localizer.imagery.picture import Image
from g2s_localizer.imagery.resample import (
    Float32Array,
    crop_pixels,
    mercator_fit,
    resampled,
    sample_positions,
    samples_per_pixel,
    touched_pixels,
    wrapped,
)
from g2s_localizer.imagery.sidecar import Sidecar
from g2s_localizer.imagery.source import MissingImagery, UnusableTile
from g2s_localizer.imagery.tiles.tile import (
    MAX_TILE_BYTES,
    Tile,
    TileCache,
    decode_tile,
    refuse_transparent,
)

FloatArray = NDArray[np.float64]

SIDE = 1280
"""Pixels a side of an image."""

ZOOM = 19
"""Zoom whose Web-Mercator pixels the images have: zoom 18 at scale 2."""

MAX_IMAGES_JUDGED = 5
"""Images that say whether they are photographs or drawn maps."""

MAX_RECORD_BYTES = 10_000
"""An OXTS record is one line."""

CACHE_BYTES = 64 * 1024 * 1024
"""Decoded images kept by default: 13."""

_NUMBER = re.compile(rb"[-+.\deE]+")


class SatmapImagery:
    """Imagery over DIR/{date}/{drive}/{frame}.png. Safe to share between threads.

    Each image is 1280 x 1280 Web-Mercator pixels of zoom 19, its middle at the place of the
    frame's OXTS record, {date}/{drive}/oxts/data/{frame}.txt, where the dates lie beside DIR or
    in a folder raw_data beside it. A crop comes out of one image: that of the nearest frame
    whose image covers it. Opening lists all images and reads their records.

    Raises FileNotFoundError for an absent folder or record, ValueError for a record that is
    none or a folder without a single image.
    """

    def __init__(self, folder: Path, sidecar: Sidecar | None = None) -> None:
        if not folder.is_dir():
            raise FileNotFoundError(f"no such folder of satellite images: {folder}")
        self.name = f"satmap:{folder}"
        self._sidecar = sidecar or Sidecar()
        self._cache = TileCache(CACHE_BYTES)
        self._photographs: bool | None = None
        self._real = folder.resolve()
        # macOS leaves files with names like ._0000000000.png on foreign disks.
        self._files = sorted(
            file for file in folder.glob("*/*/*.png") if not file.name.startswith(".")
        )
        if not self._files:
            raise ValueError(f"{folder} holds no image {{date}}/{{drive}}/{{frame}}.png")
        places = np.array(list(_places(folder, self._files)))
        # The first pixel of each image, in the world's pixels.
        self._corners = np.stack(mercator_pixel(places[:, 0], places[:, 1], ZOOM), 1) - SIDE / 2.0

    @property
    def attribution(self) -> str:
        return self._sidecar.attribution

    @property
    def offset_m(self) -> tuple[float, float]:
        return self._sidecar.offset_m

    @property
    def georeferencing_sigma_m(self) -> float | None:
        return self._sidecar.georeferencing_sigma_m

    def levels(self) -> list[Level]:
        """Return the one resolution of the images."""
        corners = np.concatenate([self._corners, self._corners + SIDE])
        lat, lon = mercator_latlon(corners[:, 0], corners[:, 1], ZOOM)
        box = Box(float(lon.min()), float(lat.min()), float(lon.max()), float(lat.max()))
        gsd = ground_sample_distance((box.south + box.north) / 2.0, ZOOM)
        return [Level("images", len(self._files), gsd, box)]

    def check(self) -> Iterator[tuple[str, str]]:
        """Decode every image: the frame that it belongs to, and what is wrong with it or ""."""
        for index in range(len(self._files)):
            try:
                yield self._frame(index), self._gap(self._image(index))
            except UnusableTile as error:
                yield self._frame(index), str(error)

    def crop(self, centre: LatLon, size_m: float, gsd: float, yaw: float = 0.0) -> SatelliteCrop:
        """Return the square of round(size_m / gsd) pixels a side around `centre`, as Imagery has
        it.

        Raises MissingImagery where no image covers it or the nearest one cannot be decoded,
        ValueError for a size or gsd that makes no crop.
        """
        window, u, v = self._window(centre, size_m, gsd, yaw)
        crop = resampled(window, u, v, crop_pixels(size_m, gsd))
        return SatelliteCrop(crop, centre, gsd, self.attribution, yaw)

    def missing(self, centre: LatLon, size_m: float, gsd: float) -> tuple[str, ...]:
        """Return the place, as "lat,lon", where no image covers the crop, or the image that cannot
        serve; that image is decoded.
        """
        try:
            self._window(centre, size_m, gsd)
        except MissingImagery as error:
            return error.tiles
        return ()

    def _window(
        self, centre: LatLon, size_m: float, gsd: float, yaw: float = 0.0
    ) -> tuple[Image, Float32Array, Float32Array]:
        """Return the pixels (H, W, 3) that a crop touches, and where its samples lie in them."""
        index, fit = self._nearest(centre, size_m, gsd, yaw)
        pixels = crop_pixels(size_m, gsd)
        own = ground_sample_distance(centre.lat, ZOOM)
        samples = samples_per_pixel(pixels, gsd, own, f"an image of {self.name}")
        u, v, column, row = sample_positions(fit, pixels * samples, gsd / samples)
        touched = np.s_[row : row + touched_pixels(v), column : column + touched_pixels(u)]
        try:
            tile = self._image(index)
            refuse_transparent(tile, touched)
            found = one_colour(tile.image[touched])
            if found and self._is_gap(found):
                raise UnusableTile(f"{found.share:.1%} of what is needed of it {found}")
        except UnusableTile as error:
            raise MissingImagery(self.name, {self._frame(index): str(error)}, "image") from error
        return tile.image[touched], u, v

    def _nearest(
        self, centre: LatLon, size_m: float, gsd: float, yaw: float
    ) -> tuple[int, FloatArray]:
        """Return the image for a crop, and the crop's fit to its pixels."""
        side = crop_pixels(size_m, gsd) * gsd
        fit = mercator_fit(centre, side, ZOOM, self._sidecar.offset_m, yaw)
        world = TILE_SIZE * 2.0**ZOOM
        corners = self._corners.copy()
        corners[:, 0] = wrapped(corners[:, 0], fit[0, 0], world)
        u, v, column, row = sample_positions(fit, 2, side)
        # The samples lie within the crop's corners; half a pixel is left for interpolation.
        low = np.array([column + u.min(), row + v.min()]) - corners
        high = np.array([column + u.max(), row + v.max()]) - corners
        covers = ((low >= 1.0) & (high <= SIDE - 2.0)).all(axis=1)
        if not covers.any():
            place = f"{centre.lat:.6f},{centre.lon:.6f}"
            raise MissingImagery(self.name, {place: "no frame's image covers it"}, "place")
        distance = np.linalg.norm(corners + SIDE / 2.0 - fit[0], axis=1)
        index = int(np.argmin(np.where(covers, distance, np.inf)))
        fit[0] -= corners[index]
        return index, fit

    def _gap(self, tile: Tile) -> str:
        """Say which part of an image is no imagery; "" where all of it is."""
        if tile.transparent is not None:
            return "transparent" if tile.transparent.all() else "transparent in part"
        return str(tile.colour) if tile.colour and self._is_gap(tile.colour) else ""

    def _is_gap(self, found: OneColour) -> bool:
        """Return whether a colour is no imagery; among drawn maps it is."""
        if found.drawn and self._photographs is None:
            self._photographs = are_photographs(self._some_images())
        return not found.drawn or bool(self._photographs)

    def _some_images(self) -> Iterator[Image]:
        for index in np.linspace(0, len(self._files) - 1, MAX_IMAGES_JUDGED).astype(int).tolist():
            with suppress(UnusableTile):
                yield self._image(index).image

    def _image(self, index: int) -> Tile:
        tile = self._cache.get((ZOOM, index, 0))
        if tile is None:
            try:
                content = read_file(self._files[index], MAX_TILE_BYTES, folder=self._real)
            except (OSError, UnreadableFile) as error:
                raise UnusableTile(str(error)) from error
            tile = decode_tile(content)
            height, width = tile.image.shape[:2]
            if (height, width) != (SIDE, SIDE):
                raise UnusableTile(f"{width} x {height} pixels, not {SIDE} x {SIDE}")
            self._cache.put((ZOOM, index, 0), tile)
        return tile

    def _frame(self, index: int) -> str:
        return "/".join(self._files[index].parts[-3:])


def _places(folder: Path, files: list[Path]) -> Iterator[tuple[float, float]]:
    """Yield the latitude and longitude of the OXTS record of each image."""
    beside = folder.resolve().parent
    for file in files:
        record = Path(*file.parts[-3:-1]) / "oxts" / "data" / f"{file.stem}.txt"
        found = beside / record
        if not found.is_file():
            found = beside / "raw_data" / record
        if not found.is_file():
            raise FileNotFoundError(f"{file} has no OXTS record {record} in {beside}")
        try:
            words = read_file(found, MAX_RECORD_BYTES).split()[:2]
            if not all(map(_NUMBER.fullmatch, words)):
                # They are not repeated: the file may be a link to something that is no record.
                raise ValueError("it does not begin with two numbers")
            lat, lon = (float(word) for word in words)
            place = LatLon(lat, lon)
        except UnreadableFile as error:
            raise ValueError(f"{found}: {error}") from error
        except ValueError as error:
            raise ValueError(f"{found} is no OXTS record: {error}") from error
        yield place.lat, wrap_longitude(place.lon)
