# SPDX-License-Identifier: Apache-2.0
"""The index of a folder of fetched tiles: what each one is, and which ones have no imagery."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from g2s_localizer.imagery.local_file import UnreadableFile, is_inside, read_file
from g2s_localizer.imagery.source import UnusableTile
from g2s_localizer.imagery.tiles.database import MAX_ZOOM, timed_query
from g2s_localizer.imagery.tiles.tile import MAX_TILE_BYTES

INDEX_NAME = "index.sqlite"

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
"""Suffixes of a tile's file. The index holds a place in this list, so that a path is built from
whole numbers and nothing else."""

BUSY_S = 10.0
"""Longest wait for another process that is in the database."""

USED_AGAIN_S = 86400.0
"""A reader notes no more often than this that a tile was used."""

PAGE = 1000
"""Tiles listed by one query."""

TileId = tuple[int, int, int]
"""Zoom, column, and row from the north."""

# A rollback journal, not a write-ahead log: a reader of the latter must be able to write.
_SCHEMA = """
CREATE TABLE store (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE tiles (
  zoom INTEGER, x INTEGER, y INTEGER,
  format INTEGER NOT NULL, pixels INTEGER NOT NULL, bytes INTEGER NOT NULL, sha256 BLOB NOT NULL,
  etag TEXT NOT NULL, last_modified TEXT NOT NULL, fetched REAL NOT NULL, expires REAL,
  PRIMARY KEY (zoom, x, y)
) WITHOUT ROWID;
CREATE INDEX tiles_by_sha256 ON tiles (sha256);
CREATE TABLE absent (
  zoom INTEGER, x INTEGER, y INTEGER,
  reason TEXT NOT NULL, sha256 BLOB, until REAL NOT NULL,
  PRIMARY KEY (zoom, x, y)
) WITHOUT ROWID;
CREATE INDEX absent_by_sha256 ON absent (sha256);
PRAGMA user_version = 1;
"""


@dataclass(frozen=True)
class TileRecord:
    """Entry of the index on a stored tile.

    format         place of the file's suffix in SUFFIXES
    pixels         side of the square
    size           bytes of the file, sha256 their digest
    etag, last_modified   what the server said of it, "" where it said nothing
    fetched, expires      seconds since 1970; None: never expires
    """

    format: int
    pixels: int
    size: int
    sha256: bytes
    etag: str
    last_modified: str
    fetched: float
    expires: float | None


class TileIndex:
    """The SQLite file of a folder of fetched tiles. Safe to share between threads.

    Readers may be in it while one process writes. Raises ValueError for a file that is no such
    index.
    """

    def __init__(self, folder: Path, writable: bool = False) -> None:
        file = folder / INDEX_NAME
        if not writable and not file.is_file():
            raise FileNotFoundError(f"no index of tiles: {file}")
        self._folder, self._real = folder, folder.resolve()
        if not is_inside(file, self._real):
            raise ValueError(f"{file} is a link that leads out of {folder}")
        self._lock = Lock()
        # A reader opens for writing too, where it may: what a writer that was killed had begun
        # can then be rolled back. It writes nothing else.
        self._database = sqlite3.connect(
            f"{file.resolve().as_uri()}?mode={'rwc' if writable else 'rw'}",
            uri=True,
            timeout=BUSY_S,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            self.query("PRAGMA trusted_schema = OFF")
            version = self.query("PRAGMA user_version")[0][0]
            if version == 0 and writable and not self.query("SELECT name FROM sqlite_master"):
                self._database.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
                version = 1
            if not writable:
                self.query("PRAGMA query_only = ON")
            if version != 1:
                raise ValueError(f"{file} is no index of tiles that this version can read")
            self.query("SELECT zoom FROM tiles LIMIT 1")
        except sqlite3.DatabaseError as error:
            self._database.close()
            raise ValueError(f"{file} is no index of tiles: {error}") from error
        except ValueError:
            self._database.close()
            raise

    def close(self) -> None:
        with self._lock:
            self._database.close()

    def query(self, statement: str, *values: Any) -> list[Any]:
        """Run one statement; returns its rows."""
        with self._lock:
            return timed_query(self._database, statement, values)

    def zooms(self) -> tuple[int, ...]:
        found: list[int] = []
        # One look-up for each, where DISTINCT would go through all tiles.
        while (
            zoom := self.query(
                "SELECT MIN(zoom) FROM tiles WHERE zoom BETWEEN ? AND ?"
                " AND typeof(zoom) = 'integer'",
                found[-1] + 1 if found else 0,
                MAX_ZOOM,
            )[0][0]
        ) is not None:
            found.append(int(zoom))
        return tuple(found)

    def tiles(self, zoom: int) -> Iterator[tuple[int, int]]:
        """Yield column and row of the stored tiles of `zoom`, from the west, then the north."""
        after, side = (-1, -1), 1 << zoom
        while True:
            page = self.query(
                "SELECT x, y FROM tiles WHERE zoom = ? AND (x, y) > (?, ?)"
                " AND typeof(x) = 'integer' AND typeof(y) = 'integer' ORDER BY x, y LIMIT ?",
                zoom, *after, PAGE,
            )  # fmt: skip
            yield from ((x, y) for x, y in page if 0 <= x < side and 0 <= y < side)
            if len(page) < PAGE or page[-1] <= after:
                return
            after = page[-1]

    def record(self, tile: TileId) -> TileRecord | None:
        """Return the record of a tile, None where it is not listed, or listed with nonsense."""
        found = self.query(
            "SELECT format, pixels, bytes, sha256, etag, last_modified, fetched, expires"
            " FROM tiles WHERE zoom = ? AND x = ? AND y = ?",
            *tile,
        )
        record = TileRecord(*found[0]) if found else None
        # SQLite keeps text in a column of numbers, and an index may come from anywhere.
        if record and isinstance(record.size, int) and record.format in range(len(SUFFIXES)):
            return record
        return None

    def absence(self, tile: TileId, now: float) -> str | None:
        """Return why the tile is known to be absent, None where that is not known or no longer."""
        found = self.query(
            "SELECT reason FROM absent WHERE zoom = ? AND x = ? AND y = ? AND until > ?", *tile, now
        )
        return str(found[0][0]) if found else None

    def write(self, tile: TileId, record: TileRecord, partial: Path) -> None:
        """Move a tile's file into its place and list it.

        Exclusive, so that nobody looks a tile up between the two.
        """
        with self._lock, self._database:
            self._database.execute("BEGIN EXCLUSIVE")
            os.replace(partial, self.path(tile, record.format))
            self._database.execute(
                "INSERT OR REPLACE INTO tiles VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*tile, *vars(record).values()),
            )
            self._database.execute("DELETE FROM absent WHERE zoom = ? AND x = ? AND y = ?", tile)

    def path(self, tile: TileId, tile_format: int) -> Path:
        """Return the file of a tile."""
        zoom, x, y = tile
        return self._folder / f"{zoom:d}" / f"{x:d}" / f"{y:d}{SUFFIXES[tile_format]}"

    def read(self, tile: TileId, used_again_s: float = USED_AGAIN_S) -> bytes | None:
        """Return the bytes of a tile as they were fetched, None for one that is not in the index.

        Raises UnusableTile when the file is gone, unreadable, or not what was fetched. The file's
        access time says when it was last used, for the eviction of what was not.
        """
        record = self.record(tile)
        while record is not None:
            encoded, fault = self._content(tile, record, used_again_s)
            if fault is None:
                return encoded
            # A writer may have replaced or removed it in between.
            again = self.record(tile)
            if again == record:
                raise UnusableTile(fault)
            record = again
        return None

    def _content(
        self, tile: TileId, record: TileRecord, used_again_s: float
    ) -> tuple[bytes, str | None]:
        """Return the bytes of the tile's file, and the fault in them, None without one."""
        path = self.path(tile, record.format)
        try:
            encoded = read_file(path, MAX_TILE_BYTES, self._real)
            status = path.stat()
        except FileNotFoundError:
            return b"", "its file is gone"
        except (OSError, UnreadableFile) as error:
            return b"", f"its file: {error}"
        if hashlib.sha256(encoded).digest() != record.sha256:
            return b"", "its SHA-256 is not that of what was fetched: damaged on disk"
        if time.time() - status.st_atime >= used_again_s:
            # Not everybody who may read may write; then it is evicted as if unused.
            with contextlib.suppress(OSError):
                os.utime(path, ns=(time.time_ns(), status.st_mtime_ns))
        return encoded, None
