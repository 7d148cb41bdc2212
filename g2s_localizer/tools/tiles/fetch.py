# SPDX-License-Identifier: Apache-2.0
"""g2s-tiles fetch: tiles of an area from a provider whose terms allow it, into a store."""

from __future__ import annotations

import argparse
import math
import os
import sqlite3
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tqdm import tqdm

from g2s_localizer import __version__
from g2s_localizer.imagery.fetch.area import area_km2, box_tiles, route_tiles
from g2s_localizer.imagery.fetch.provider import Provider, is_loopback, read_provider
from g2s_localizer.imagery.level import Box
from g2s_localizer.imagery.sidecar import Sidecar
from g2s_localizer.imagery.tiles.index import TileId
from g2s_localizer.tools.tiles.fetch_report import missing_tiles, report_fetched, report_missing
from g2s_localizer.tools.tiles.route import read_route

if TYPE_CHECKING:
    from g2s_localizer.imagery.fetch.download import FetchResult
    from g2s_localizer.imagery.fetch.store import FetchStore, StoreStatus

CONTACT_ENV = "G2S_CONTACT"

TYPICAL_BYTES = 20_000
"""Assumed size of an orthophoto's tile as JPEG, until the store knows better."""

MIN_TILES_KNOWN = 20
"""Tiles from which on their mean size is believed."""

MIN_KEY_LENGTH = 8


