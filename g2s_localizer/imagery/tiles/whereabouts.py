# SPDX-License-Identifier: Apache-2.0
"""The interface of a store of encoded tiles, and the whereabouts of tiles that are elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Protocol

from g2s_localizer.imagery.level import tiles_extent
from g2s_localizer.imagery.source import UnusableTile

MAX_LISTED = 200_000
"""Tiles that are listed to say where those of a store lie."""


class TileStore(Protocol):
    """Encoded Web-Mercator tiles by zoom, column and row (rows from the north)."""

    name: str
    attribution: str
    zooms: tuple[int, ...]

    def tiles(self, zoom: int) -> Iterator[tuple[int, int]]:
        """Yield column and row of the stored tiles of `zoom`, the first without listing all."""

    def has(self, zoom: int, x: int, y: int) -> bool:
        """Return whether the tile is there, without reading it."""

    def read(self, zoom: int, x: int, y: int) -> bytes | None:
        """Return the encoded tile, None where there is none. Raises UnusableTile saying why not."""


class Whereabouts:
    """Hints about the tiles of a store, each zoom's box being found once."""

    def __init__(self, store: TileStore) -> None:
        self._store = store
        self._boxes: dict[int, str] = {}

    def hint(self, zoom: int, absent: Sequence[tuple[int, int]]) -> str:
        """Return why all of some tiles (column, row) may be absent, "" where nothing is known."""
        side = 1 << zoom
        if any(self._store.has(zoom, x, side - 1 - y) for x, y in absent):
            return (
                "it has them with rows counted from the other side: are they TMS rows (from the "
                "south) where rows from the north are meant, or the other way round?"
            )
        if any(self._store.has(zoom, y, x) for x, y in absent):
            return "it has them with column and row exchanged: are its folders z/y/x, not z/x/y?"
        if zoom not in self._boxes:
            self._boxes[zoom] = self._box(zoom)
        return self._boxes[zoom]

    def _box(self, zoom: int) -> str:
        try:
            box = tiles_extent(islice(self._store.tiles(zoom), MAX_LISTED), zoom)[1]
        except (UnusableTile, ValueError):
            return ""
        return (
            f"its zoom {zoom} lies from {box.south:.5f} to {box.north:.5f} degrees of latitude, "
            f"from {box.west:.5f} to {box.east:.5f} of longitude"
        )
