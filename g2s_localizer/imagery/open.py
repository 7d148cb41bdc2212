# SPDX-License-Identifier: Apache-2.0
"""Opening imagery by its URI: which kind of store a path is, and its reader."""

from __future__ import annotations

from pathlib import Path

from g2s_localizer.imagery.content import scheme_of
from g2s_localizer.imagery.satmap import SatmapImagery
from g2s_localizer.imagery.sidecar import read_sidecar
from g2s_localizer.imagery.source import Imagery
from g2s_localizer.imagery.tiles.mbtiles import MBTilesStore
from g2s_localizer.imagery.tiles.pmtiles import PMTilesStore
from g2s_localizer.imagery.tiles.slippy import SlippyStore
from g2s_localizer.imagery.tiles.tiled import TiledImagery

SCHEMES = ("slippy", "mbtiles", "pmtiles", "geotiff", "satmap")
"""Words before the colon of an imagery URI."""


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
    scheme, path = scheme_and_path(uri)
    if scheme == "slippy":
        return TiledImagery(SlippyStore(path), read_sidecar(path))
    if scheme == "mbtiles":
        return TiledImagery(MBTilesStore(path), read_sidecar(path))
    if scheme == "pmtiles":
        return TiledImagery(PMTilesStore(path), read_sidecar(path))
    if scheme == "geotiff":
        # It stands on rasterio, which need not be installed.
        from g2s_localizer.imagery.raster.geotiff import GeoTiffImagery

        return GeoTiffImagery(path, read_sidecar(path))
    return SatmapImagery(path, read_sidecar(path))


def scheme_and_path(uri: str) -> tuple[str, Path]:
    """Return the scheme of an imagery URI, by content where it has none, and the path of the store.

    Raises ValueError and FileNotFoundError as `open_imagery` does.
    """
    scheme, path = _split(uri)
    found = scheme_of(path)
    if scheme and found and found != scheme:
        raise ValueError(f'"{uri}" is {found}: by its content; write {found}:{path}')
    chosen = scheme or found
    if chosen is None:
        raise ValueError(f"{path} holds no imagery: its content is none of {', '.join(SCHEMES)}")
    return chosen, path


def _split(uri: str) -> tuple[str | None, Path]:
    """Return the scheme, None where only a path is given, and the path."""
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
