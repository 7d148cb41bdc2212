# SPDX-License-Identifier: Apache-2.0
"""The sidecar: what is known of a store of imagery besides its pixels."""

from __future__ import annotations

import json
import math
import os
import tempfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from g2s_localizer.imagery.local_file import UnreadableFile, is_inside, read_file

SIDECAR_NAME = "imagery.json"
"""The sidecar of a folder is this file in it; that of a file is `<file>.imagery.json`."""

MAX_BYTES = 64 * 1024
"""A sidecar is a few lines; what is longer is not read."""

MAX_OFFSET_M = 100.0
"""Imagery that shows a place further away than this is of another place."""


@dataclass(frozen=True)
class Sidecar:
    """Rights and georeferencing of a store.

    attribution            whose imagery it is, as its licence wants it shown; "" leaves the
                           store's own notice in force
    licence                name or address of the licence, "" where unknown
    provider               name of the provider file it was fetched with, "" where none was
    offset_east_m, offset_north_m
                           the imagery shows a place this far east and north (m) of where the
                           place is; every crop takes it out again
    georeferencing_sigma_m standard deviation (m per axis) of what error remains then, None
                           where unknown
    rendered               whether the pixels are drawn, so that areas of one colour are meant

    Raises ValueError naming the field and the value that cannot be.
    """

    attribution: str = ""
    licence: str = ""
    provider: str = ""
    offset_east_m: float = 0.0
    offset_north_m: float = 0.0
    georeferencing_sigma_m: float | None = None
    rendered: bool = False

    def __post_init__(self) -> None:
        for name in ("attribution", "licence", "provider"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name} must be text, got {getattr(self, name)!r}")
        if not isinstance(self.rendered, bool):
            raise ValueError(f"rendered must be true or false, got {self.rendered!r}")
        for name in ("offset_east_m", "offset_north_m"):
            value = _number(name, getattr(self, name))
            if abs(value) > MAX_OFFSET_M:
                raise ValueError(f"{name} must lie within {MAX_OFFSET_M} m of zero, got {value}")
            object.__setattr__(self, name, value)
        if self.georeferencing_sigma_m is not None:
            sigma = _number("georeferencing_sigma_m", self.georeferencing_sigma_m)
            if sigma < 0.0:
                raise ValueError(f"georeferencing_sigma_m must be >= 0, got {sigma}")
            object.__setattr__(self, "georeferencing_sigma_m", sigma)

    @property
    def offset_m(self) -> tuple[float, float]:
        """Return metres east and north of a place to where the imagery shows it."""
        return self.offset_east_m, self.offset_north_m


def sidecar_file(store: Path) -> Path:
    """Return where the sidecar of the folder or file `store` lies."""
    if store.is_dir():
        return store / SIDECAR_NAME
    return store.with_name(f"{store.name}.{SIDECAR_NAME}")


def read_sidecar(store: Path) -> Sidecar:
    """Return the sidecar of the folder or file `store`; one that knows nothing where there is none.

    Raises ValueError naming the sidecar's file and what is wrong in it.
    """
    file = sidecar_file(store)
    # Beside the link or beside the file, where the store is reached by a link.
    real = store.resolve()
    homes = [real] if store.is_dir() else [store.parent.resolve(), real.parent]
    try:
        if file.exists() and not any(is_inside(file, home) for home in homes):
            raise UnreadableFile("a link that leads out of the store; what lies there is not read")
        content = read_file(file, MAX_BYTES)
    except FileNotFoundError:
        return Sidecar()
    except UnreadableFile as error:
        raise ValueError(f"{file}: {error}") from error
    try:
        values: Any = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is no JSON in UTF-8: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{file} must hold one JSON object, got {type(values).__name__}")
    known = {field.name for field in fields(Sidecar)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(
            f"{file}: unknown key(s) {', '.join(unknown)}; known: {', '.join(sorted(known))}"
        )
    try:
        return Sidecar(**values)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def write_sidecar(store: Path, sidecar: Sidecar) -> Path:
    """Put `sidecar` beside the folder or file `store`, in one step; returns the file written.

    A reader sees the old one or the new one, never a part. Raises FileNotFoundError for an
    absent store.
    """
    if not store.exists():
        raise FileNotFoundError(f"no such store of imagery: {store}")
    file = sidecar_file(store)
    said = asdict(sidecar).items()
    values = {key: value for key, value in said if value is not None and value is not False}
    text = json.dumps(values, ensure_ascii=False, indent=2) + "\n"
    handle, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes it private; imagery is read by other users too.
        os.chmod(name, 0o644)
        os.replace(name, file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return file


def _number(name: str, value: Any) -> float:
    # JSON's true and false are integers to Python.
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {value!r}")
    return float(value)
