# SPDX-License-Identifier: Apache-2.0
"""What imagery is to the rest of the package: a crop around a place, or its absence by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from g2s_localizer.geometry.geodesy import LatLon
from g2s_localizer.imagery.crop import SatelliteCrop

TILES_NAMED = 6
"""Tiles that the message of MissingImagery spells out; `.tiles` holds all."""


class MissingImagery(Exception):
    """The store lacks tiles of the crop, or cannot decode them.

    `tiles` names them as "z/x/y". Expected trouble: the vehicle has left the stored area.
    """

    def __init__(self, store: str, reasons: Mapping[str, str]) -> None:
        self.tiles: tuple[str, ...] = tuple(reasons)
        named = [f"{tile} ({reason})" for tile, reason in reasons.items()][:TILES_NAMED]
        more = len(self.tiles) - len(named)
        super().__init__(
            f"{store} lacks {len(self.tiles)} tile(s): {', '.join(named)}"
            + (f" and {more} more" if more else "")
        )


class Imagery(Protocol):
    """A source of satellite or aerial imagery."""

    @property
    def attribution(self) -> str:
        """Whose imagery it is; "" where the store does not say."""

    @property
    def offset_m(self) -> tuple[float, float]:
        """Metres east and north of a place where the source shows it; crops are without it."""

    @property
    def georeferencing_sigma_m(self) -> float | None:
        """Standard deviation (m per axis) of where crops show things; None where unknown."""

    def crop(self, centre: LatLon, size_m: float, gsd: float) -> SatelliteCrop:
        """The north-up square of round(size_m / gsd) pixels a side around `centre`.

        Raises MissingImagery where the store does not cover it, ValueError for a size or gsd
        that makes no crop.
        """

    def missing(self, centre: LatLon, size_m: float, gsd: float) -> tuple[str, ...]:
        """Names of the parts that `crop` of the same arguments would lack; () where it has all.

        Looks up indices and decodes nothing, so it is cheap enough to ask along a whole route,
        and cannot know of parts that are stored but broken. Raises ValueError as `crop` does.
        """


def open_imagery(uri: str) -> Imagery:
    """Open "slippy:DIR" (DIR/{z}/{x}/{y}.png|jpg|jpeg|webp) or "mbtiles:FILE".

    Raises ValueError for another scheme or a store without a usable tile, FileNotFoundError
    for an absent one.
    """
    # The stores stand on this module's MissingImagery, so they are imported when first opened.
    from g2s_localizer.imagery.mbtiles import MBTilesStore
    from g2s_localizer.imagery.sidecar import read_sidecar
    from g2s_localizer.imagery.slippy import SlippyStore
    from g2s_localizer.imagery.tiled import TiledImagery

    scheme, _, path = uri.partition(":")
    if scheme == "slippy" and path:
        return TiledImagery(SlippyStore(Path(path)), read_sidecar(Path(path)))
    if scheme == "mbtiles" and path:
        return TiledImagery(MBTilesStore(Path(path)), read_sidecar(Path(path)))
    raise ValueError(f'imagery must be "slippy:DIR" or "mbtiles:FILE", got "{uri}"')
