# SPDX-License-Identifier: Apache-2.0
"""Crops out of Web-Mercator tiles: mosaic what the crop touches, then resample once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from g2s_localizer.geometry.geodesy import TILE_SIZE, LatLon, ground_sample_distance
from g2s_localizer.imagery.crop import SatelliteCrop
from g2s_localizer.imagery.level import Level, columns_in_order, tile_box
from g2s_localizer.imagery.picture import Image
from g2s_localizer.imagery.resample import (
    MOST_SAMPLES,
    OUTLINE_SAMPLES,
    Float32Array,
    crop_pixels,
    level_for,
    mercator_fit,
    reach,
    resampled,
    sample_positions,
    samples_per_pixel,
)
from g2s_localizer.imagery.sidecar import Sidecar
from g2s_localizer.imagery.source import MissingImagery
from g2s_localizer.imagery.tile import TileCache, UnusableTile, decode_tile

CACHE_BYTES = 64 * 1024 * 1024
"""Decoded tiles kept by default: 340 of 256 pixels."""

TILES_TRIED = 16
"""Tiles of a zoom that are tried for one which can be decoded, when a store is opened."""


class TileStore(Protocol):
    """Encoded Web-Mercator tiles by zoom, column and row (rows from the north)."""

    name: str
    attribution: str
    zooms: tuple[int, ...]

    def tiles(self, zoom: int) -> Iterator[tuple[int, int]]:
        """Column and row of the stored tiles of `zoom`; the first come without listing all."""

    def has(self, zoom: int, x: int, y: int) -> bool:
        """Whether the tile is there, without reading it."""

    def read(self, zoom: int, x: int, y: int) -> bytes | None:
        """The encoded tile, None where there is none."""


@dataclass(frozen=True)
class _Window:
    """The pixels of one zoom that a crop touches, and where its samples lie in them."""

    zoom: int
    column: int
    row: int
    width: int
    height: int
    u: Float32Array
    v: Float32Array


class TiledImagery:
    """Imagery over a TileStore. Safe to share between threads.

    store        where the encoded tiles come from: 256 or 512 pixels a side, PNG, JPEG or WebP
    sidecar      offset, sigma and rights of the store
    cache_bytes  bound of the decoded tiles kept, the least recently used leaving first

    Raises ValueError when the store holds no tile that can be decoded.
    """

    def __init__(
        self, store: TileStore, sidecar: Sidecar | None = None, cache_bytes: int = CACHE_BYTES
    ) -> None:
        self._store = store
        self._sidecar = sidecar or Sidecar()
        self._cache = TileCache(cache_bytes)
        sizes = {zoom: _tile_size(store, zoom) for zoom in store.zooms}
        self._tile_sizes = {zoom: size for zoom, size in sizes.items() if size is not None}
        if not self._tile_sizes:
            raise ValueError(f"{store.name} holds no tile that can be decoded")

    @property
    def attribution(self) -> str:
        return self._sidecar.attribution or self._store.attribution

    @property
    def offset_m(self) -> tuple[float, float]:
        return self._sidecar.offset_m

    @property
    def georeferencing_sigma_m(self) -> float | None:
        return self._sidecar.georeferencing_sigma_m

    @property
    def store(self) -> TileStore:
        return self._store

    @property
    def zooms(self) -> tuple[int, ...]:
        """Those that have a tile which can be decoded."""
        return tuple(self._tile_sizes)

    def levels(self) -> list[Level]:
        """The zooms, one by one."""
        return [self._level(zoom) for zoom in self.zooms]

    def _level(self, zoom: int) -> Level:
        count, columns, rows = 0, set(), set()
        for x, y in self._store.tiles(zoom):
            count += 1
            columns.add(x)
            rows.add(y)
        across = columns_in_order(columns, 1 << zoom)
        box = tile_box(zoom, (across[0], across[-1]), (min(rows), max(rows)))
        gsd = self._tile_gsd((box.south + box.north) / 2.0, zoom)
        return Level(f"zoom {zoom}", count, gsd, box)

    def check(self) -> Iterator[tuple[str, str]]:
        """Decode every stored tile: its name ("z/x/y"), and what is wrong with it or ""."""
        for zoom in self._store.zooms:
            for x, y in self._store.tiles(zoom):
                yield f"{zoom}/{x}/{y}", self._fault(zoom, x, y)

    def _fault(self, zoom: int, x: int, y: int) -> str:
        try:
            self._decoded(zoom, x, y)
        except UnusableTile as error:
            return str(error)
        return ""

    def crop(self, centre: LatLon, size_m: float, gsd: float) -> SatelliteCrop:
        """The north-up square of round(size_m / gsd) pixels a side around `centre`.

        One resampling: each crop pixel is the mean of n x n bilinear samples of the tiles,
        n the least number that puts them no more than SPACING tile pixels apart (1 unless the
        store is finer than asked). Tiles are those of the coarsest stored zoom that is no
        coarser than asked, or of the finest one.

        Raises MissingImagery naming the tiles that the store lacks or cannot decode, and
        ValueError for a size or gsd that makes no crop, or for one of too many tiles.
        """
        window = self._window(centre, size_m, gsd)
        image = resampled(self._mosaic(window), window.u, window.v, crop_pixels(size_m, gsd))
        return SatelliteCrop(image, centre, gsd, self.attribution)

    def missing(self, centre: LatLon, size_m: float, gsd: float) -> tuple[str, ...]:
        """The tiles ("z/x/y") that `crop` of the same arguments would not find in the store."""
        window = self._window(centre, size_m, gsd, most=OUTLINE_SAMPLES)
        return tuple(
            f"{window.zoom}/{x % (1 << window.zoom)}/{y}"
            for x, y in self._tiles_of(window)
            if not self._store.has(window.zoom, x % (1 << window.zoom), y)
        )

    def _window(
        self, centre: LatLon, size_m: float, gsd: float, most: int = MOST_SAMPLES
    ) -> _Window:
        """most: samples a side; fewer than the crop has lie farther apart within its outline."""
        pixels = crop_pixels(size_m, gsd)
        zooms = list(self._tile_sizes)
        gsds = [self._tile_gsd(centre.lat, zoom) for zoom in zooms]
        level = level_for(gsds, gsd)
        zoom = zooms[level]
        samples = samples_per_pixel(pixels, gsd, gsds[level], f"zoom {zoom} in {self._store.name}")
        fit = mercator_fit(centre, pixels * gsd, zoom, self._sidecar.offset_m)
        fit *= self._tile_sizes[zoom] / TILE_SIZE
        count, spacing = pixels * samples, gsd / samples
        if count > most:
            count, spacing = most, spacing * (count - 1) / (most - 1)
        u, v, column, row = sample_positions(fit, count, spacing)
        return _Window(zoom, column, row, reach(u), reach(v), u, v)

    def _tile_gsd(self, lat: float, zoom: int) -> float:
        """Metres per pixel of the stored tiles of `zoom`."""
        return ground_sample_distance(lat, zoom) * TILE_SIZE / self._tile_sizes[zoom]

    def _tiles_of(self, window: _Window) -> Iterator[tuple[int, int]]:
        """Column and row of the tiles of a window; columns go on beyond the antimeridian."""
        size = self._tile_sizes[window.zoom]
        for y in range(window.row // size, (window.row + window.height - 1) // size + 1):
            last = (window.column + window.width - 1) // size
            for x in range(window.column // size, last + 1):
                yield x, y

    def _mosaic(self, window: _Window) -> Image:
        """The pixels (height, width, 3) of the window, columns wrapped at the antimeridian."""
        zoom, size = window.zoom, self._tile_sizes[window.zoom]
        width, height = window.width, window.height
        mosaic = np.empty((height, width, 3), np.uint8)
        reasons: dict[str, str] = {}
        for x, y in self._tiles_of(window):
            try:
                tile = self._tile(zoom, x % (1 << zoom), y)
            except UnusableTile as error:
                reasons[f"{zoom}/{x % (1 << zoom)}/{y}"] = str(error)
                continue
            left, top = x * size - window.column, y * size - window.row
            u0, v0 = max(left, 0), max(top, 0)
            u1, v1 = min(left + size, width), min(top + size, height)
            mosaic[v0:v1, u0:u1] = tile[v0 - top : v1 - top, u0 - left : u1 - left]
        if reasons:
            raise MissingImagery(self._store.name, reasons)
        return mosaic

    def _tile(self, zoom: int, x: int, y: int) -> Image:
        tile = self._cache.get((zoom, x, y))
        if tile is None:
            tile = self._decoded(zoom, x, y)
            self._cache.put((zoom, x, y), tile)
        return tile

    def _decoded(self, zoom: int, x: int, y: int) -> Image:
        encoded = self._store.read(zoom, x, y)
        if encoded is None:
            raise UnusableTile("not in the store")
        tile = decode_tile(encoded)
        height, width = tile.shape[:2]
        size = self._tile_sizes.get(zoom, width)
        if (height, width) != (size, size):
            raise UnusableTile(f"{width} x {height} pixels where others have {size} x {size}")
        return tile


def _tile_size(store: TileStore, zoom: int) -> int | None:
    """Pixels a side of the first square tile of `zoom` that can be decoded."""
    tiles = store.tiles(zoom)
    for _ in range(TILES_TRIED):
        try:
            x, y = next(tiles)
            height, width = decode_tile(store.read(zoom, x, y) or b"").shape[:2]
        except StopIteration:
            return None
        except UnusableTile:
            continue
        if height == width:
            return height
    return None
