# SPDX-License-Identifier: Apache-2.0
"""A folder of tiles in the slippy-map layout: DIR/{z}/{x}/{y}.png, .jpg, .jpeg or .webp."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from g2s_localizer.imagery.tile_index import INDEX_NAME, SUFFIXES, TileIndex


class SlippyStore:
    """Encoded tiles of a folder; rows count from the north. Safe to share between threads.

    In a folder that g2s-tiles fetch has made, only what its index lists is a tile, and each one
    is checked against its SHA-256 when it is read. `attribution` is the text of
    DIR/attribution.txt, "" without that file.
    Raises FileNotFoundError for an absent folder, ValueError for a broken index.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise FileNotFoundError(f"no such folder of tiles: {folder}")
        self._folder = folder
        self._index = TileIndex(folder) if (folder / INDEX_NAME).is_file() else None
        self.name = f"slippy:{folder}"
        notice = folder / "attribution.txt"
        self.attribution = notice.read_text(encoding="utf-8").strip() if notice.is_file() else ""
        self.zooms: tuple[int, ...] = (
            self._index.zooms()
            if self._index
            else tuple(sorted(int(entry.name) for entry in folder.iterdir() if _is_index(entry)))
        )

    def tiles(self, zoom: int) -> Iterator[tuple[int, int]]:
        """Column and row of the stored tiles of `zoom`, in no particular order."""
        if self._index:
            yield from self._index.tiles(zoom)
            return
        for column in filter(_is_index, (self._folder / str(zoom)).iterdir()):
            for tile in column.iterdir():
                if tile.suffix in SUFFIXES and tile.stem.isdecimal():
                    yield int(column.name), int(tile.stem)

    def has(self, zoom: int, x: int, y: int) -> bool:
        """Whether the tile is there, without reading it."""
        if self._index:
            return self._index.record((zoom, x, y)) is not None
        column = self._folder / str(zoom) / str(x)
        return any((column / f"{y}{suffix}").is_file() for suffix in SUFFIXES)

    def read(self, zoom: int, x: int, y: int) -> bytes | None:
        """The encoded tile, None where there is none. Raises UnusableTile for a damaged one."""
        if self._index:
            return self._index.read((zoom, x, y))
        for suffix in SUFFIXES:
            try:
                return (self._folder / str(zoom) / str(x) / f"{y}{suffix}").read_bytes()
            except FileNotFoundError:
                continue
        return None


def _is_index(entry: Path) -> bool:
    return entry.name.isdecimal() and entry.is_dir()
