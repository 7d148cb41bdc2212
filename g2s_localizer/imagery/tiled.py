# SPDX-License-Identifier: Apache-2.0
"""Crops out of Web-Mercator tiles: mosaic what the crop touches, then resample once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Protocol

import cv2
import numpy as np

from g2s_localizer.geometry.geodesy import TILE_SIZE, LatLon, ground_sample_distance
from g2s_localizer.imagery.crop import SatelliteCrop
from g2s_localizer.imagery.resample import mercator_fit, reach, sample_positions
from g2s_localizer.imagery.source import MissingImagery
from g2s_localizer.imagery.tile import Image, TileCache, UnusableTile, decode_tile

CACHE_BYTES = 64 * 1024 * 1024
"""Decoded tiles kept by default: 340 of 256 pixels."""

COARSER = 1.1
"""A zoom whose pixels are up to this much larger than asked still counts as fine enough."""

SPACING = 1.25
"""Samples lie at most this many tile pixels apart; larger crop pixels average several."""

MOST_SAMPLES = 8192
"""Samples a side that one crop may take."""


class TileStore(Protocol):
    """Encoded Web-Mercator tiles by zoom, column and row (rows from the north)."""

    name: str
    attribution: str
    zooms: tuple[int, ...]

    def tiles(self, zoom: int) -> Iterator[tuple[int, int]]:
        """Column and row of the stored tiles of `zoom`."""

    def read(self, zoom: int, x: int, y: int) -> bytes | None:
        """The encoded tile, None where there is none."""


class TiledImagery:
    """Imagery over a TileStore. Safe to share between threads.

    store        where the encoded tiles come from: 256 or 512 pixels a side, PNG, JPEG or WebP
    cache_bytes  bound of the decoded tiles kept, the least recently used leaving first

    Raises ValueError when the store holds no tile that can be decoded.
    """

    def __init__(self, store: TileStore, cache_bytes: int = CACHE_BYTES) -> None:
        self._store = store
        self._cache = TileCache(cache_bytes)
        self._tile_sizes = {
            zoom: size for zoom in store.zooms if (size := _tile_size(store, zoom)) is not None
        }
        if not self._tile_sizes:
            raise ValueError(f"{store.name} holds no tile that can be decoded")

    @property
    def attribution(self) -> str:
        return self._store.attribution

    def crop(self, centre: LatLon, size_m: float, gsd: float) -> SatelliteCrop:
        """The north-up square of round(size_m / gsd) pixels a side around `centre`.

        One resampling: each crop pixel is the mean of n x n bilinear samples of the tiles,
        n the least number that puts them no more than SPACING tile pixels apart (1 unless the
        store is finer than asked). Tiles are those of the coarsest stored zoom that is no
        coarser than asked, or of the finest one.

        Raises MissingImagery naming the tiles that the store lacks or cannot decode, and
        ValueError for a size or gsd that makes no crop, or for one of too many tiles.
        """
        if not (math.isfinite(size_m) and math.isfinite(gsd) and gsd > 0 and size_m / gsd >= 1):
            raise ValueError(
                f"a crop needs a positive gsd and at least one pixel, got {size_m} m at {gsd} m/px"
            )
        pixels = round(size_m / gsd)
        zoom = self._zoom_for(centre.lat, gsd)
        samples = math.ceil(gsd / self._tile_gsd(centre.lat, zoom) / SPACING)
        if pixels * samples > MOST_SAMPLES:
            raise ValueError(
                f"a crop of {size_m} m at {gsd} m/px takes {pixels * samples} samples a side "
                f"of zoom {zoom} in {self._store.name}; the limit is {MOST_SAMPLES}"
            )
        fit = mercator_fit(centre, pixels * gsd, zoom) * (self._tile_sizes[zoom] / TILE_SIZE)
        u, v, column, row = sample_positions(fit, pixels * samples, gsd / samples)
        mosaic = self._mosaic(zoom, column, row, reach(u), reach(v))
        image = cv2.remap(mosaic, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        if samples > 1:
            image = cv2.resize(image, (pixels, pixels), interpolation=cv2.INTER_AREA)
        return SatelliteCrop(np.asarray(image, np.uint8), centre, gsd, self.attribution)

    def _zoom_for(self, lat: float, gsd: float) -> int:
        fine_enough = [z for z in self._tile_sizes if self._tile_gsd(lat, z) <= gsd * COARSER]
        candidates = fine_enough or list(self._tile_sizes)
        pick = max if fine_enough else min
        return pick(candidates, key=lambda zoom: self._tile_gsd(lat, zoom))

    def _tile_gsd(self, lat: float, zoom: int) -> float:
        """Metres per pixel of the stored tiles of `zoom`."""
        return ground_sample_distance(lat, zoom) * TILE_SIZE / self._tile_sizes[zoom]

    def _mosaic(self, zoom: int, column: int, row: int, width: int, height: int) -> Image:
        """The window (height, width, 3) whose first pixel is (column, row) of the world at `zoom`.

        Columns wrap around at the antimeridian.
        """
        size = self._tile_sizes[zoom]
        columns = range(column // size, (column + width - 1) // size + 1)
        rows = range(row // size, (row + height - 1) // size + 1)
        mosaic = np.empty((height, width, 3), np.uint8)
        reasons: dict[str, str] = {}
        for y in rows:
            for x in columns:
                try:
                    tile = self._tile(zoom, x % (1 << zoom), y)
                except UnusableTile as error:
                    reasons[f"{zoom}/{x % (1 << zoom)}/{y}"] = str(error)
                    continue
                left, top = x * size - column, y * size - row
                u0, v0 = max(left, 0), max(top, 0)
                u1, v1 = min(left + size, width), min(top + size, height)
                mosaic[v0:v1, u0:u1] = tile[v0 - top : v1 - top, u0 - left : u1 - left]
        if reasons:
            raise MissingImagery(self._store.name, reasons)
        return mosaic

    def _tile(self, zoom: int, x: int, y: int) -> Image:
        tile = self._cache.get((zoom, x, y))
        if tile is None:
            encoded = self._store.read(zoom, x, y)
            if encoded is None:
                raise UnusableTile("not in the store")
            tile = decode_tile(encoded)
            size = self._tile_sizes[zoom]
            if tile.shape[:2] != (size, size):
                raise UnusableTile(
                    f"{tile.shape[1]} x {tile.shape[0]} pixels where others have {size} x {size}"
                )
            self._cache.put((zoom, x, y), tile)
        return tile


def _tile_size(store: TileStore, zoom: int) -> int | None:
    """Pixels a side of the first square tile of `zoom` that can be decoded."""
    for x, y in store.tiles(zoom):
        try:
            height, width = decode_tile(store.read(zoom, x, y) or b"").shape[:2]
        except UnusableTile:
            continue
        if height == width:
            return height
    return None
