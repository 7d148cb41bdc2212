# SPDX-License-Identifier: Apache-2.0
"""A folder of tiles being filled: one writer, any number of readers, nothing half-written."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from g2s_localizer.imagery.fetch.guards import PlaceholderTile
from g2s_localizer.imagery.picture import ImageHeader
from g2s_localizer.imagery.sidecar import Sidecar, read_sidecar, write_sidecar
from g2s_localizer.imagery.source import UnusableTile
from g2s_localizer.imagery.tiles.index import INDEX_NAME, TileId, TileIndex, TileRecord

LOCK_NAME = ".lock"
PARTIAL_NAME = ".partial"

REPEATED = 3
"""The same bytes in this many places are no photograph of any of them."""

EVICT_TO = 0.9
"""Eviction goes on to this share of the cap, so that it need not start again at once."""


class StoreFull(Exception):
    """The cap is reached and everything in the store has been used since it was opened."""


class StoreLocked(Exception):
    """Another process writes to the store."""


class RepeatedTile(PlaceholderTile):
    """The same bytes came for several places: digest, and the stored `places` that have them."""

    def __init__(self, reason: str, sha256: bytes, places: list[TileId]) -> None:
        super().__init__(reason)
        self.sha256 = sha256
        self.places = places


@dataclass
class StoreStatus:
    """State of the tiles asked for in a store; every tile is in one of the five."""

    fresh: list[TileId] = field(default_factory=list)
    expired: list[TileId] = field(default_factory=list)
    damaged: dict[TileId, str] = field(default_factory=dict)
    absent: dict[TileId, str] = field(default_factory=dict)
    unknown: list[TileId] = field(default_factory=list)

    @property
    def wanted(self) -> list[TileId]:
        """Return the tiles that a fetch has to ask for."""
        return [*self.damaged, *self.unknown, *self.expired]


class FetchStore:
    """Writes tiles into a folder in the slippy-map layout, with an index; a context manager.

    folder     made where it is not there; refused where it holds files that are no such store
    provider   name of the provider file; a store holds the tiles of one
    rights     attribution, licence and provider, for the sidecar
    cap_bytes  the tiles' bytes stay below it; those used longest ago are evicted, the access time
               of their files saying when that was. None: no cap

    Raises StoreLocked naming the process that writes to it, ValueError for a folder of another
    provider or of something else. Not for several threads at once.
    """

    def __init__(self, folder: Path, rights: Sidecar, cap_bytes: int | None = None) -> None:
        self._folder = folder
        self._cap = cap_bytes
        foreign = folder.is_dir() and any(folder.iterdir()) and not (folder / INDEX_NAME).is_file()
        if foreign and set(os.listdir(folder)) - {LOCK_NAME, PARTIAL_NAME}:
            raise ValueError(f"{folder} is not empty and no store of fetched tiles")
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(folder)
        try:
            self.index = TileIndex(folder, writable=True)
            self._claim(rights)
            shutil.rmtree(folder / PARTIAL_NAME, ignore_errors=True)
            (folder / PARTIAL_NAME).mkdir()
            total = self.index.query("SELECT COALESCE(SUM(bytes), 0) FROM tiles")
            self.bytes = int(total[0][0])
            # By the clock of the file system, which is a little behind.
            self._opened = os.fstat(self._lock).st_mtime
        except BaseException:
            os.close(self._lock)
            raise

    def _claim(self, rights: Sidecar) -> None:
        held = dict(self.index.query("SELECT name, value FROM store"))
        if held.get("provider", rights.provider) != rights.provider:
            self.index.close()
            raise ValueError(
                f"{self._folder} holds the tiles of {held['provider']}; those of "
                f"{rights.provider} need a store of their own"
            )
        self.index.query("INSERT OR REPLACE INTO store VALUES ('provider', ?)", rights.provider)
        # The offset and sigma of a store that is there already are the user's work.
        now = read_sidecar(self._folder)
        write_sidecar(
            self._folder,
            Sidecar(
                rights.attribution, rights.licence, rights.provider,
                now.offset_east_m, now.offset_north_m, now.georeferencing_sigma_m,
            ),
        )  # fmt: skip

    def __enter__(self) -> FetchStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.index.close()
        shutil.rmtree(self._folder / PARTIAL_NAME, ignore_errors=True)
        os.close(self._lock)

    def status(self, tiles: Iterable[TileId]) -> StoreStatus:
        """Read and check what the store holds of `tiles`, and call it used."""
        status = StoreStatus()
        now = time.time()
        for tile in tiles:
            try:
                encoded = self.index.read(tile, used_again_s=0.0)
            except UnusableTile as error:
                status.damaged[tile] = str(error)
                continue
            if encoded is not None:
                record = self.index.record(tile)
                expires = record.expires if record else None
                (status.fresh if expires is None or expires > now else status.expired).append(tile)
            elif (reason := self.index.absence(tile, now)) is not None:
                status.absent[tile] = reason
            else:
                status.unknown.append(tile)
        return status

    def put(
        self,
        tile: TileId,
        encoded: bytes,
        header: ImageHeader,
        etag: str = "",
        last_modified: str = "",
        expires: float | None = None,
    ) -> None:
        """Store a checked tile; it is there, whole and listed, when this returns.

        Raises UnusableTile when its size is not that of the zoom's other tiles, RepeatedTile when
        the same bytes came for other places, StoreFull when the cap leaves no room, OSError when
        the disk does not take it.
        """
        digest = hashlib.sha256(encoded).digest()
        self._refuse_odd_size(tile, header.width)
        self._refuse_repeated(tile, digest)
        self._make_room(len(encoded))
        old = self.index.record(tile)
        path = self.index.path(tile, header.format)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._folder / PARTIAL_NAME / "-".join(f"{number:d}" for number in tile)
        with partial.open("wb") as file:
            file.write(encoded)
            file.flush()
            os.fsync(file.fileno())
        record = TileRecord(
            header.format, header.width, len(encoded), digest, etag, last_modified,
            time.time(), expires,
        )  # fmt: skip
        self.index.write(tile, record, partial)
        if old is not None and old.format != header.format:
            self.index.path(tile, old.format).unlink(missing_ok=True)
        self.bytes += len(encoded) - (old.size if old else 0)

    def renew(self, tile: TileId, expires: float | None) -> None:
        """Note that the server still has the tile as it is stored."""
        self.index.query(
            "UPDATE tiles SET fetched = ?, expires = ? WHERE zoom = ? AND x = ? AND y = ?",
            time.time(), expires, *tile,
        )  # fmt: skip

    def note_absent(
        self, tile: TileId, reason: str, until: float, sha256: bytes | None = None
    ) -> None:
        """Note that the server has no such tile, and that it need not be asked until then."""
        self.index.query(
            "INSERT OR REPLACE INTO absent VALUES (?, ?, ?, ?, ?, ?)", *tile, reason, sha256, until
        )

    def remove(self, tile: TileId) -> None:
        record = self.index.record(tile)
        if record is None:
            return
        # The row first: a file without a row is no tile, a row without its file a damaged one.
        self.index.query("DELETE FROM tiles WHERE zoom = ? AND x = ? AND y = ?", *tile)
        self.index.path(tile, record.format).unlink(missing_ok=True)
        self.bytes -= record.size

    def _refuse_odd_size(self, tile: TileId, pixels: int) -> None:
        others = self.index.query(
            "SELECT pixels FROM tiles WHERE zoom = ? AND NOT (x = ? AND y = ?) LIMIT 1", *tile
        )
        if others and others[0][0] != pixels:
            raise UnusableTile(
                f"{pixels} x {pixels} pixels where others have {others[0][0]} x {others[0][0]}"
            )

    def _refuse_repeated(self, tile: TileId, digest: bytes) -> None:
        places: set[TileId] = set()
        for table in ("tiles", "absent"):
            places |= set(
                self.index.query(f"SELECT zoom, x, y FROM {table} WHERE sha256 = ?", digest)
            )
        places.discard(tile)
        if len(places) + 1 < REPEATED:
            return
        reason = f"placeholder: the same bytes came for {len(places) + 1} places"
        held = self.index.query("SELECT zoom, x, y FROM tiles WHERE sha256 = ?", digest)
        raise RepeatedTile(reason, digest, [place for place in held if place != tile])

    def _make_room(self, more: int) -> None:
        if self._cap is None or self.bytes + more <= self._cap:
            return
        oldest = []
        for zoom in self.index.zooms():
            for x, y in self.index.tiles(zoom):
                tile = (zoom, x, y)
                record = self.index.record(tile)
                if record is not None:
                    oldest.append((_used(self.index.path(tile, record.format)), tile))
        for used, tile in sorted(oldest):
            if self.bytes + more <= self._cap * EVICT_TO or used >= self._opened:
                break
            self.remove(tile)
        if self.bytes + more > self._cap:
            raise StoreFull(
                f"the cap of {self._cap / 1e6:g} MB is reached by tiles of this fetch itself"
            )


def _used(path: Path) -> float:
    try:
        return path.stat().st_atime
    except OSError:
        return 0.0


def _lock(folder: Path) -> int:
    """Return the descriptor of the locked file; the kernel unlocks it when the process ends."""
    handle = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(handle, 200).decode("utf-8", "replace").strip()
        os.close(handle)
        raise StoreLocked(
            f"{folder} is being written to by {holder or 'another process'}"
        ) from None
    started = time.strftime("%Y-%m-%d %H:%M:%S")
    os.ftruncate(handle, 0)
    os.write(handle, f"process {os.getpid()} on {socket.gethostname()} since {started}\n".encode())
    return handle
