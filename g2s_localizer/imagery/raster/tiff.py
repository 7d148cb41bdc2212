# SPDX-License-Identifier: Apache-2.0
"""Checks that a TIFF keeps to itself and to bounds: GDAL follows tags that name other files.

The metadata item OVERVIEW_FILE sends GDAL to any data set it can open, one on a network
included, as soon as overviews are asked for. So the tags are read here before GDAL is let in.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from g2s_localizer.imagery.content import is_tiff
from g2s_localizer.imagery.local_file import is_inside

MAX_BLOCK_PIXELS = 4096 * 4096
"""Pixels of the largest strip or tile: a compressed one is decoded whole for one pixel of it."""

_GDAL_METADATA, _SUB_DIRECTORIES = 42112, 330
_WIDTH, _HEIGHT, _COMPRESSION, _ROWS_PER_STRIP = 256, 257, 259, 278
_TILE_WIDTH, _TILE_HEIGHT = 322, 323
_READ = {
    _GDAL_METADATA, _SUB_DIRECTORIES, _WIDTH, _HEIGHT, _COMPRESSION, _ROWS_PER_STRIP,
    _TILE_WIDTH, _TILE_HEIGHT,
}  # fmt: skip
_TYPE_BYTES = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8)
_MAX_DIRECTORIES = 256
_MAX_TAG_BYTES = 4 * 1024 * 1024
# Spelled out, or hidden behind character references, which writers have no need of.
_POINTS_ELSEWHERE = re.compile(rb"overview_file|&#", re.IGNORECASE)


def check_tiff(path: Path, what: str) -> dict[tuple[int, int], int]:
    """Raise ValueError unless `path` is a TIFF on this machine that refers to no other data, and
    no part of it that must be decoded at once is too large.

    what  names it in the message

    Returns the rows of a strip of each of its images in strips, by their (width, height).
    """
    if not path.is_file():
        raise ValueError(f"{what} is no file")
    with path.open("rb") as stream:
        if not is_tiff(stream.read(4)):
            raise ValueError(f"{what} is no TIFF by its content")
        try:
            directories = list(_directories(stream))
        except (struct.error, IndexError) as error:
            raise ValueError(f"{what} is truncated within a directory") from error
        except ValueError as error:
            raise ValueError(f"{what} is an odd TIFF: {error}") from error
    if any(_POINTS_ELSEWHERE.search(directory.metadata) for directory in directories):
        raise ValueError(f"{what} refers to overviews elsewhere (OVERVIEW_FILE)")
    for directory in directories:
        columns, rows = directory.block
        if directory.compression != 1 and columns * rows > MAX_BLOCK_PIXELS:
            raise ValueError(
                f"{what} has {columns} x {rows} pixels in one {directory.kind}, which are decoded "
                f"at once: write it in tiles (gdal_translate -co TILED=YES -co BIGTIFF=IF_SAFER)"
            )
    return {directory.size: directory.block[1] for directory in directories if directory.in_strips}


def check_beside(path: Path, what: str) -> None:
    """Apply `check_tiff` to the files that GDAL takes for overviews and masks of `path`.

    They must lie in its folder, or in that of the file that it is a link to.
    """
    for place in {path.absolute(), path.resolve()}:
        for suffix in (".ovr", ".OVR", ".msk", ".MSK", ".msk.ovr", ".ovr.msk"):
            beside = place.with_name(place.name + suffix)
            if not beside.exists():
                continue
            homes = place.parent.resolve(), path.resolve().parent
            if not any(is_inside(beside, home) for home in homes):
                raise ValueError(f"{what}{suffix} is a link that leads elsewhere")
            check_tiff(beside, f"{what}{suffix}")


@dataclass(frozen=True)
class _Directory:
    """Tags of one image in a TIFF; `metadata` is GDAL's piece of XML."""

    size: tuple[int, int]
    block: tuple[int, int]
    in_strips: bool
    compression: int
    metadata: bytes

    @property
    def kind(self) -> str:
        return "strip" if self.in_strips else "tile"


def _directories(stream: BinaryIO) -> Iterator[_Directory]:
    """Yield all directories of the file."""
    stream.seek(0)
    head = stream.read(16)
    order = "<" if head[:1] == b"I" else ">"
    large = head[2:4] in (b"+\0", b"\0+")
    # Format of an offset and of a count of entries; bytes of an entry.
    offset, count, entry = (
        (f"{order}Q", f"{order}Q", 20) if large else (f"{order}I", f"{order}H", 12)
    )
    to_visit, visited = [struct.unpack_from(offset, head, 8 if large else 4)[0]], set[int]()
    while to_visit:
        position = to_visit.pop()
        if not position or position in visited:
            continue
        visited.add(position)
        if len(visited) > _MAX_DIRECTORIES:
            raise ValueError(f"more than {_MAX_DIRECTORIES} directories")
        stream.seek(position)
        (entries,) = struct.unpack(count, stream.read(struct.calcsize(count)))
        if entries > 65535:
            raise ValueError(f"a directory of {entries} entries")
        table = stream.read(entries * entry + struct.calcsize(offset))
        to_visit += struct.unpack_from(offset, table, entries * entry)
        tags: dict[int, tuple[int, ...]] = {}
        metadata = b""
        for index in range(entries):
            tag, kind = struct.unpack_from(f"{order}HH", table, index * entry)
            if tag not in _READ:
                continue
            (values,) = struct.unpack_from(offset, table, index * entry + 4)
            size = values * _TYPE_BYTES[kind]
            if size > _MAX_TAG_BYTES:
                raise ValueError(f"a tag of {size} bytes")
            field = index * entry + 4 + struct.calcsize(offset)
            content = table[field : field + size]
            if size > struct.calcsize(offset):
                stream.seek(struct.unpack_from(offset, table, field)[0])
                content = stream.read(size)
            if tag == _GDAL_METADATA:
                metadata += content
                continue
            each = {3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}.get(kind)
            if each is None:
                raise ValueError(f"tag {tag} of type {kind}")
            tags[tag] = struct.unpack(f"{order}{values}{each}", content)
        to_visit += tags.pop(_SUB_DIRECTORIES, ())
        yield _directory({tag: values[0] for tag, values in tags.items() if values}, metadata)


def _directory(tags: dict[int, int], metadata: bytes) -> _Directory:
    width, height = tags.get(_WIDTH, 0), tags.get(_HEIGHT, 0)
    in_strips = _TILE_WIDTH not in tags
    if in_strips:
        block = width, min(tags.get(_ROWS_PER_STRIP, height), height)
    else:
        block = tags[_TILE_WIDTH], tags.get(_TILE_HEIGHT, 0)
    return _Directory((width, height), block, in_strips, tags.get(_COMPRESSION, 1), metadata)
