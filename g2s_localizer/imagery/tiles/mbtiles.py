# SPDX-License-Identifier: Apache-2.0
"""An MBTiles file: tiles in one SQLite database, rows counted from the south (TMS)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from g2s_localizer.imagery.source import UnusableTile
from g2s_localizer.imagery.tiles.database import MAX_ZOOM, Database
from g2s_localizer.imagery.tiles.tile import MAX_TILE_BYTES

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
        try:
            self._database = Database(file)
        except sqlite3.Error as error:
            raise ValueError(f"{file} is no MBTiles file: {error}") from error
        try:
            self.zooms: tuple[int, ...] = tuple(self._find_zooms())
            notice = self._query(
                "SELECT substr(value, 1, 10000) FROM metadata WHERE name = 'attribution' LIMIT 1"
            )
        except UnusableTile as error:
            self._database.close()
            raise ValueError(f"{file} is no MBTiles file: {error}") from error
        self.attribution = str(notice[0][0] or "") if notice else ""

    def tiles(self, zoom: int) -> Iterator[tuple[int, int]]:
        """Yield the column and row of the stored tiles of `zoom`, in no particular order."""
        # A page at a time, found by the index: the first comes without reading the others.
        page, last = [(-1, -1)], (-1, -1)
        while page:
            page = self._query(
                "SELECT tile_column, tile_row FROM tiles"
                " WHERE zoom_level = ? AND (tile_column, tile_row) > (?, ?)"
                " AND typeof(tile_column) = 'integer' AND typeof(tile_row) = 'integer'"
                " ORDER BY tile_column, tile_row LIMIT ?",
                zoom,
                *last,
                _PAGE,
            )
            if page and page[-1] <= last:
                # A view may give the same rows again and again.
                raise UnusableTile("the tiles cannot be listed: their order is no order")
            yield from ((x, _flip(zoom, row)) for x, row in page if _is_place(zoom, x, row))
            last = page[-1] if page else last

    def has(self, zoom: int, x: int, y: int) -> bool:
        """Return whether the tile is there, without reading it; not where the file is broken."""
        try:
            found = self._query(
                "SELECT 1 FROM tiles"
                " WHERE zoom_level = ? AND tile_column = ? AND tile_row = ? LIMIT 1",
                zoom,
                x,
                _flip(zoom, y),
            )
        except UnusableTile:
            return False
        return bool(found)

    def read(self, zoom: int, x: int, y: int) -> bytes | None:
        """Return encoded tile, None where there is none. Raises UnusableTile for a broken one."""
        found = self._query(
            "SELECT CASE WHEN length(tile_data) <= ? THEN tile_data ELSE length(tile_data) END"
            " FROM tiles WHERE zoom_level = ? AND tile_column = ? AND tile_row = ? LIMIT 1",
            MAX_TILE_BYTES,
            zoom,
            x,
            _flip(zoom, y),
        )
        if not found:
            return None
        content = found[0][0]
        if not isinstance(content, bytes):
            kind = "NULL" if content is None else f"{type(content).__name__} {content!s:.20}"
            raise UnusableTile(f"tile_data is no blob of at most {MAX_TILE_BYTES} bytes: {kind}")
        return content

    def _find_zooms(self) -> Iterator[int]:
        """Yield zooms, each by a look-up: DISTINCT would read the index of every tile."""
        zoom = -1
        while zoom < MAX_ZOOM:
            # A zoom that is no whole number would be found for ever.
            found = self._query(
                "SELECT min(zoom_level) FROM tiles WHERE zoom_level BETWEEN ? AND ?"
                " AND zoom_level = CAST(zoom_level AS INTEGER)",
                zoom + 1,
                MAX_ZOOM,
            )
            if found[0][0] is None:
                return
            zoom = int(found[0][0])
            yield zoom

    def _query(self, statement: str, *values: int) -> list[Any]:
        try:
            return self._database.query(statement, *values)
        except (sqlite3.Error, OverflowError) as error:
            raise UnusableTile(f"{type(error).__name__}: {error}") from error


def _is_place(zoom: int, x: int, row: int) -> bool:
    return 0 <= x < 1 << zoom and 0 <= row < 1 << zoom


def _flip(zoom: int, row: int) -> int:
    """Count the row from the other side; its own inverse."""
    return (1 << zoom) - 1 - row
