# SPDX-License-Identifier: Apache-2.0
"""One tile: from encoded bytes to pixels, and the memory of those decoded lately."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from g2s_localizer.imagery.picture import Image, UnusablePicture, decode_picture

MOST_PIXELS = 4096 * 4096
"""Pixels of the largest tile that is decoded."""


class UnusableTile(Exception):
    """Why a tile cannot serve."""


def decode_tile(encoded: bytes) -> Image:
    """Encoded PNG, JPEG or WebP -> (H, W, 3) uint8 RGB. Raises UnusableTile saying why not."""
    try:
        return decode_picture(encoded, MOST_PIXELS)
    except UnusablePicture as error:
        raise UnusableTile(str(error)) from error


class TileCache:
    """Decoded tiles, least recently used first, bounded in bytes."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._bytes = 0
        self._tiles: OrderedDict[tuple[int, int, int], Image] = OrderedDict()
        self._lock = Lock()

    def get(self, key: tuple[int, int, int]) -> Image | None:
        with self._lock:
            tile = self._tiles.get(key)
            if tile is not None:
                self._tiles.move_to_end(key)
            return tile

    def put(self, key: tuple[int, int, int], tile: Image) -> None:
        with self._lock:
            if key in self._tiles:
                return
            self._tiles[key] = tile
            self._bytes += tile.nbytes
            while self._bytes > self._capacity:
                self._bytes -= self._tiles.popitem(last=False)[1].nbytes
