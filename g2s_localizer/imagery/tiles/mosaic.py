# SPDX-License-Identifier: Apache-2.0
"""The pixels of a store of tiles, and what is missing among them: one law for all stores."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

import numpy as np

from g2s_localizer.imagery.blank import (
    MAX_FLAT_SHARE,
    OneColour,
    Slices,
    are_photographs,
    blocks,
    flat_share,
    one_colour,
)
from g2s_localizer.imagery.picture import Image
from g2s_localizer.imagery.source import MissingImagery, UnusableTile
from g2s_localizer.imagery.tiles.tile import Tile, TileCache, decode_tile, refuse_transparent
from g2s_localizer.imagery.tiles.whereabouts import TileStore, Whereabouts

MAX_TILES_TRIED = 16
"""Tiles of a zoom that are tried for one which can be decoded, when a store is opened."""

OPEN_S = 20.0
"""After this long no further zoom of a store is tried, nor a further tile of one."""

MAX_TILES_JUDGED = 16
"""Tiles of a zoom that say whether it shows photographs or a drawn map."""

WHOLE = 0.95
"""Share of a tile's pixels of one colour with which the tile is a placeholder."""

MAX_LOOKED_INTO = 4096
"""Tiles that `missing` decodes: some seconds; of others it knows whether they are there."""

ABSENT = "not in the store"


@dataclass(frozen=True)
class TileWindow:
    """A rectangle of the pixels of a zoom; columns may go on beyond the antimeridian."""

    zoom: int
    column: int
    row: int
    width: int
    height: int


@dataclass(frozen=True)
class _Known:
    """Memory of a tile that was looked into.

    fault     why it cannot serve at all, "" where it can
    has_gaps  some of it is transparent or of one colour
    flat      share (0..1) of its pixels that are like their neighbours
    """

    fault: str
    has_gaps: bool
    flat: float


