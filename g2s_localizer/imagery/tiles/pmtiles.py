# SPDX-License-Identifier: Apache-2.0
"""A PMTiles file (version 3): tiles along a Hilbert curve behind small compressed directories.

The format is that of the PMTiles specification, https://github.com/protomaps/PMTiles. The
reader is our own because the published Python one decodes every directory anew for each tile,
and inflates whatever a directory claims to be.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from g2s_localizer.imagery.source import UnusableTile

MAGIC = b"PMTiles\x03"

IntArray = NDArray[np.int64]

_HEADER_BYTES = 127
_COMPRESSIONS = {0: "unknown", 1: "none", 2: "gzip", 3: "brotli", 4: "zstd"}
_TILE_TYPES = {0: "unknown", 1: "MVT", 2: "PNG", 3: "JPEG", 4: "WebP", 5: "AVIF", 6: "MLT"}
_MAX_ZOOM = 30
_MAX_INFLATED = 16 * 1024 * 1024
_MAX_TILE_BYTES = 64 * 1024 * 1024
_MAX_LEVELS = 4
_MAX_NOTICE = 10_000
_MAX_RUN = 1_000_000
_MAX_ENTRIES = 500_000
_MAX_DIRECTORIES_KEPT = 32


@dataclass(frozen=True, eq=False)
class _Directory:
    """Entries sorted by tile id: what lies where, or (runs == 0) which directory knows."""

    ids: IntArray
    runs: IntArray
    lengths: IntArray
    offsets: IntArray


class PMTilesStore:
    """Encoded tiles of a PMTiles file, opened read-only. Safe to share between threads.

    `attribution` comes from the file's metadata. Bytes are read by position, not through a
    memory map: that is as fast from the page cache, and a file cut short under a running node
    is then an error and no bus error. Directories stay decoded, the least recently used leaving.
    Raises FileNotFoundError for an absent file, ValueError for one that is no PMTiles of images.
    """

    def __init__(self, file: Path) -> None:
        if not file.is_file():
            raise FileNotFoundError(f"no such PMTiles file: {file}")
        self.name = f"pmtiles:{file}"
        self._descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._open()
        except _Broken as error:
            self.close()
            raise ValueError(f"{file} is no PMTiles file of images: {error}") from error

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        descriptor, self._descriptor = getattr(self, "_descriptor", -1), -1
        if descriptor >= 0:
            os.close(descriptor)

    def _open(self) -> None:
        self._size = os.fstat(self._descriptor).st_size
        header = self._bytes(0, min(_HEADER_BYTES, self._size))
        if not header.startswith(MAGIC):
            raise _Broken(f'it starts with {header[:8]!r} instead of "PMTiles" and version 3')
        if len(header) < _HEADER_BYTES:
            raise _Broken(f"truncated at {self._size} bytes")
        fields = struct.unpack("<11Q6B", header[8:102])
        root, root_length, notes, notes_length, self._leaves, _, self._data = fields[:7]
        internal, tiles, kind, first, last = fields[12:17]
        if kind not in (0, 2, 3, 4):
            raise _Broken(f"its tiles are {_TILE_TYPES.get(kind, kind)}, not PNG, JPEG or WebP")
        for what, compression in (("directories", internal), ("tiles", tiles)):
            if compression > 2:
                raise _Broken(f"its {what} are {_COMPRESSIONS.get(compression)}-compressed")
        if not first <= last <= _MAX_ZOOM:
            raise _Broken(f"its zooms are {first} to {last}")
        self._internal_gzip, self._tiles_gzip = internal == 2, tiles == 2
        self.zooms: tuple[int, ...] = tuple(range(first, last + 1))
        self._directory = lru_cache(_MAX_DIRECTORIES_KEPT)(self._read_directory)
        self._root = self._directory(root, root_length)
        self.attribution = self._read_attribution(notes, notes_length)

    def tiles(self, zoom: int) -> Iterator[tuple[int, int]]:
        """Yield the column and row of the stored tiles of `zoom`, along the Hilbert curve."""
        yield from (
            _xy_from_id(zoom, tile)
            for tile in self._ids(self._root, _first_id(zoom), _first_id(zoom + 1))
        )

    def has(self, zoom: int, x: int, y: int) -> bool:
        """Return whether the tile is there, without reading it; False for a broken directory."""
        try:
            return self._find(zoom, x, y) is not None
        except UnusableTile:
            return False

    def read(self, zoom: int, x: int, y: int) -> bytes | None:
        """Return encoded tile, None where there is none. Raises UnusableTile for a broken file."""
        found = self._find(zoom, x, y)
        if found is None:
            return None
        try:
            if found[1] > _MAX_TILE_BYTES:
                raise _Broken(f"its length is {found[1]} bytes")
            content = self._bytes(*found)
            return _inflated(content, _MAX_TILE_BYTES) if self._tiles_gzip else content
        except _Broken as error:
            raise UnusableTile(str(error)) from error

    def _find(self, zoom: int, x: int, y: int) -> tuple[int, int] | None:
        """Return the position and length of a tile in the file."""
        if not (zoom in self.zooms and 0 <= x < 1 << zoom and 0 <= y < 1 << zoom):
            return None
        tile = _id_from_xy(zoom, x, y)
        directory = self._root
        try:
            for _ in range(_MAX_LEVELS):
                index = int(np.searchsorted(directory.ids, tile, side="right")) - 1
                if index < 0:
                    return None
                run, length = int(directory.runs[index]), int(directory.lengths[index])
                offset = int(directory.offsets[index])
                if run:
                    inside = tile - int(directory.ids[index]) < run
                    return (self._data + offset, length) if inside else None
                directory = self._directory(self._leaves + offset, length)
        except _Broken as error:
            raise UnusableTile(str(error)) from error
        raise UnusableTile(f"directories nested more than {_MAX_LEVELS} deep")

    def _ids(self, directory: _Directory, low: int, high: int, level: int = 1) -> Iterator[int]:
        """Yield stored tile ids in [low, high)."""
        if level > _MAX_LEVELS:
            return
        first = max(int(np.searchsorted(directory.ids, low, side="right")) - 1, 0)
        for index in range(first, int(np.searchsorted(directory.ids, high))):
            start, run = int(directory.ids[index]), int(directory.runs[index])
            if run > _MAX_RUN:
                raise UnusableTile(f"{run} equal tiles in one entry, which is no imagery")
            if run:
                yield from range(max(start, low), min(start + run, high))
                continue
            position = self._leaves + int(directory.offsets[index])
            try:
                leaf = self._directory(position, int(directory.lengths[index]))
            except _Broken as error:
                raise UnusableTile(str(error)) from error
            yield from self._ids(leaf, low, high, level + 1)

    def _read_directory(self, position: int, length: int) -> _Directory:
        return _parsed(self._internal(position, length))

    def _read_attribution(self, position: int, length: int) -> str:
        if not length:
            return ""
        try:
            notes = json.loads(self._internal(position, length).decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise _Broken(f"its metadata are no JSON: {error}") from error
        notice = notes.get("attribution", "") if isinstance(notes, dict) else ""
        return notice[:_MAX_NOTICE] if isinstance(notice, str) else ""

    def _internal(self, position: int, length: int) -> bytes:
        """Return a directory or the metadata, inflated."""
        if length > _MAX_INFLATED:
            raise _Broken(f"a directory or metadata of {length} bytes")
        content = self._bytes(position, length)
        return _inflated(content, _MAX_INFLATED) if self._internal_gzip else content

    def _bytes(self, position: int, length: int) -> bytes:
        if position + length > self._size:
            raise _Broken(f"{length} bytes at {position} lie beyond its end at {self._size}")
        try:
            content = os.pread(self._descriptor, length, position)
        except OSError as error:
            raise _Broken(f"{length} bytes at {position} cannot be read: {error}") from error
        if len(content) < length:
            raise _Broken(f"{length} bytes at {position} are gone: the file was cut while in use")
        return content


class _Broken(Exception):
    """A fault of the file."""


def _inflated(content: bytes, most: int) -> bytes:
    inflater = zlib.decompressobj(wbits=31)
    try:
        result = inflater.decompress(content, most)
    except zlib.error as error:
        raise _Broken(f"{len(content)} bytes that are no gzip: {error}") from error
    if not inflater.eof:
        raise _Broken(f"{len(content)} bytes of gzip that are cut short or inflate beyond {most}")
    return result


def _parsed(content: bytes) -> _Directory:
    """Return the count, then ids as differences, runs, lengths and offsets, all as varints."""
    if np.count_nonzero(np.frombuffer(content, np.uint8) < 0x80) > 1 + 4 * _MAX_ENTRIES:
        raise _Broken(f"a directory of more than {_MAX_ENTRIES} entries")
    numbers = _varints(content)
    count = int(numbers[0]) if numbers.size else 0
    if count < 1 or numbers.size != 1 + 4 * count:
        raise _Broken(f"a directory of {count} entries that holds {numbers.size} numbers")
    steps, runs, lengths, places = numbers[1:].reshape(4, count)
    ids = np.cumsum(steps)
    if (np.diff(ids) <= 0).any() or ids[0] < 0 or places[0] == 0:
        raise _Broken("a directory whose entries are not in order")
    # A place of 0 means: right behind the entry before; all others are one too large.
    given = np.maximum.accumulate(np.where(places > 0, np.arange(count), 0))
    before = np.cumsum(lengths) - lengths
    offsets = places[given] - 1 + before - before[given]
    if (offsets < 0).any():
        raise _Broken("a directory whose entries lie nowhere")
    return _Directory(ids, runs, lengths, offsets)


def _varints(content: bytes) -> IntArray:
    """Return little-endian groups of seven bits, the highest bit saying that more follow."""
    raw = np.frombuffer(content, np.uint8)
    ends = np.flatnonzero(raw < 0x80)
    if not raw.size or not ends.size or ends[-1] != raw.size - 1:
        raise _Broken("a directory that ends within a number")
    starts = np.concatenate([[0], ends[:-1] + 1])
    if (ends - starts).max() > 8:
        raise _Broken("a directory with a number of more than 63 bits")
    place = np.arange(raw.size) - np.repeat(starts, ends - starts + 1)
    groups = (raw & 0x7F).astype(np.int64) << (7 * place)
    return np.add.reduceat(groups, starts)


def _first_id(zoom: int) -> int:
    """Return tiles of all coarser zooms together."""
    return int(((1 << (2 * zoom)) - 1) // 3)


def _id_from_xy(zoom: int, x: int, y: int) -> int:
    """Place of a tile along the Hilbert curves of zoom 0, 1, 2, ... one after the other."""
    place = _first_id(zoom)
    for level in reversed(range(zoom)):
        side = 1 << level
        right, low = int(bool(x & side)), int(bool(y & side))
        place += side * side * ((3 * right) ^ low)
        x, y = _turned(side, x & (side - 1), y & (side - 1), right, low)
    return place


def _xy_from_id(zoom: int, tile: int) -> tuple[int, int]:
    """Return the inverse of `_id_from_xy`."""
    place = tile - _first_id(zoom)
    x = y = 0
    for level in range(zoom):
        side = 1 << level
        right = (place >> (2 * level + 1)) & 1
        low = (place >> (2 * level)) & 1 ^ right
        x, y = _turned(side, x, y, right, low)
        x, y = x + side * right, y + side * low
    return x, y


def _turned(side: int, x: int, y: int, right: int, low: int) -> tuple[int, int]:
    """Return curve in a quadrant, turned so that its ends meet those of the quadrants beside it."""
    if low:
        return x, y
    if right:
        x, y = side - 1 - x, side - 1 - y
    return y, x
