# SPDX-License-Identifier: Apache-2.0
"""What imagery is to the rest of the package: a crop around a place, or its absence by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from g2s_localizer.geometry.geodesy import LatLon
from g2s_localizer.imagery.crop import SatelliteCrop
from g2s_localizer.imagery.level import Level

SCHEMES = ("slippy", "mbtiles", "pmtiles", "geotiff", "satmap")
"""What may stand before the colon of an imagery URI."""

TILES_NAMED = 6
"""Tiles that the message of MissingImagery spells out; `.tiles` holds all."""


class MissingImagery(Exception):
    """The store lacks parts of the crop, or cannot decode them.

    `tiles` names them: tiles as "z/x/y", places as "latitude,longitude". Expected trouble: the
    vehicle has left the stored area. `hint` says what else is known of why.
    """

    def __init__(
        self, store: str, reasons: Mapping[str, str], kind: str = "tile", hint: str = ""
    ) -> None:
        self.tiles: tuple[str, ...] = tuple(reasons)
        named = [f"{tile} ({reason})" for tile, reason in reasons.items()][:TILES_NAMED]
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

    def levels(self) -> list[Level]:
        """What there is, resolution by resolution."""

    def check(self) -> Iterator[tuple[str, str]]:
        """Read and decode all of it: the name of each part, and what is wrong with it or "".

        What crops would be refused for is wrong: damage, transparency, an area of one colour.
        """

    def missing(self, centre: LatLon, size_m: float, gsd: float) -> tuple[str, ...]:
        """Names of the parts that `crop` of the same arguments would lack; () where it has all.

        Each part is looked into once, transparent and damaged ones being missing too; where that
        would take too long, along a long route, only whether it is there. Raises ValueError as
        `crop` does.
        """


def open_imagery(uri: str) -> Imagery:
    """Open a store of imagery on this machine; never one on a network.

    slippy:DIR    DIR/{z}/{x}/{y}.png|jpg|jpeg|webp, rows from the north
    mbtiles:FILE  one SQLite database of tiles
    pmtiles:FILE  one PMTiles (version 3) file of tiles
    geotiff:FILE  a GeoTIFF or COG of any coordinate system, or a VRT over such files below its
                  own folder; needs the package rasterio
    satmap:DIR    DIR/{date}/{drive}/{frame}.png, one image around each frame of KITTI's raw
                  drives, which lie beside DIR
    PATH          any of these, told apart by content and not by suffix

    A sidecar (see `sidecar.py`) beside the store gives its offset, sigma and rights.

    Raises ValueError for another scheme, for content that is not what the scheme says, or for
    a store without a usable part; FileNotFoundError for an absent one; ImportError naming the
    package that reading it needs.
    """
    # The stores stand on this module's MissingImagery, so they are imported when first opened.
    from g2s_localizer.imagery.sidecar import read_sidecar
    from g2s_localizer.imagery.tiled import TiledImagery

    scheme, path = scheme_and_path(uri)
    if scheme == "slippy":
        from g2s_localizer.imagery.slippy import SlippyStore

        return TiledImagery(SlippyStore(path), read_sidecar(path))
    if scheme == "mbtiles":
        from g2s_localizer.imagery.mbtiles import MBTilesStore

        return TiledImagery(MBTilesStore(path), read_sidecar(path))
    if scheme == "pmtiles":
        from g2s_localizer.imagery.pmtiles import PMTilesStore

        return TiledImagery(PMTilesStore(path), read_sidecar(path))
    if scheme == "geotiff":
        from g2s_localizer.imagery.geotiff import GeoTiffImagery

        return GeoTiffImagery(path, read_sidecar(path))
    from g2s_localizer.imagery.satmap import SatmapImagery

    return SatmapImagery(path, read_sidecar(path))


def scheme_and_path(uri: str) -> tuple[str, Path]:
    """The scheme of an imagery URI, by content where it has none, and the path of the store.

    Raises ValueError and FileNotFoundError as `open_imagery` does.
    """
    from g2s_localizer.imagery.content import scheme_of

    scheme, path = _split(uri)
    found = scheme_of(path)
    if scheme and found and found != scheme:
        raise ValueError(f'"{uri}" is {found}: by its content; write {found}:{path}')
    chosen = scheme or found
    if chosen is None:
        raise ValueError(f"{path} holds no imagery: its content is none of {', '.join(SCHEMES)}")
    return chosen, path


def _split(uri: str) -> tuple[str | None, Path]:
    """The scheme, None where only a path is given, and the path."""
    if "://" in uri:
        raise ValueError(f'imagery is read from this machine only, got "{uri}": fetch it first')
    scheme, colon, path = uri.partition(":")
    # Absolute, because messages are read where nobody knows in which folder the process runs.
    if colon and scheme in SCHEMES and path:
        return scheme, Path(path).absolute()
    if uri and (not colon or Path(uri).exists()):
        return None, Path(uri).absolute()
    choices = ", ".join(f"{name}:" for name in SCHEMES)
    raise ValueError(f'imagery must be a path, or one after {choices}; got "{uri}"')
