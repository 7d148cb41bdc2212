# SPDX-License-Identifier: Apache-2.0
"""Report of a fetch: the closing words of g2s-tiles fetch."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from g2s_localizer.imagery.fetch.provider import Provider
from g2s_localizer.imagery.tiles.index import TileId
from g2s_localizer.imagery.tiles.mosaic import TileMosaic
from g2s_localizer.imagery.tiles.slippy import SlippyStore
from g2s_localizer.imagery.tiles.tile import TileCache

if TYPE_CHECKING:
    from g2s_localizer.imagery.fetch.download import FetchResult
    from g2s_localizer.imagery.fetch.store import FetchStore, StoreStatus

MAX_NAMED = 6
"""Tiles that the report names for each reason; missing.txt names all."""


def missing_tiles(
    out: Path, store: FetchStore, tiles: Sequence[TileId], status: StoreStatus, result: FetchResult
) -> dict[TileId, str]:
    """Return why tiles that were asked for are not in the store `out`, or show no imagery in part.

    What is there is looked into as g2s-tiles verify does.
    """
    untried = f"not tried: {result.stopped}" if result.stopped else "evicted to stay below the cap"
    still_damaged = store.status(status.damaged).damaged
    missing = {}
    for tile in tiles:
        if store.index.record(tile) is None or tile in still_damaged:
            known = status.absent.get(tile, status.damaged.get(tile, untried))
            missing[tile] = result.failed.get(tile, known)
    there = [tile for tile in tiles if tile not in missing]
    return missing | _gaps(out, there)


def _gaps(out: Path, tiles: Sequence[TileId]) -> dict[TileId, str]:
    """Return which of some stored tiles are transparent or of one colour, and why it is said."""
    try:
        mosaic = TileMosaic(SlippyStore(out), TileCache(0))
    except ValueError:
        return {}
    looked_at = tqdm(tiles, desc="looking into", unit="tile", file=sys.stderr)
    return {tile: fault for tile in looked_at if (fault := mosaic.fault(*tile))}


def report_fetched(
    out: Path, provider: Provider, status: StoreStatus, result: FetchResult, seconds: float
) -> None:
    """Say what was done, and what of it was cut short or left as it was."""
    print(
        f"{out}: {result.fetched} tiles fetched ({result.bytes / 1e6:.1f} MB, {result.requests} "
        f"requests, {seconds:.0f} s), {result.renewed} unchanged, {len(status.fresh)} were there "
        f"already. Imagery: {provider.attribution} ({provider.licence})"
    )
    if result.stopped:
        print(f"Stopped early: {result.stopped}. The same command goes on from here.")
    stale = {tile: result.failed[tile] for tile in status.expired if tile in result.failed}
    for reason, group in _by_reason(stale).items():
        print(f"Expired and not renewed, kept as they are: {_named(reason, group)}")


def report_missing(out: Path, missing: Mapping[TileId, str]) -> None:
    """Say what is missing and why; STORE/missing.txt says it of every tile."""
    listing = out / "missing.txt"
    if not missing:
        listing.unlink(missing_ok=True)
        return
    listing.write_text(
        "".join(f"{_name(tile)}\t{reason}\n" for tile, reason in missing.items()), encoding="utf-8"
    )
    print(f"{len(missing)} tiles are missing; {listing} lists them all:")
    for reason, group in _by_reason(missing).items():
        print(f"  {_named(reason, group)}")


def _by_reason(reasons: Mapping[TileId, str]) -> dict[str, list[TileId]]:
    groups: dict[str, list[TileId]] = defaultdict(list)
    for tile, reason in reasons.items():
        groups[reason].append(tile)
    return dict(sorted(groups.items(), key=lambda item: -len(item[1])))


def _named(reason: str, tiles: Sequence[TileId]) -> str:
    more = f" and {len(tiles) - MAX_NAMED} more" if len(tiles) > MAX_NAMED else ""
    return f"{len(tiles)} x {reason}: {', '.join(map(_name, tiles[:MAX_NAMED]))}{more}"


def _name(tile: TileId) -> str:
    return "/".join(map(str, tile))
