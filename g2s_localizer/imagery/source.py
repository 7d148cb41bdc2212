# SPDX-License-Identifier: Apache-2.0
"""The interface of imagery: a crop around a place, or its absence by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from g2s_localizer.geometry.geodesy import LatLon
from g2s_localizer.imagery.crop import SatelliteCrop
from g2s_localizer.imagery.level import Level

MAX_NAMED = 6
"""Tiles that the message of MissingImagery spells out; `.tiles` holds all."""


class UnusableTile(ValueError):
    """A tile that cannot serve, with the reason."""


class MissingImagery(Exception):
    """The store lacks parts of the crop, or cannot decode them.

    `tiles` names them: tiles as "z/x/y", places as "latitude,longitude". Expected trouble: the
    vehicle has left the stored area. `hint` says what else is known of why.
    """

    def __init__(
        self, store: str, reasons: Mapping[str, str], kind: str = "tile", hint: str = ""
    ) -> None:
        self.tiles: tuple[str, ...] = tuple(reasons)
        named = [f"{tile} ({reason})" for tile, reason in reasons.items()][:MAX_NAMED]
        more = len(self.tiles) - len(named)
        super().__init__(
            f"{store} lacks {len(self.tiles)} {kind}(s): {', '.join(named)}"
            + (f" and {more} more" if more else "")
            + (f"; {hint}" if hint else "")
        )


class Imagery(Protocol):
    """A source of satellite or aerial imagery."""

    @property
    def attribution(self) -> str:
        """Return whose imagery it is; "" where the store does not say."""

    @property
    def offset_m(self) -> tuple[float, float]:
        """Return metres east and north from a place to where it is shown; crops are without it."""

    @property
    def georeferencing_sigma_m(self) -> float | None:
        """Return standard deviation (m per axis) of where crops show things; None where unknown."""

    def crop(self, centre: LatLon, size_m: float, gsd: float, yaw: float = 0.0) -> SatelliteCrop:
        """Return the square of round(size_m / gsd) pixels a side around `centre`, north-up or with
        its u axis `yaw` from east (rad); turned or not, it is resampled once.

        Raises MissingImagery where the store does not cover it, ValueError for a size or gsd
        that makes no crop.
        """

    def levels(self) -> list[Level]:
        """Return the resolutions that there are, each with its box."""

    def check(self) -> Iterator[tuple[str, str]]:
        """Read and decode all of it: the name of each part, and what is wrong with it or "".

        What crops would be refused for is wrong: damage, transparency, an area of one colour.
        """

    def missing(self, centre: LatLon, size_m: float, gsd: float) -> tuple[str, ...]:
        """Return names of the parts that the north-up `crop` would lack; () where it has all.

        Each part is looked into once, transparent and damaged ones being missing too; where that
        would take too long, along a long route, only whether it is there. Raises ValueError as
        `crop` does.
        """
