# SPDX-License-Identifier: Apache-2.0
"""New stores of tiles that are there whole or not at all: slippy folder, MBTiles, PMTiles."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from g2s_localizer.imagery.level import Box
from g2s_localizer.imagery.picture import read_header
from g2s_localizer.imagery.sidecar import Sidecar, sidecar_file, write_sidecar
from g2s_localizer.imagery.tiles.index import SUFFIXES

Put = Callable[[int, int, int, bytes], None]
"""Takes zoom, column, row from the north, and the encoded tile."""

BATCH = 256
"""Tiles in one transaction of an MBTiles file."""


@dataclass(frozen=True)
class Contents:
    """Description of a store's tiles as a whole."""

    sidecar: Sidecar
    zooms: tuple[int, ...]
    box: Box
    name: str


@contextmanager
def new_store(scheme: str, out: Path, contents: Contents) -> Iterator[Put]:
    """Yield the function which puts tiles into a new store at `out`; a context manager.

    It stands there, with its sidecar, when the context is left without an error.

    Raises FileExistsError when `out` or its sidecar is there, ValueError for a scheme that no
    tiles are written as or a tile that is no image, ImportError without the package that PMTiles
    are written by.
    """
    writers = {"slippy": _slippy, "mbtiles": _mbtiles, "pmtiles": _pmtiles}
    if scheme not in writers:
        raise ValueError(f"tiles are written as {', '.join(writers)}, not as {scheme}")
    for file in (out, sidecar_file(out)):
        if file.exists():
            raise FileExistsError(f"{file} exists already; give a new name")
    out.parent.mkdir(parents=True, exist_ok=True)
    workshop = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        partial = workshop / out.name
        with writers[scheme](partial, contents) as put:
            yield put
        made = write_sidecar(partial, contents.sidecar)
        # The sidecar first: tiles without their offset would be in the wrong place.
        if made.parent == workshop:
            os.replace(made, out.with_name(made.name))
        os.replace(partial, out)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def tile_format(encoded: bytes) -> int:
    """Place of an image's suffix in SUFFIXES. Raises ValueError for what is no image."""
    header = read_header(encoded)
    if header is None:
        raise ValueError(f"{len(encoded)} bytes that are no PNG, JPEG or WebP image")
    return header.format


@contextmanager
def _slippy(folder: Path, contents: Contents) -> Iterator[Put]:
    folder.mkdir()

    def put(zoom: int, x: int, y: int, encoded: bytes) -> None:
        column = folder / f"{zoom:d}" / f"{x:d}"
        column.mkdir(parents=True, exist_ok=True)
        (column / f"{y:d}{SUFFIXES[tile_format(encoded)]}").write_bytes(encoded)

    yield put


@contextmanager
def _mbtiles(file: Path, contents: Contents) -> Iterator[Put]:
    database = sqlite3.connect(file, isolation_level=None)
    # The file is not there under its name before it is whole, so a crash needs no rollback.
    database.execute("PRAGMA journal_mode = OFF")
    database.execute("PRAGMA synchronous = OFF")
    database.execute("CREATE TABLE metadata (name TEXT PRIMARY KEY, value TEXT)")
    database.execute(
        "CREATE TABLE tiles (zoom_level INTEGER, tile_column INTEGER, tile_row INTEGER,"
        " tile_data BLOB)"
    )
    formats: set[int] = set()
    waiting: list[tuple[int, int, int, bytes]] = []

    def flush() -> None:
        database.execute("BEGIN")
        database.executemany("INSERT INTO tiles VALUES (?, ?, ?, ?)", waiting)
        database.execute("COMMIT")
        waiting.clear()

    def put(zoom: int, x: int, y: int, encoded: bytes) -> None:
        formats.add(tile_format(encoded))
        # Rows are counted from the south in here.
        waiting.append((zoom, x, (1 << zoom) - 1 - y, encoded))
        if len(waiting) >= BATCH:
            flush()

    try:
        yield put
        flush()
        database.execute(
            "CREATE UNIQUE INDEX tile_index ON tiles (zoom_level, tile_column, tile_row)"
        )
        box, zooms = contents.box, contents.zooms
        metadata = {
            "name": contents.name,
            "format": _format_names(formats),
            "attribution": contents.sidecar.attribution,
            "bounds": f"{box.west:.7f},{box.south:.7f},{box.east:.7f},{box.north:.7f}",
            "minzoom": str(min(zooms)),
            "maxzoom": str(max(zooms)),
            "type": "baselayer",
            "version": "1",
        }
        database.executemany("INSERT INTO metadata VALUES (?, ?)", metadata.items())
    finally:
        database.close()
    with file.open("rb") as written:
        os.fsync(written.fileno())


@contextmanager
def _pmtiles(file: Path, contents: Contents) -> Iterator[Put]:
    try:
        from pmtiles.tile import Compression, TileType, zxy_to_tileid
        from pmtiles.writer import Writer
    except ImportError as error:
        raise ImportError("PMTiles are written by the package pmtiles: pip install pmtiles") from (
            error
        )
    untyped: Any = Writer
    types = [TileType.PNG, TileType.JPEG, TileType.JPEG, TileType.WEBP]
    formats: set[int] = set()
    with file.open("wb") as stream:
        writer = untyped(stream)

        def put(zoom: int, x: int, y: int, encoded: bytes) -> None:
            formats.add(tile_format(encoded))
            writer.write_tile(zxy_to_tileid(zoom, x, y), encoded)

        yield put
        kinds = {types[kind] for kind in formats}
        box = contents.box
        header = {
            "tile_type": kinds.pop() if len(kinds) == 1 else TileType.UNKNOWN,
            "tile_compression": Compression.NONE,
            "min_zoom": min(contents.zooms),
            "max_zoom": max(contents.zooms),
            "min_lon_e7": round(box.west * 1e7),
            "min_lat_e7": round(box.south * 1e7),
            "max_lon_e7": round(box.east * 1e7),
            "max_lat_e7": round(box.north * 1e7),
            "center_zoom": max(contents.zooms),
            "center_lon_e7": round((box.west + box.east) / 2.0 * 1e7),
            "center_lat_e7": round((box.south + box.north) / 2.0 * 1e7),
        }
        notes = {"name": contents.name, "attribution": contents.sidecar.attribution}
        writer.finalize(header, notes)
        stream.flush()
        os.fsync(stream.fileno())


def _format_names(formats: set[int]) -> str:
    """Return the name that MBTiles have for the formats; a mixture has that of its first."""
    return {0: "png", 1: "jpg", 2: "jpg", 3: "webp"}[min(formats, default=0)]
