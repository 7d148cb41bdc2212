# SPDX-License-Identifier: Apache-2.0
"""A folder of tiles in the slippy-map layout: DIR/{z}/{x}/{y}.png, .jpg, .jpeg or .webp."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from g2s_localizer.imagery.local_file import UnreadableFile, read_file
from g2s_localizer.imagery.source import UnusableTile
from g2s_localizer.imagery.tiles.database import MAX_ZOOM
from g2s_localizer.imagery.tiles.index import INDEX_NAME, SUFFIXES, TileIndex
from g2s_localizer.imagery.tiles.tile import MAX_TILE_BYTES

MAX_NOTICE_BYTES = 10_000
"""An attribution is a line or two; what is longer is not read."""

_ENDINGS = tuple(
    f"{scale}{suffix}"
    for scale in ("", "@2x")
    for suffix in (*SUFFIXES, *(suffix.upper() for suffix in SUFFIXES))
)
"""Endings of a tile's file after its row: some servers say that it is a large one."""


class SlippyStore:
    """Encoded tiles of a folder; rows count from the north. Safe to share between threads.

    In a folder that g2s-tiles fetch has made, only what its index lists is a tile, and each one
    is checked against its SHA-256 when it is read. `attribution` is the text of
    DIR/attribution.txt, "" without that file. Links that lead out of the folder are not followed.
    Raises FileNotFoundError for an absent folder, ValueError for a broken index or notice.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise FileNotFoundError(f"no such folder of tiles: {folder}")
        self._folder = folder
        self._real = folder.resolve()
        self._index = TileIndex(folder) if (folder / INDEX_NAME).is_file() else None
        self.name = f"slippy:{folder}"
        self.attribution = self._notice()
        zooms = {int(entry.name) for entry in folder.iterdir() if _is_index(entry)}
        try:
            self.zooms: tuple[int, ...] = (
                self._index.zooms()
                if self._index
                else tuple(sorted(zooms & set(range(MAX_ZOOM + 1))))
            )
        except sqlite3.Error as error:
            raise ValueError(f"the index of tiles in {folder} cannot be read: {error}") from error

    def tiles(self, zoom: int) -> Iterator[tuple[int, int]]:
        """Yield the column and row of the stored tiles of `zoom`, in no particular order."""
        try:
            if self._index:
                yield from self._index.tiles(zoom)
                return
            side = 1 << zoom
            for column in filter(_is_index, (self._folder / str(zoom)).iterdir()):
                rows = {_row(name) for name in os.listdir(column)}
                for row in rows:
                    if row is not None and row < side and int(column.name) < side:
                        yield int(column.name), row
        except (OSError, sqlite3.Error) as error:
            raise UnusableTile(f"the tiles of zoom {zoom} cannot be listed: {error}") from error

    def has(self, zoom: int, x: int, y: int) -> bool:
        """Return whether the tile is there, without reading it."""
        try:
            if self._index:
                return self._index.record((zoom, x, y)) is not None
            return any(os.path.lexists(path) for path in self._paths(zoom, x, y))
        except sqlite3.Error:
            return False

    def read(self, zoom: int, x: int, y: int) -> bytes | None:
        """Return encoded tile, None where there is none. Raises UnusableTile for a damaged one."""
        try:
            if self._index:
                return self._index.read((zoom, x, y))
            for path in self._paths(zoom, x, y):
                try:
                    return read_file(path, MAX_TILE_BYTES, folder=self._real)
                except FileNotFoundError:
                    continue
        except sqlite3.Error as error:
            raise UnusableTile(f"its index cannot be read: {error}") from error
        except UnreadableFile as error:
            raise UnusableTile(str(error)) from error
        return None

    def _paths(self, zoom: int, x: int, y: int) -> Iterator[Path]:
        column = self._folder / str(zoom) / str(x)
        return (column / f"{y}{ending}" for ending in _ENDINGS)

    def _notice(self) -> str:
        file = self._folder / "attribution.txt"
        try:
            return read_file(file, MAX_NOTICE_BYTES, self._real).decode("utf-8").strip()
        except FileNotFoundError:
            return ""
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error


def _row(name: str) -> int | None:
    """Return the row in the name of a tile's file, None for another file."""
    for ending in _ENDINGS:
        row = name.removesuffix(ending)
        if row != name and row.isdecimal():
            return int(row)
    return None


def _is_index(entry: Path) -> bool:
    return entry.name.isdecimal() and entry.is_dir()
