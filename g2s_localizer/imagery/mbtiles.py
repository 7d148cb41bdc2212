# SPDX-License-Identifier: Apache-2.0
"""An MBTiles file: tiles in one SQLite database, rows counted from the south (TMS)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Any

_PAGE = 4096


class MBTilesStore:
    """Encoded tiles of an MBTiles file, opened read-only. Safe to share between threads.

    Columns and rows are those of the slippy-map layout (rows from the north); the flip to
    TMS stays in here. `attribution` comes from the metadata table.
    Raises FileNotFoundError for an absent file, ValueError for one that is no MBTiles.
    """

    def __init__(self, file: Path) -> None:
        if not file.is_file():
            raise FileNotFoundError(f"no such MBTiles file: {file}")
        self.name = f"mbtiles:{file}"
        # One connection for all threads, one thread in it at a time.
        self._lock = Lock()
        self._database = sqlite3.connect(
            f"{file.resolve().as_uri()}?mode=ro", uri=True, check_same_thread=False
        )
        try:
            self.zooms: tuple[int, ...] = tuple(self._find_zooms())
            notice = self._query("SELECT value FROM metadata WHERE name = 'attribution'")
        except sqlite3.DatabaseError as error:
            self._database.close()
            raise ValueError(f"{file} is no MBTiles file: {error}") from error
        self.attribution = str(notice[0][0]) if notice else ""

    def tiles(self, zoom: int) -> Iterator[tuple[int, int]]:
        """Column and row of the stored tiles of `zoom`, in no particular order."""
        # A page at a time, found by the index: the first comes without reading the others.
        page, last = [(-1, -1)], (-1, -1)
        while page:
            page = self._query(
                "SELECT tile_column, tile_row FROM tiles"
                " WHERE zoom_level = ? AND (tile_column, tile_row) > (?, ?)"
                " ORDER BY tile_column, tile_row LIMIT ?",
                zoom,
                *last,
                _PAGE,
            )
            yield from ((x, _flip(zoom, row)) for x, row in page)
            last = page[-1] if page else last

    def has(self, zoom: int, x: int, y: int) -> bool:
        """Whether the tile is there, without reading it."""
        found = self._query(
            "SELECT 1 FROM tiles WHERE zoom_level = ? AND tile_column = ? AND tile_row = ?",
            zoom,
            x,
            _flip(zoom, y),
        )
        return bool(found)

    def read(self, zoom: int, x: int, y: int) -> bytes | None:
        """The encoded tile, None where there is none."""
        found = self._query(
            "SELECT tile_data FROM tiles WHERE zoom_level = ? AND tile_column = ? AND tile_row = ?",
            zoom,
            x,
            _flip(zoom, y),
        )
        return bytes(found[0][0]) if found else None

    def _find_zooms(self) -> Iterator[int]:
        """Each by a look-up: DISTINCT would read the index of every tile."""
        zoom = -1
        while True:
            found = self._query("SELECT min(zoom_level) FROM tiles WHERE zoom_level > ?", zoom)
            if found[0][0] is None:
                return
            zoom = int(found[0][0])
            yield zoom

    def _query(self, statement: str, *values: int) -> list[Any]:
        with self._lock:
            return self._database.execute(statement, values).fetchall()


def _flip(zoom: int, row: int) -> int:
    """Row counted from the other side; its own inverse."""
    return (1 << zoom) - 1 - row
