# SPDX-License-Identifier: Apache-2.0
"""g2s-tiles info and verify: what a store of imagery holds, and whether all of it is whole."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from g2s_localizer.imagery import open_imagery
from g2s_localizer.imagery.level import Level
from g2s_localizer.imagery.open import scheme_and_path
from g2s_localizer.imagery.sidecar import read_sidecar

MAX_NAMED = 20
"""Bad parts that verify spells out for each reason; --list names all."""

Commands = argparse._SubParsersAction


@dataclass(frozen=True)
class Inventory:
    """Facts of g2s-tiles info on a store; bytes: of its files, with what is beside the pixels."""

    store: str
    format: str
    bytes: int
    attribution: str
    licence: str
    provider: str
    offset_east_m: float
    offset_north_m: float
    georeferencing_sigma_m: float | None
    levels: list[Level]


def take_inventory(uri: str) -> Inventory:
    """List what a store holds. Raises as `open_imagery` does."""
    imagery = open_imagery(uri)
    scheme, path = scheme_and_path(uri)
    sidecar = read_sidecar(path)
    return Inventory(
        store=str(path),
        format=scheme,
        bytes=_size(path),
        attribution=imagery.attribution,
        licence=sidecar.licence,
        provider=sidecar.provider,
        offset_east_m=sidecar.offset_east_m,
        offset_north_m=sidecar.offset_north_m,
        georeferencing_sigma_m=imagery.georeferencing_sigma_m,
        levels=imagery.levels(),
    )


def add_inspect_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add `info` and `verify` to the commands of g2s-tiles."""
    info = commands.add_parser("info", help="say what a store holds")
    info.add_argument("store", metavar="STORE", help="a path or URI as imagery.uri takes it")
    info.add_argument("--json", action="store_true", help="for programs")
    info.set_defaults(run=_info)
    verify = commands.add_parser(
        "verify", help="read and decode all of a store",
        description="Reads and decodes all of a store; against the SHA-256 of its index where "
        "g2s-tiles fetch made it. Exit status 1 when anything is bad.",
    )  # fmt: skip
    verify.add_argument("store", metavar="STORE", help="a path or URI as imagery.uri takes it")
    verify.add_argument("--list", action="store_true", help="name every bad part")
    verify.set_defaults(run=_verify)


def _info(args: argparse.Namespace) -> int:
    found = take_inventory(args.store)
    if args.json:
        print(json.dumps(asdict(found), ensure_ascii=False, indent=2))
        return 0
    sigma = found.georeferencing_sigma_m
    for name, value in (
        ("store", f"{found.store} ({found.format})"),
        ("size", f"{found.bytes / 1e6:.1f} MB"),
        ("attribution", found.attribution or "not stated"),
        ("licence", found.licence or "not stated"),
        ("provider", found.provider or "not stated"),
        ("offset", f"{found.offset_east_m:g} m east, {found.offset_north_m:g} m north"),
        ("sigma", "not stated" if sigma is None else f"{sigma:g} m per axis"),
    ):
        print(f"{name:12} {value}")
    for level in found.levels:
        box = level.box
        print(
            f"{level.name:12} {level.parts} part(s), {level.gsd:.3f} m per pixel, "
            f"west {box.west:.6f}, south {box.south:.6f}, east {box.east:.6f}, "
            f"north {box.north:.6f}"
        )
    return 0


def _verify(args: argparse.Namespace) -> int:
    imagery = open_imagery(args.store)
    total = sum(level.parts for level in imagery.levels())
    bad: dict[str, list[str]] = {}
    count = 0
    for name, fault in tqdm(imagery.check(), total=total, unit="part", file=sys.stderr):
        count += 1
        if fault:
            bad.setdefault(fault, []).append(name)
    for fault, names in sorted(bad.items(), key=lambda item: -len(item[1])):
        shown = names if args.list else names[:MAX_NAMED]
        more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
        print(f"{len(names)} x {fault}: {', '.join(shown)}{more}")
    broken = sum(map(len, bad.values()))
    print(f"{args.store}: {count - broken} of {count} parts are whole.")
    return 1 if bad else 0


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
