# SPDX-License-Identifier: Apache-2.0
"""Stores whose pixels say where in the world they lie."""

import sqlite3
from pathlib import Path

import cv2
import numpy as np
import pytest

from g2s_localizer.geometry.geodesy import LatLon, LocalFrame, mercator_pixel

ZOOM = 19


def world_colour(px, py):
    """RGB of a place given by its Mercator pixel at ZOOM: smooth, 0..255, shape (..., 3)."""
    waves = [np.sin(px / 9.0), np.sin(py / 11.0), np.sin((px + py) / 17.0)]
    return 128.0 + 100.0 * np.stack(waves, axis=-1)


def place_colour(crop):
    """What each pixel of a crop must look like, through LocalFrame alone: (H, W, 3) float."""
    v, u = np.indices(crop.image.shape[:2])
    xy = crop.xy_from_uv(np.stack([u.ravel(), v.ravel()], axis=1))
    lat, lon = LocalFrame(crop.centre).to_latlon_array(xy[:, 0], xy[:, 1])
    return world_colour(*mercator_pixel(lat, lon, ZOOM)).reshape(*u.shape, 3)


class TileWriter:
    """Writes the tiles around places; `shrink` > 0 writes a coarser zoom of the same world."""

    def __init__(self, tile_size=256, suffix="png", shrink=0):
        self.tile_size, self.suffix, self.zoom = tile_size, suffix, ZOOM - shrink
        self.step = 2**shrink * 256 / tile_size

    def encoded(self, x, y):
        pixel = np.arange(self.tile_size) + 0.5
        px = (x * self.tile_size + pixel) * self.step
        py = (y * self.tile_size + pixel) * self.step
        image = np.rint(world_colour(*np.meshgrid(px, py))).astype(np.uint8)
        return cv2.imencode(f".{self.suffix}", image[:, :, ::-1])[1].tobytes()

    def around(self, centre: LatLon, reach=1):
        """(x, y, encoded) of the tiles up to `reach` tiles away from that of `centre`."""
        px, py = mercator_pixel(centre.lat, centre.lon, self.zoom)
        for dx in range(-reach, reach + 1):
            for dy in range(-reach, reach + 1):
                x = (int(px // 256) + dx) % 2**self.zoom
                y = int(py // 256) + dy
                yield x, y, self.encoded(x, y)

    def slippy(self, folder: Path, centre: LatLon, reach=1) -> str:
        for x, y, encoded in self.around(centre, reach):
            file = folder / str(self.zoom) / str(x) / f"{y}.{self.suffix}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encoded)
        return f"slippy:{folder}"

    def mbtiles(self, file: Path, centre: LatLon, reach=1) -> str:
        database = sqlite3.connect(file)
        database.execute("CREATE TABLE metadata (name TEXT, value TEXT)")
        database.execute("INSERT INTO metadata VALUES ('attribution', 'painted by formula')")
        database.execute(
            "CREATE TABLE tiles (zoom_level INTEGER, tile_column INTEGER, tile_row INTEGER,"
            " tile_data BLOB)"
        )
        for x, y, encoded in self.around(centre, reach):
            row = 2**self.zoom - 1 - y
            database.execute("INSERT INTO tiles VALUES (?, ?, ?, ?)", (self.zoom, x, row, encoded))
        database.commit()
        database.close()
        return f"mbtiles:{file}"

    def pmtiles(self, file: Path, centre: LatLon, reach=1) -> str:
        from pmtiles.tile import Compression, TileType, zxy_to_tileid
        from pmtiles.writer import Writer

        kinds = {"png": TileType.PNG, "jpg": TileType.JPEG, "webp": TileType.WEBP}
        tiles = {zxy_to_tileid(self.zoom, x, y): t for x, y, t in self.around(centre, reach)}
        header = {"tile_type": kinds[self.suffix], "tile_compression": Compression.NONE}
        with file.open("wb") as stream:
            writer = Writer(stream)
            for tile in sorted(tiles):
                writer.write_tile(tile, tiles[tile])
            writer.finalize(header, {"attribution": "painted by formula"})
        return f"pmtiles:{file}"


@pytest.fixture(scope="session")
def tile_writer():
    """The class TileWriter."""
    return TileWriter


@pytest.fixture(scope="session")
def colour_error():
    """Function: largest difference between a crop's pixels and the colours of their places."""
    return lambda crop: float(np.abs(crop.image - place_colour(crop)).max())
