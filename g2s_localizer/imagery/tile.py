# SPDX-License-Identifier: Apache-2.0
"""One tile: from encoded bytes to pixels, and the memory of those decoded lately."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


class UnusableTile(Exception):
    """Why a tile cannot serve."""


def decode_tile(encoded: bytes) -> Image:
    """Encoded PNG, JPEG or WebP -> (H, W, 3) uint8 RGB. Raises UnusableTile saying why not."""
    if not _is_complete(encoded):
        raise UnusableTile(f"truncated at {len(encoded)} bytes")
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags) if encoded else None
    if image is None:
        raise UnusableTile(f"{len(encoded)} bytes that are no PNG, JPEG or WebP image")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def _is_complete(encoded: bytes) -> bool:
    """Whether the image's end is there: decoders fill a missing end with grey and say nothing."""
    if encoded.startswith(b"\x89PNG"):
        return b"IEND" in encoded[-64:]
    if encoded.startswith(b"\xff\xd8"):
        return b"\xff\xd9" in encoded[-64:]
    if encoded.startswith(b"RIFF"):
        return len(encoded) >= 8 + int.from_bytes(encoded[4:8], "little")
    return True


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