class TileMosaic:
    """The tiles of a store put together. Safe to share between threads.

    rendered  as in Sidecar
    sizes     pixels a side of the tiles, for each zoom that has a square one which can be decoded

    Whatever goes wrong with a tile is a reason in MissingImagery. Raises ValueError when the
    store holds no tile that can be decoded.
    """

    def __init__(self, store: TileStore, cache: TileCache, rendered: bool = False) -> None:
        self._store = store
        self._rendered = rendered
        self._cache = cache
        self._known: dict[tuple[int, int, int], _Known] = {}
        self._whereabouts = Whereabouts(store)
        self._photographs: dict[int, bool] = {}
        self.sizes: dict[int, int] = {}
        faults: list[str] = []
        ends = time.monotonic() + OPEN_S
        for zoom in store.zooms:
            if time.monotonic() > ends:
                raise ValueError(
                    f"{store.name} takes longer than {OPEN_S:g} s to open: {faults[0]}"
                )
            size = self._size_of(zoom, faults)
            if size is not None:
                self.sizes[zoom] = size
        if not self.sizes:
            first = f": {faults[0]}" if faults else ""
            raise ValueError(f"{store.name} holds no tile that can be decoded{first}")

    def _size_of(self, zoom: int, faults: list[str]) -> int | None:
        """Return pixels a side of the first square tile of `zoom` that can be decoded."""
        tiles = self._store.tiles(zoom)
        try:
            ends = time.monotonic() + OPEN_S
            for x, y in islice(tiles, MAX_TILES_TRIED):
                if time.monotonic() > ends:
                    break
                try:
                    height, width = self._decoded(zoom, x, y).image.shape[:2]
                except UnusableTile as error:
                    faults.append(f"{zoom}/{x}/{y}: {error}")
                    continue
                if height == width:
                    return height
                faults.append(f"{zoom}/{x}/{y}: {width} x {height} pixels, not square")
        except UnusableTile as error:
            faults.append(f"zoom {zoom}: {error}")
        return None

    def pixels(self, window: TileWindow) -> Image:
        """Return the pixels (height, width, 3) of the window, columns wrapped at the antimeridian.

        Raises MissingImagery naming the tiles that are absent, damaged, transparent within the
        window, or much of one colour there.
        """
        mosaic = np.empty((window.height, window.width, 3), np.uint8)
        reasons: dict[str, str] = {}
        for x, y in self._tiles_of(window):
            inside, place = self._overlap(window, x, y)
            try:
                tile = self._tile(window.zoom, x, y)
                self._refuse_gaps(window.zoom, tile, inside)
            except UnusableTile as error:
                reasons[_name(window.zoom, x, y)] = str(error)
                continue
            mosaic[place] = tile.image[inside]
        if reasons:
            raise MissingImagery(self._store.name, reasons, hint=self._hint(window, reasons))
        for block, place in _blocks(window):
            reasons |= self._one_coloured(block, mosaic[place])
        if reasons:
            raise MissingImagery(self._store.name, reasons)
        return mosaic

    def missing(self, window: TileWindow) -> tuple[str, ...]:
        """Return the tiles that `pixels` would name, as far as tiles are still looked into."""
        zoom, names, flat = window.zoom, list[str](), dict[tuple[int, int], float]()
        for x, y in self._tiles_of(window):
            known = self._look(zoom, x % (1 << zoom), y)
            try:
                if known is None or known.fault:
                    raise UnusableTile("")
                if known.has_gaps:
                    inside, _ = self._overlap(window, x, y)
                    self._refuse_gaps(zoom, self._tile(zoom, x, y), inside)
                flat[x, y] = known.flat * self.sizes[zoom] ** 2
            except UnusableTile:
                if known or not self._store.has(zoom, x % (1 << zoom), y):
                    names.append(_name(zoom, x, y))
        for block, _ in () if names else _blocks(window):
            # Only where there are flat pixels enough is it worth to put the tiles together.
            pixels = sum(flat.get(tile, 0.0) for tile in self._tiles_of(block))
            if pixels < MAX_FLAT_SHARE / 2.0 * block.width * block.height:
                continue
            try:
                self.pixels(block)
            except MissingImagery as error:
                names += [name for name in error.tiles if name not in names]
        return tuple(names)

    def fault(self, zoom: int, x: int, y: int) -> str:
        """Say what is wrong with a tile; "" where nothing is."""
        try:
            tile = self._decoded(zoom, x, y)
        except UnusableTile as error:
            return str(error)
        if tile.transparent is not None:
            return "transparent" if tile.transparent.all() else "transparent in part"
        return str(tile.colour) if tile.colour and self._is_gap(tile.colour, zoom) else ""

    def _look(self, zoom: int, x: int, y: int) -> _Known | None:
        """Look into a tile, if nobody has yet; None after MAX_LOOKED_INTO of them."""
        known = self._known.get((zoom, x, y))
        if known is None and len(self._known) < MAX_LOOKED_INTO:
            try:
                tile = self._tile(zoom, x, y)
            except UnusableTile as error:
                known = _Known(str(error), False, 0.0)
            else:
                has_gaps = tile.transparent is not None or tile.colour is not None
                known = _Known("", has_gaps, flat_share(tile.image))
            self._known[zoom, x, y] = known
        return known

    def _refuse_gaps(self, zoom: int, tile: Tile, part: Slices) -> None:
        """Raise UnusableTile when some of a part is transparent, or all of the tile one colour."""
        refuse_transparent(tile, part)
        found = tile.colour
        if found and found.share >= WHOLE and self._is_gap(found, zoom):
            raise UnusableTile(f"{found.share:.1%} of it {found}")

    def _one_coloured(self, window: TileWindow, pixels: Image) -> dict[str, str]:
        """Return the tiles with a large share of the colour that much of a window has."""
        found = one_colour(pixels)
        if found is None or not self._is_gap(found, window.zoom):
            return {}
        of_it = found.where(pixels)
        shares = {
            _name(window.zoom, x, y): float(of_it[self._overlap(window, x, y)[1]].mean())
            for x, y in self._tiles_of(window)
        }
        return {
            name: f"{share:.1%} of what is needed of it {found}"
            for name, share in shares.items()
            if share >= MAX_FLAT_SHARE
        }

    def _is_gap(self, found: OneColour, zoom: int) -> bool:
        """Return whether a colour is no imagery; in a store of drawn maps it is."""
        if self._rendered:
            return False
        if not found.drawn:
            return True
        if zoom not in self._photographs:
            listed = islice(self._store.tiles(zoom), 0, 16 * MAX_TILES_JUDGED, 16)
            self._photographs[zoom] = are_photographs(self._readable(zoom, listed))
        return self._photographs[zoom]

    def _readable(self, zoom: int, tiles: Iterator[tuple[int, int]]) -> Iterator[Image]:
        for x, y in tiles:
            with suppress(UnusableTile):
                yield self._decoded(zoom, x, y).image

    def _hint(self, window: TileWindow, reasons: dict[str, str]) -> str:
        """Return where the store's tiles are, when all that are needed are absent."""
        tiles = [(x % (1 << window.zoom), y) for x, y in self._tiles_of(window)]
        if len(reasons) < len(tiles) or set(reasons.values()) != {ABSENT}:
            return ""
        return self._whereabouts.hint(window.zoom, tiles)

    def _tiles_of(self, window: TileWindow) -> Iterator[tuple[int, int]]:
        """Yield column and row of the tiles of a window; columns go on past the antimeridian."""
        size = self.sizes[window.zoom]
        for y in range(window.row // size, (window.row + window.height - 1) // size + 1):
            last = (window.column + window.width - 1) // size
            for x in range(window.column // size, last + 1):
                yield x, y

    def _overlap(self, window: TileWindow, x: int, y: int) -> tuple[Slices, Slices]:
        """Return the pixels that a tile and a window share, in the tile and in the window."""
        size = self.sizes[window.zoom]
        left, top = x * size - window.column, y * size - window.row
        u0, v0 = max(left, 0), max(top, 0)
        u1, v1 = min(left + size, window.width), min(top + size, window.height)
        return np.s_[v0 - top : v1 - top, u0 - left : u1 - left], np.s_[v0:v1, u0:u1]

    def _tile(self, zoom: int, x: int, y: int) -> Tile:
        x %= 1 << zoom
        tile = self._cache.get((zoom, x, y))
        if tile is None:
            tile = self._decoded(zoom, x, y)
            self._cache.put((zoom, x, y), tile)
        return tile

    def _decoded(self, zoom: int, x: int, y: int) -> Tile:
        try:
            encoded = self._store.read(zoom, x, y)
            if encoded is None:
                raise UnusableTile(ABSENT)
            tile = decode_tile(encoded)
        except UnusableTile:
            raise
        except Exception as error:
            # A store may fail in ways that nobody has thought of; it is this tile all the same.
            raise UnusableTile(f"{type(error).__name__}: {error}") from error
        height, width = tile.image.shape[:2]
        size = self.sizes.get(zoom, width)
        if (height, width) != (size, size):
            raise UnusableTile(f"{width} x {height} pixels where others have {size} x {size}")
        return tile


def _blocks(window: TileWindow) -> Iterator[tuple[TileWindow, Slices]]:
    """Yield parts of a window, and where they lie in it."""
    for rows, columns in blocks(window.width, window.height):
        first = window.column + columns.start, window.row + rows.start
        size = columns.stop - columns.start, rows.stop - rows.start
        yield TileWindow(window.zoom, *first, *size), (rows, columns)


def _name(zoom: int, x: int, y: int) -> str:
    return f"{zoom}/{x % (1 << zoom)}/{y}"