def add_fetch_command(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `fetch` to the commands of g2s-tiles; `run` of the parsed arguments does the work."""
    parser = subparsers.add_parser("fetch", help="store the tiles of an area", description=__doc__)
    parser.add_argument(
        "--provider", type=Path, required=True, metavar="FILE.yaml", help="see config/providers"
    )
    area = parser.add_mutually_exclusive_group(required=True)
    area.add_argument(
        "--bbox", type=parse_box, metavar="WEST,SOUTH,EAST,NORTH",
        help="in degrees; with a minus sign in front write --bbox=-74.1,40.6,-73.9,40.8",
    )  # fmt: skip
    area.add_argument(
        "--route", type=Path, metavar="BAG|GPX", help="a ROS 2 bag with NavSatFix, or a GPX file"
    )
    parser.add_argument(
        "--buffer", type=float, default=150.0, metavar="M",
        help="metres around the route: half a crop's diagonal and the error of the GNSS; 150",
    )  # fmt: skip
    parser.add_argument("--zoom", type=_zooms, required=True, metavar="Z[-Z2]", help="19 or 18-20")
    parser.add_argument("--out", type=Path, required=True, metavar="STORE", help="a folder")
    parser.add_argument("--yes", action="store_true", help="do not ask before starting")
    parser.add_argument(
        "--contact", metavar="MAIL|URL",
        help=f"whom the provider may write to; or set {CONTACT_ENV}",
    )  # fmt: skip
    parser.add_argument(
        "--max-gb", type=_positive, metavar="GB",
        help="keep the store below this; what was used longest ago is evicted",
    )  # fmt: skip
    parser.add_argument(
        "--max-requests", type=int, default=100_000, metavar="N", help="in this run; 100000"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Fetch. Return 0 when the store holds everything asked for, 1 when not, 130 interrupted."""
    # What talks to servers and writes stores is not loaded for the sake of the other commands.
    try:
        from g2s_localizer.imagery.fetch.download import Download, FetchLimits
    except ModuleNotFoundError as error:
        if error.name != "httpx":
            raise
        return _fail("fetch needs the package httpx: pip install httpx")
    from g2s_localizer.imagery.fetch.store import FetchStore, StoreLocked

    try:
        with ExitStack() as stack:
            provider = read_provider(args.provider)
            if provider.refusal is not None:
                return _fail(provider.refusal)
            tiles = _tiles(args, provider)
            agent, key = _user_agent(args, provider), _key(provider)
            limits = FetchLimits(requests=args.max_requests)
            rights = Sidecar(provider.attribution, provider.licence, provider.name)
            cap = None if args.max_gb is None else round(args.max_gb * 1e9)
            store = None
            if args.out.exists():
                store = stack.enter_context(FetchStore(args.out, rights, cap))
            status = _status(store, tiles)
            if status.wanted and not _confirm(args, provider, store, tiles, status):
                return 1
            # Not made before somebody has said yes.
            if store is None:
                store = stack.enter_context(FetchStore(args.out, rights, cap))
            started = time.monotonic()
            with tqdm(total=len(status.wanted), unit="tile", file=sys.stderr) as bar:

                def show(result: FetchResult) -> None:
                    done = f"{result.bytes / 1e6:.1f} MB, {len(result.failed)} failed"
                    bar.set_postfix_str(done, refresh=False)
                    bar.update()

                download = Download(provider, store, agent, key, limits, show)
                try:
                    download.run(status.wanted)
                except KeyboardInterrupt:
                    download.result.stopped = "interrupted"
            result = download.result
            report_fetched(args.out, provider, status, result, time.monotonic() - started)
            missing = missing_tiles(args.out, store, tiles, status, result)
            report_missing(args.out, missing)
            if result.stopped == "interrupted":
                return 130
            return 1 if missing else 0
    except (OSError, ValueError, StoreLocked, sqlite3.Error) as error:
        return _fail(str(error))


def _tiles(args: argparse.Namespace, provider: Provider) -> list[TileId]:
    least, most = args.zoom
    if least < provider.min_zoom or most > provider.max_zoom:
        raise ValueError(
            f"{provider.name} has zoom {provider.min_zoom} to {provider.max_zoom}, "
            f"asked for {least} to {most}"
        )
    zooms = range(least, most + 1)
    if args.bbox is not None:
        return [tile for zoom in zooms for tile in box_tiles(args.bbox, zoom)]
    lines = read_route(args.route)
    if len(lines) > 1:
        print(
            f"{args.route} has {len(lines)} lines; nothing is fetched for what is between them",
            file=sys.stderr,
        )
    return [tile for zoom in zooms for tile in route_tiles(lines, args.buffer, zoom)]


def _user_agent(args: argparse.Namespace, provider: Provider) -> str:
    contact = args.contact or os.environ.get(CONTACT_ENV, "")
    if not contact and not is_loopback(str(urlsplit(provider.url).hostname)):
        raise ValueError(
            "a provider must be able to reach whoever asks for many tiles: give --contact with "
            f"your mail address or web page, or set {CONTACT_ENV}"
        )
    if not (contact.isascii() and contact.isprintable()):
        raise ValueError(f"the contact must be plain ASCII text, got {contact!r}")
    return f"g2s_localizer/{__version__}" + (f" (+{contact})" if contact else "")


def _key(provider: Provider) -> str:
    if provider.api_key_env is None:
        return ""
    key = os.environ.get(provider.api_key_env, "").strip()
    if len(key) < MIN_KEY_LENGTH or not key.isprintable():
        raise ValueError(
            f"{provider.name} needs an API key of at least {MIN_KEY_LENGTH} characters in the "
            f"environment variable {provider.api_key_env}"
        )
    return key


def _status(store: FetchStore | None, tiles: Sequence[TileId]) -> StoreStatus:
    from g2s_localizer.imagery.fetch.store import StoreStatus

    if store is None:
        return StoreStatus(unknown=list(tiles))
    return store.status(tqdm(tiles, desc="checking", unit="tile", file=sys.stderr))


def _confirm(
    args: argparse.Namespace,
    provider: Provider,
    store: FetchStore | None,
    tiles: Sequence[TileId],
    status: StoreStatus,
) -> bool:
    """Say what the fetch will cost, and ask whether to start it."""
    wanted = len(status.wanted)
    each, basis = float(TYPICAL_BYTES), "assumed"
    if store is not None:
        count, mean = store.index.query("SELECT COUNT(*), AVG(bytes) FROM tiles")[0]
        if count >= MIN_TILES_KNOWN:
            each, basis = float(mean), "as those stored"
    minutes = wanted / provider.max_requests_per_second / 60.0
    finest = [tile for tile in tiles if tile[0] == args.zoom[1]]
    print(
        f"{provider.name}, {provider.licence}: {area_km2(finest):.2f} km2, "
        f"{len(tiles)} tiles, of which {wanted} to fetch: about {wanted * each / 1e6:.1f} MB "
        f"({each / 1e3:.0f} kB a tile, {basis}), at least {minutes:.1f} min at "
        f"{provider.max_requests_per_second:g} requests/s, into {args.out}",
        file=sys.stderr,
    )
    if args.yes:
        return True
    if not sys.stdin.isatty():
        _fail("nobody is there to confirm: add --yes")
        return False
    print("Start? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _fail(text: str) -> int:
    print(f"g2s-tiles fetch: error: {text}", file=sys.stderr)
    return 1


def parse_box(text: str) -> Box:
    try:
        west, south, east, north = map(float, text.split(","))
        return Box(west, south, east, north)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"got {text}: {error}") from error


def _zooms(text: str) -> tuple[int, int]:
    least, _, most = text.partition("-")
    try:
        zooms = int(least), int(most or least)
    except ValueError:
        zooms = (1, 0)
    if not 0 <= zooms[0] <= zooms[1]:
        raise argparse.ArgumentTypeError(f"must be a zoom or a range such as 18-20, got {text}")
    return zooms


def _positive(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value > 0.0):
        raise argparse.ArgumentTypeError(f"must be positive, got {text}")
    return value
