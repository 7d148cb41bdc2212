# SPDX-License-Identifier: Apache-2.0
"""One tile: from encoded bytes to pixels, and the memory of those decoded lately."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

from g2s_localizer.imagery.blank import OneColour, Slices, one_colour
from g2s_localizer.imagery.picture import BoolArray, Image, UnusablePicture, decode_with_alpha
from g2s_localizer.imagery.source import UnusableTile

MAX_PIXELS = 4096 * 4096
"""Pixels of the largest tile that is decoded."""

MAX_TILE_BYTES = 64 * 1024 * 1024
"""Bytes of the largest tile that is read."""


@dataclass(frozen=True, eq=False)
class Tile:
    """A decoded tile.

    image        (H, W, 3) uint8 RGB
    transparent  (H, W), the pixels that are missing; None: none is
    colour       the one that much of it has exactly, if any
    """

    image: Image
    transparent: BoolArray | None
    colour: OneColour | None

    @property
    def bytes(self) -> int:
        """Return its size in memory."""
        return self.image.nbytes + (0 if self.transparent is None else self.transparent.nbytes)


def decode_tile(encoded: bytes) -> Tile:
    """Decode PNG, JPEG or WebP to a Tile. Raises UnusableTile saying why not."""
    try:
        image, transparent = decode_with_alpha(encoded, MAX_PIXELS)
    except UnusablePicture as error:
        raise UnusableTile(str(error)) from error
    if transparent is not None and not transparent.any():
        transparent = None
    return Tile(image, transparent, one_colour(image))


def refuse_transparent(tile: Tile, part: Slices) -> None:
    """Raise UnusableTile when some of a part of a tile is transparent."""
    if tile.transparent is not None and (share := tile.transparent[part].mean()):
        raise UnusableTile(f"{share:.1%} of what is needed of it is transparent")


class TileCache:
    """Decoded tiles, least recently used first, bounded in bytes."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._bytes = 0
        self._tiles: OrderedDict[tuple[int, int, int], Tile] = OrderedDict()
        self._lock = Lock()

    def get(self, key: tuple[int, int, int]) -> Tile | None:
        with self._lock:
            tile = self._tiles.get(key)
            if tile is not None:
                self._tiles.move_to_end(key)
            return tile

    def put(self, key: tuple[int, int, int], tile: Tile) -> None:
        with self._lock:
            if key in self._tiles:
                return
            self._tiles[key] = tile
            self._bytes += tile.bytes
            while self._bytes > self._capacity:
                self._bytes -= self._tiles.popitem(last=False)[1].bytes
