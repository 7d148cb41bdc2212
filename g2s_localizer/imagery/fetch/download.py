# SPDX-License-Identifier: Apache-2.0
"""Fetch tiles from a provider into a store: politely, bounded, and whatever the server does."""

from __future__ import annotations

import asyncio
import math
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from g2s_localizer.imagery.fetch.guards import PlaceholderTile, check_tile
from g2s_localizer.imagery.fetch.pace import BudgetSpent, Pace, backoff
from g2s_localizer.imagery.fetch.provider import Provider
from g2s_localizer.imagery.fetch.request import Reply, RequestLimits, TileClient
from g2s_localizer.imagery.fetch.store import FetchStore, RepeatedTile, StoreFull
from g2s_localizer.imagery.source import UnusableTile
from g2s_localizer.imagery.tiles.index import TileId

DAY_S = 86400.0

MAX_CONNECTIONS = 8

T = TypeVar("T")


@dataclass(frozen=True)
class FetchLimits:
    """Limits of a whole fetch.

    request         what one request may
    attempts        for one tile
    backoff_s, max_backoff_s   the wait after the first failed attempt, and the longest one; full
                    jitter makes it anything from zero to that
    max_wait_s     longest pause that a server is granted by Retry-After; one that asks for more
                    ends the fetch
    requests        in all
    failures        tiles failing one after the other that end the fetch
    absent_days     how long it is remembered that the server has no such tile
    """

    request: RequestLimits = field(default_factory=RequestLimits)
    attempts: int = 5
    backoff_s: float = 1.0
    max_backoff_s: float = 60.0
    max_wait_s: float = 300.0
    requests: int = 100_000
    failures: int = 20
    absent_days: float = 30.0

    def __post_init__(self) -> None:
        for name in ("attempts", "backoff_s", "max_backoff_s", "requests", "failures"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("max_wait_s", "absent_days"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")


@dataclass
class FetchResult:
    """Result of a fetch, which grows while the fetch goes on.

    fetched, renewed   tiles stored, and stored ones that the server says are unchanged
    bytes              of the tiles fetched
    requests           made, those for the same tile counted each time
    failed             why tiles could not be had, by tile
    stopped            why the fetch ended before every tile was tried, "" where it did not
    """

    fetched: int = 0
    renewed: int = 0
    bytes: int = 0
    requests: int = 0
    failed: dict[TileId, str] = field(default_factory=dict)
    stopped: str = ""


class Download:
    """One fetch of `tiles` from `provider` into `store`.

    user_agent  who asks, and whom to write to
    key         the API key, "" for none; it is in the requests and nowhere else
    on_tile     called with `result` after each tile

    Raises ValueError when the provider's terms forbid it.
    """

    def __init__(
        self,
        provider: Provider,
        store: FetchStore,
        user_agent: str,
        key: str = "",
        limits: FetchLimits | None = None,
        on_tile: Callable[[FetchResult], None] = lambda result: None,
    ) -> None:
        if provider.refusal is not None:
            raise ValueError(provider.refusal)
        self.result = FetchResult()
        self._provider = provider
        self._store = store
        self._user_agent = user_agent
        self._key = key
        self._limits = limits or FetchLimits()
        self._on_tile = on_tile
        self._in_a_row = 0

    def run(self, tiles: Sequence[TileId]) -> FetchResult:
        """Try every tile once; returns `result`, which also says what could not be had."""
        asyncio.run(self._run(tiles))
        return self.result

    async def _run(self, tiles: Sequence[TileId]) -> None:
        rate = self._provider.max_requests_per_second
        self._pace = Pace(rate, self._limits.requests)
        waiting = iter(tiles)
        # Decoding and the disk stay off the loop; one thread, since the store takes one at a time.
        with ThreadPoolExecutor(1, "store") as self._disk:
            async with TileClient(
                self._provider.allowed_origins, self._user_agent, self._limits.request, self._key
            ) as self._client:
                count = min(MAX_CONNECTIONS, max(2, math.ceil(rate)), max(1, len(tiles)))
                workers = [asyncio.create_task(self._work(waiting)) for _ in range(count)]
                try:
                    await asyncio.gather(*workers)
                finally:
                    for worker in workers:
                        worker.cancel()
                    await asyncio.gather(*workers, return_exceptions=True)
                    self.result.requests = self._pace.requests

    async def _work(self, waiting: Iterator[TileId]) -> None:
        for tile in waiting:
            if self.result.stopped:
                return
            try:
                await self._fetch(tile)
            except (BudgetSpent, StoreFull) as error:
                self.result.stopped = str(error)
                return
            except (OSError, sqlite3.Error) as error:
                self.result.stopped = f"the store cannot be written: {error}"
                return
            self._on_tile(self.result)

    async def _fetch(self, tile: TileId) -> None:
        """Ask for a tile until it is there or given up."""
        for attempt in range(1, self._limits.attempts + 1):
            await self._pace.turn()
            known = await self._on_disk(partial(self._validators, tile))
            url = self._provider.tile_url(*tile, key=self._key)
            reply = await self._client.get(url, *known)
            if reply.kind != "failed":
                await self._on_disk(partial(self._keep, tile, reply))
                return
            if not reply.transient:
                break
            if reply.wait_s is not None and reply.wait_s > self._limits.max_wait_s:
                self.result.stopped = (
                    f"the server asks for {reply.wait_s:.0f} s of quiet ({reply.reason}); "
                    f"the limit is {self._limits.max_wait_s:g} s"
                )
                break
            if attempt < self._limits.attempts:
                await self._rest(attempt, reply.wait_s)
        attempts = f" ({attempt} attempts)" if attempt > 1 else ""
        self._note_failure(tile, reply.reason + attempts)

    async def _rest(self, attempt: int, wait_s: float | None) -> None:
        if wait_s is not None:
            # It is the server that wants quiet, not this tile.
            self._pace.pause(wait_s)
        else:
            limits = self._limits
            await asyncio.sleep(backoff(attempt, limits.backoff_s, limits.max_backoff_s))

    async def _on_disk(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._disk, work)

    def _validators(self, tile: TileId) -> tuple[str, ...]:
        """Return ETag and date of a stored tile; none of a damaged one, which must come anew."""
        try:
            stored = self._store.index.read(tile)
        except UnusableTile:
            return ()
        record = self._store.index.record(tile)
        return (record.etag, record.last_modified) if stored is not None and record else ()

    def _keep(self, tile: TileId, reply: Reply) -> None:
        """Put what came into the store, or note why not."""
        days = self._provider.expires_days
        expires = None if days is None else time.time() + days * DAY_S
        if reply.kind == "unchanged":
            self._store.renew(tile, expires)
            self.result.renewed += 1
            self._in_a_row = 0
        elif reply.kind == "absent":
            self._note_absent(tile, reply.reason)
        else:
            try:
                header = check_tile(reply.body, reply.content_type)
                self._store.put(tile, reply.body, header, reply.etag, reply.last_modified, expires)
            except RepeatedTile as error:
                for place in error.places:
                    self._store.remove(place)
                    self._note_absent(place, str(error), error.sha256)
                self._note_absent(tile, str(error), error.sha256)
            except PlaceholderTile as error:
                self._note_absent(tile, str(error))
            except UnusableTile as error:
                self._note_failure(tile, str(error))
            else:
                self.result.fetched += 1
                self.result.bytes += len(reply.body)
                self._in_a_row = 0

    def _note_absent(self, tile: TileId, reason: str, sha256: bytes | None = None) -> None:
        """Note that the server answered without imagery. A tile that is stored already stays."""
        self.result.failed[tile] = reason
        self._in_a_row = 0
        if self._store.index.record(tile) is None:
            until = time.time() + self._limits.absent_days * DAY_S
            self._store.note_absent(tile, reason, until, sha256)

    def _note_failure(self, tile: TileId, reason: str) -> None:
        self.result.failed[tile] = reason
        self._in_a_row += 1
        if self._in_a_row >= self._limits.failures and not self.result.stopped:
            self.result.stopped = f"{self._in_a_row} tiles in a row failed, lastly: {reason}"
