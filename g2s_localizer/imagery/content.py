# SPDX-License-Identifier: Apache-2.0
"""Kind of a folder or file of imagery by its content: names and suffixes may lie."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

from g2s_localizer.imagery.tiles.database import Database
from g2s_localizer.imagery.tiles.pmtiles import MAGIC as PMTILES_MAGIC

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SQLITE_MAGIC = b"SQLite format 3\0"
_VRT_ROOT = re.compile(
    rb"^(\xef\xbb\xbf)?\s*(<\?xml[^>]*\?>)?\s*(<!--.*?-->\s*)*<VRTDataset\b", re.S
)
_KITTI_DATE = re.compile(r"\d{4}_\d{2}_\d{2}")
_HEAD_BYTES = 1024


def scheme_of(path: Path) -> str | None:
    """Return the scheme of `open_imagery` that reads `path`, None where its content is none of
    them.

    slippy   a folder with folders named by zoom
    satmap   a folder with folders named like KITTI's dates
    mbtiles  an SQLite database with a table `tiles`
    pmtiles  the magic bytes of PMTiles version 3
    geotiff  the magic bytes of TIFF or BigTIFF, or XML whose root is VRTDataset

    Raises FileNotFoundError for an absent path, ValueError for what is neither folder nor file.
    """
    if path.is_dir():
        names = {entry.name for entry in path.iterdir() if entry.is_dir()}
        if any(name.isdecimal() for name in names):
            return "slippy"
        return "satmap" if any(map(_KITTI_DATE.fullmatch, names)) else None
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is neither a folder nor a regular file")
    if not path.is_file():
        raise FileNotFoundError(f"no such folder or file of imagery: {path}")
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    if head.startswith(PMTILES_MAGIC):
        return "pmtiles"
    if is_tiff(head) or is_vrt(head):
        return "geotiff"
    return "mbtiles" if head.startswith(_SQLITE_MAGIC) and _has_tiles(path) else None


def is_tiff(head: bytes) -> bool:
    return head.startswith(_TIFF_MAGIC)


def is_vrt(head: bytes) -> bool:
    return _VRT_ROOT.match(head) is not None


def _has_tiles(file: Path) -> bool:
    try:
        database = Database(file)
    except sqlite3.OperationalError as error:
        raise ValueError(f"{file} is an SQLite database that cannot be read: {error}") from error
    except sqlite3.DatabaseError:
        return False
    try:
        return bool(database.query("SELECT 1 FROM sqlite_master WHERE name = 'tiles'"))
    except sqlite3.DatabaseError:
        return False
    finally:
        database.close()
