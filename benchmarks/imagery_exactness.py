# SPDX-License-Identifier: Apache-2.0
"""Errors of place of each source of imagery: the table of docs/.

A pattern that is a formula of metres east and north of a datum is painted into every kind of
store. Where a store's pixels lie is computed by pyproj alone (geocentric, then topocentric), on
a path that shares no code with the package. Crops are then compared to the formula: the
displacement that explains the difference best, in each of 4 x 4 patches, is the error.

    python -m benchmarks.imagery_exactness docs/imagery_exactness.md
"""

import argparse
import math
import platform
import sqlite3
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from pyproj import Transformer

from g2s_localizer.geometry.geodesy import LatLon
from g2s_localizer.imagery import Imagery, SatelliteCrop, open_imagery

HALF_WORLD = math.pi * 6378137.0
SIZE_M, GSD = 48.0, 0.25
PATCHES = 4
WAVES = np.array([[4.1, 0.9], [-1.3, 3.7], [2.6, -3.1]])
"""Wave vectors of the pattern, one to a colour (whole waves in 12 m)."""


@dataclass
class Painting:
    """The pattern around `datum`, as colours of places."""

    datum: LatLon
    enu: Transformer = field(init=False)

    def __post_init__(self):
        self.enu = Transformer.from_pipeline(
            "+proj=pipeline +step +proj=unitconvert +xy_in=deg +xy_out=rad "
            "+step +proj=cart +ellps=WGS84 +step +proj=topocentric +ellps=WGS84 "
            f"+lat_0={self.datum.lat!r} +lon_0={self.datum.lon!r} +h_0=0"
        )

    def metres(self, lat, lon):
        """Convert degrees to metres east and north of the datum."""
        east, north, _ = self.enu.transform(lon, lat, np.zeros_like(lat))
        return east, north

    def waves(self, east, north):
        """Return the pattern (..., 3) in -1..1 and its slopes per metre east and north."""
        vectors = WAVES * 2 * math.pi / 12.0
        phase = east[..., None] * vectors[:, 0] + north[..., None] * vectors[:, 1]
        slope = np.cos(phase)
        return np.sin(phase), slope * vectors[:, 0], slope * vectors[:, 1]

    def colours(self, lat, lon):
        values = self.waves(*self.metres(lat, lon))[0]
        return np.rint(128.0 + 100.0 * values).astype(np.uint8)

    def grid(self, crs, corner, pixel, size):
        """Return RGB (H, W, 3) of a raster in `crs`: corner (x, y), pixel size, size (W, H)."""
        x = corner[0] + (np.arange(size[0]) + 0.5) * pixel[0]
        y = corner[1] - (np.arange(size[1]) + 0.5) * pixel[1]
        lon, lat = Transformer.from_crs(crs, 4326, always_xy=True).transform(*np.meshgrid(x, y))
        return self.colours(lat, lon)


def zoom_of(lat):
    """Return the zoom whose pixels are 0.15 to 0.3 m."""
    return math.floor(math.log2(2 * HALF_WORLD * math.cos(math.radians(lat)) / 256 / 0.15))


