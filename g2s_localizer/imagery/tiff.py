# SPDX-License-Identifier: Apache-2.0
"""Whether a TIFF keeps to itself: GDAL reads in its tags where else overviews may be.

The metadata item OVERVIEW_FILE sends GDAL to any data set it can open, one on a network
included, as soon as overviews are asked for. So the tags are read here before GDAL is let in.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from g2s_localizer.imagery.content import is_tiff

_GDAL_METADATA, _SUB_DIRECTORIES = 42112, 330
_TYPE_BYTES = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8)
_MOST_DIRECTORIES = 256
_MOST_TAG_BYTES = 4 * 1024 * 1024
# Spelled out, or hidden behind character references, which writers have no need of.
_POINTS_ELSEWHERE = re.compile(rb"overview_file|&#", re.IGNORECASE)


def check_tiff(path: Path, what: str) -> None:
    """Raise ValueError unless `path` is a TIFF on this machine that refers to no other data.

    what  names it in the message
    """
    if not path.is_file():
        raise ValueError(f"{what} is no file")
    with path.open("rb") as stream:
        if not is_tiff(stream.read(4)):
            raise ValueError(f"{what} is no TIFF by its content")
        try:
            elsewhere = any(_POINTS_ELSEWHERE.search(text) for text in _metadata(stream))
        except (struct.error, IndexError) as error:
            raise ValueError(f"{what} is truncated within a directory") from error
        except ValueError as error:
            raise ValueError(f"{what} is an odd TIFF: {error}") from error
    if elsewhere:
        raise ValueError(f"{what} refers to overviews elsewhere (OVERVIEW_FILE)")


def check_beside(path: Path, what: str) -> None:
    """`check_tiff` for the files that GDAL takes for overviews and masks of `path`."""
    for suffix in (".ovr", ".OVR", ".msk", ".MSK", ".msk.ovr", ".ovr.msk"):
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            check_tiff(beside, f"{what}{suffix}")


def _metadata(stream: BinaryIO) -> Iterator[bytes]:
    """GDAL's metadata, a piece of XML, of every directory of the file."""
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
        if len(visited) > _MOST_DIRECTORIES:
            raise ValueError(f"more than {_MOST_DIRECTORIES} directories")
        stream.seek(position)
        (entries,) = struct.unpack(count, stream.read(struct.calcsize(count)))
        if entries > 65535:
            raise ValueError(f"a directory of {entries} entries")
        table = stream.read(entries * entry + struct.calcsize(offset))
        to_visit += struct.unpack_from(offset, table, entries * entry)
        for index in range(entries):
            tag, kind = struct.unpack_from(f"{order}HH", table, index * entry)
            if tag not in (_GDAL_METADATA, _SUB_DIRECTORIES):
                continue
            (values,) = struct.unpack_from(offset, table, index * entry + 4)
            size = values * _TYPE_BYTES[kind]
            if size > _MOST_TAG_BYTES:
                raise ValueError(f"a tag of {size} bytes")
            field = index * entry + 4 + struct.calcsize(offset)
            content = table[field : field + size]
            if size > struct.calcsize(offset):
                stream.seek(struct.unpack_from(offset, table, field)[0])
                content = stream.read(size)
            if tag == _GDAL_METADATA:
                yield content
            else:
                each = {4: "I", 13: "I", 16: "Q", 18: "Q"}.get(kind)
                if each is None:
                    raise ValueError(f"sub-directories of type {kind}")
                to_visit += struct.unpack(f"{order}{values}{each}", content)
