# SPDX-License-Identifier: Apache-2.0
"""Crops out of Web-Mercator tiles: mosaic what the crop touches, then resample once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from g2s_localizer.geometry.geodesy import TILE_SIZE, LatLon, ground_sample_distance
from g2s_localizer.imagery.crop import SatelliteCrop
from g2s_localizer.imagery.level import Level, tiles_extent
from g2s_localizer.imagery.resample import (
    MAX_SAMPLES,
    OUTLINE_SAMPLES,
    Float32Array,
    crop_pixels,
    level_for,
    mercator_fit,
    resampled,
    sample_positions,
    samples_per_pixel,
    touched_pixels,
)
from g2s_localizer.imagery.sidecar import Sidecar
from g2s_localizer.imagery.source import UnusableTile
from g2s_localizer.imagery.tiles.mosaic import TileMosaic, TileWindow
from g2s_localizer.imagery.tiles.tile import TileCache
from g2s_localizer.imagery.tiles.whereabouts import TileStore

CACHE_BYTES = 64 * 1024 * 1024
"""Decoded tiles kept by default: 340 of 256 pixels."""


@dataclass(frozen=True)
class _Window(TileWindow):
    """The pixels of one zoom that a crop touches, and where its samples lie in them."""

    u: Float32Array
    v: Float32Array


class TiledImagery:
    """Imagery over a TileStore. Safe to share between threads.

    store        where the encoded tiles come from: 256 or 512 pixels a side, PNG, JPEG or WebP
    sidecar      offset, sigma and rights of the store, and whether it is a rendered map
    cache_bytes  bound of the decoded tiles kept, the least recently used leaving first

    Raises ValueError when the store holds no tile that can be decoded.
    """

    def __init__(
        self, store: TileStore, sidecar: Sidecar | None = None, cache_bytes: int = CACHE_BYTES
    ) -> None:
        self._store = store
        self._sidecar = sidecar or Sidecar()
        self._cache = TileCache(cache_bytes)
        self._mosaic = TileMosaic(store, self._cache, self._sidecar.rendered)

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
        """Return the zooms that have a tile which can be decoded."""
        return tuple(self._mosaic.sizes)

    def levels(self) -> list[Level]:
        """Return the zooms. Raises UnusableTile, a ValueError, when they cannot be listed."""
        return [self._level(zoom) for zoom in self.zooms]

    def _level(self, zoom: int) -> Level:
        count, box = tiles_extent(self._store.tiles(zoom), zoom)
        gsd = self._tile_gsd((box.south + box.north) / 2.0, zoom)
        return Level(f"zoom {zoom}", count, gsd, box)

    def check(self) -> Iterator[tuple[str, str]]:
        """Decode every stored tile: its name ("z/x/y"), and what is wrong with it or ""."""
        for zoom in self._store.zooms:
            try:
                for x, y in self._store.tiles(zoom):
                    yield f"{zoom}/{x}/{y}", self._mosaic.fault(zoom, x, y)
            except UnusableTile as error:
                yield f"zoom {zoom}", str(error)

    def crop(self, centre: LatLon, size_m: float, gsd: float, yaw: float = 0.0) -> SatelliteCrop:
        """Return the square of round(size_m / gsd) pixels a side around `centre`, as Imagery has
        it.

        One resampling: each crop pixel is the mean of n x n bilinear samples of the tiles,
        n the least number that puts them no more than SPACING tile pixels apart (1 unless the
        store is finer than asked). Tiles are those of the coarsest stored zoom that is no
        coarser than asked, or of the finest one.

        Raises MissingImagery naming the tiles that the store lacks or cannot decode, and
        ValueError for a size or gsd that makes no crop, or for one of too many tiles.
        """
        window = self._window(centre, size_m, gsd, yaw)
        pixels = self._mosaic.pixels(window)
        image = resampled(pixels, window.u, window.v, crop_pixels(size_m, gsd))
        return SatelliteCrop(image, centre, gsd, self.attribution, yaw)

    def missing(self, centre: LatLon, size_m: float, gsd: float) -> tuple[str, ...]:
        """Return the tiles ("z/x/y") that `crop` of the same arguments would lack.

        Each tile is read once, then remembered; after MAX_LOOKED_INTO tiles only its name is
        looked up.
        """
        return self._mosaic.missing(self._window(centre, size_m, gsd, most=OUTLINE_SAMPLES))

    def _window(
        self, centre: LatLon, size_m: float, gsd: float, yaw: float = 0.0, most: int = MAX_SAMPLES
    ) -> _Window:
        """Find the pixels of a crop. most: samples a side; fewer lie farther apart."""
        pixels = crop_pixels(size_m, gsd)
        zooms = list(self.zooms)
        gsds = [self._tile_gsd(centre.lat, zoom) for zoom in zooms]
        level = level_for(gsds, gsd)
        zoom = zooms[level]
        samples = samples_per_pixel(pixels, gsd, gsds[level], f"zoom {zoom} in {self._store.name}")
        fit = mercator_fit(centre, pixels * gsd, zoom, self._sidecar.offset_m, yaw)
        fit *= self._mosaic.sizes[zoom] / TILE_SIZE
        count, spacing = pixels * samples, gsd / samples
        if count > most:
            count, spacing = most, spacing * (count - 1) / (most - 1)
        u, v, column, row = sample_positions(fit, count, spacing)
        return _Window(zoom, column, row, touched_pixels(u), touched_pixels(v), u, v)

    def _tile_gsd(self, lat: float, zoom: int) -> float:
        """Return metres per pixel of the stored tiles of `zoom`."""
        return ground_sample_distance(lat, zoom) * TILE_SIZE / self._mosaic.sizes[zoom]