def tiles(painting, zoom=None, reach_m=SIZE_M):
    """Return (zoom, x, y) -> encoded, of all tiles within `reach_m` of the datum."""
    place, zoom = painting.datum, zoom or zoom_of(painting.datum.lat)
    span = 2 * HALF_WORLD / 2**zoom
    x, y = Transformer.from_crs(4326, 3857, always_xy=True).transform(place.lon, place.lat)
    reach = 0.75 * reach_m / math.cos(math.radians(place.lat))
    result = {}
    for column in range(
        int((x - reach + HALF_WORLD) // span), int((x + reach + HALF_WORLD) // span) + 1
    ):
        for row in range(
            int((HALF_WORLD - y - reach) // span), int((HALF_WORLD - y + reach) // span) + 1
        ):
            corner = column * span - HALF_WORLD, HALF_WORLD - row * span
            image = painting.grid(3857, corner, (span / 256,) * 2, (256, 256))
            result[zoom, column % 2**zoom, row] = cv2.imencode(".png", image[..., ::-1])[
                1
            ].tobytes()
    return result


def write_slippy(folder, painting, zoom=None):
    for (z, x, y), encoded in tiles(painting, zoom).items():
        file = folder / "slippy" / str(z) / str(x) / f"{y}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encoded)
    return f"slippy:{folder / 'slippy'}"


def write_mbtiles(folder, painting):
    database = sqlite3.connect(folder / "t.mbtiles")
    database.execute("CREATE TABLE metadata (name TEXT, value TEXT)")
    database.execute(
        "CREATE TABLE tiles (zoom_level INTEGER, tile_column INTEGER, tile_row INTEGER,"
        " tile_data BLOB)"
    )
    for (zoom, x, y), encoded in tiles(painting).items():
        database.execute(
            "INSERT INTO tiles VALUES (?, ?, ?, ?)", (zoom, x, 2**zoom - 1 - y, encoded)
        )
    database.commit()
    database.close()
    return f"mbtiles:{folder / 't.mbtiles'}"


def write_pmtiles(folder, painting):
    from pmtiles.tile import Compression, TileType, zxy_to_tileid
    from pmtiles.writer import Writer

    stored = {zxy_to_tileid(*tile): encoded for tile, encoded in tiles(painting).items()}
    with (folder / "t.pmtiles").open("wb") as stream:
        writer = Writer(stream)
        for tile in sorted(stored):
            writer.write_tile(tile, stored[tile])
        writer.finalize({"tile_type": TileType.PNG, "tile_compression": Compression.NONE}, {})
    return f"pmtiles:{folder / 't.pmtiles'}"


def write_geotiff(file, painting, crs, pixel):
    """Write a raster of that pixel size (x, y) around the datum, its corner at no round number."""
    import rasterio

    place = painting.datum
    x, y = Transformer.from_crs(4326, crs, always_xy=True).transform(place.lon, place.lat)
    # Room for the largest angle between grid north and north that a far-off zone has.
    side = round(1.6 * SIZE_M / 0.2)
    corner = x - pixel[0] * (side / 2 + 0.37), y + pixel[1] * (side / 2 - 0.21)
    image = painting.grid(crs, corner, pixel, (side, side))
    grid = rasterio.transform.from_origin(*corner, *pixel)
    with rasterio.open(
        file, "w", driver="GTiff", width=side, height=side, count=3, dtype="uint8", crs=crs,
        transform=grid, photometric="RGB", compress="deflate",
    ) as dataset:  # fmt: skip
        dataset.write(image.transpose(2, 0, 1))
    return f"geotiff:{file}"


def utm_zone(place, zones_off=0):
    """Return the EPSG code of the UTM zone of a place, or of one so many zones further east."""
    zone = (int((place.lon + 180) // 6) + zones_off) % 60 + 1
    return (32600 if place.lat >= 0 else 32700) + zone


def write_utm(folder, painting, zones_off=0):
    crs = utm_zone(painting.datum, zones_off)
    return write_geotiff(folder / f"{crs}.tif", painting, crs, (0.2, 0.2))


def write_3857(folder, painting):
    pixel = 0.2 / math.cos(math.radians(painting.datum.lat))
    return write_geotiff(folder / "3857.tif", painting, 3857, (pixel, pixel))


def write_4326(folder, painting):
    pixel = 0.2 / 111320.0
    wide = pixel / math.cos(math.radians(painting.datum.lat))
    return write_geotiff(folder / "4326.tif", painting, 4326, (wide, pixel))


def write_satmap(folder, painting):
    """Write one frame whose record lies 20 m east and 12 m south of the datum."""
    lon, lat, _ = painting.enu.transform(20.0, -12.0, 0.0, direction="INVERSE")
    pixel = 2 * HALF_WORLD / 256 / 2**19
    x, y = Transformer.from_crs(4326, 3857, always_xy=True).transform(lon, lat)
    image = painting.grid(3857, (x - 640 * pixel, y + 640 * pixel), (pixel, pixel), (1280, 1280))
    drive = Path("2011_09_26", "2011_09_26_drive_0001_sync")
    record = folder / drive / "oxts" / "data" / "0000000000.txt"
    record.parent.mkdir(parents=True)
    record.write_text(f"{lat!r} {lon!r} 0.0")
    file = folder / "satmap" / drive / "0000000000.png"
    file.parent.mkdir(parents=True)
    cv2.imwrite(str(file), image[..., ::-1])
    return f"satmap:{folder / 'satmap'}"


SOURCES: dict[str, Callable[[Path, Painting], str]] = {
    "slippy": write_slippy,
    "mbtiles": write_mbtiles,
    "pmtiles": write_pmtiles,
    "satmap": write_satmap,
    "GeoTIFF, UTM": write_utm,
    "GeoTIFF, UTM, next zone": lambda folder, painting: write_utm(folder, painting, 1),
    "GeoTIFF, EPSG:3857": write_3857,
    "GeoTIFF, EPSG:4326": write_4326,
}


def open_source(name: str, folder: Path, painting: Painting) -> Imagery:
    folder.mkdir()
    return open_imagery(SOURCES[name](folder, painting))


def displacements(painting, difference, crop: SatelliteCrop):
    """Return (PATCHES^2, 2): metres east and north by which the pattern in each patch of a crop is
    displaced, where `difference` (S, S, 3) is its pixels minus those expected.
    """
    side = len(crop.image)
    values, by_east, by_north = painting.waves(*_places(crop))
    edges = np.linspace(0, side, PATCHES + 1).astype(int)
    found = []
    for top, bottom in pairwise(edges):
        for left, right in pairwise(edges):
            part = np.s_[top:bottom, left:right]
            # Interpolation dulls the pattern a little: its contrast is fitted too.
            terms = [-100.0 * by_east[part], -100.0 * by_north[part], 100.0 * values[part]]
            matrix = np.stack([term.ravel() for term in terms], axis=1)
            found.append(np.linalg.lstsq(matrix, difference[part].ravel(), rcond=None)[0][:2])
    return np.array(found)


def placed_wrong(painting, crop):
    """Return (PATCHES^2, 2) metres by which a crop around the datum shows things displaced."""
    expected = 128.0 + 100.0 * painting.waves(*_places(crop))[0]
    return displacements(painting, crop.image - expected, crop)


def _places(crop):
    """Return east and north (S, S) of a crop's pixels from its centre (m)."""
    side = len(crop.image)
    metres = (np.arange(side) - (side - 1) / 2) * crop.gsd
    right, up = np.meshgrid(metres, -metres)
    c, s = math.cos(crop.yaw), math.sin(crop.yaw)
    return c * right - s * up, s * right + c * up


def measure(places, progress=print):
    """Return {source: (N, 2)}: largest error (m) and largest difference to slippy (px) at each
    place.
    """
    rows = {name: [] for name in SOURCES}
    for index, place in enumerate(places):
        painting = Painting(place)
        with tempfile.TemporaryDirectory() as folder:
            first = None
            for number, name in enumerate(SOURCES):
                imagery = open_source(name, Path(folder) / str(number), painting)
                crop = imagery.crop(place, SIZE_M, GSD)
                first = first or crop
                error = np.linalg.norm(placed_wrong(painting, crop), axis=1).max()
                beside = crop.image.astype(float) - first.image
                apart = np.linalg.norm(displacements(painting, beside, crop), axis=1).max() / GSD
                rows[name].append((error, apart))
        progress(f"{index + 1}/{len(places)} {place}")
    return {name: np.array(row) for name, row in rows.items()}


def random_places(count, low, high, rng):
    """Draw places of both hemispheres between two latitudes (degrees from the equator)."""
    lat = rng.uniform(low, high, count) * rng.choice([-1, 1], count)
    return [LatLon(*pair) for pair in zip(lat, rng.uniform(-180, 180, count), strict=True)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="the Markdown file to write")
    parser.add_argument("--places", type=int, default=12, help="places in a band of latitude")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    bands = [(0, 15), (15, 30), (30, 45), (45, 60), (60, 70)]
    measured = {band: measure(random_places(args.places, *band, rng)) for band in bands}
    args.out.write_text(table(measured, args.places), encoding="utf-8")


def table(measured, count):
    lines = [
        "# How exact crops are",
        "",
        "Synthetic: a pattern given by a formula in metres is painted into each kind of store by",
        "pyproj alone, cropped by the package, and compared to the formula (see",
        f"`benchmarks/imagery_exactness.py`). Crops of {SIZE_M:g} m at {GSD} m/px, {count} random",
        "places in each band of latitude, both hemispheres, all longitudes. An error is the",
        f"displacement of the worst of {PATCHES} x {PATCHES} patches of a crop; a cell is median /",
        "largest over the places. It says nothing of how well real imagery is georeferenced: that",
        "is the sidecar's offset and sigma.",
        "",
        "    python -m benchmarks.imagery_exactness docs/imagery_exactness.md",
        "",
        f"Written by that command on {platform.machine()}, Python {platform.python_version()}.",
    ]
    for title, column, scale, form in (
        ("Displacement (mm; the promise is 10)", 0, 1e3, "{:.2f} / {:.2f}"),
        (
            "Displacement to the slippy crop of the same place (px; the promise is 0.1)",
            1,
            1,
            "{:.4f} / {:.4f}",
        ),
    ):
        lines += ["", f"## {title}", ""]
        lines.append("| source | " + " | ".join(f"{a} to {b}°" for a, b in measured) + " |")
        lines.append("|---|" + "---|" * len(measured))
        for name in SOURCES:
            cells = []
            for rows in measured.values():
                values = rows[name][:, column] * scale
                cells.append(form.format(np.median(values), values.max()))
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
