# SPDX-License-Identifier: Apache-2.0
"""How long a crop takes, by kind of store, and whether that grows with the store.

Stores of noise (JPEG tiles of 256 pixels, or a GeoTIFF of such blocks) of 1k, 10k and 100k tiles
of zoom 19 are written, opened, and cropped at 512 x 512 pixels of 0.2 m, files in the page cache:

- cold: around places at random, so that every tile of a crop (9 to 16) is to be read and decoded;
- driving: along a straight line, 1 m a crop, so that a column of tiles is to be decoded every 50 m;
- decoded: the same line once more, all tiles in the cache of decoded ones.

Each cell is median / 99th percentile in milliseconds: of the wall clock, which others on the
machine lengthen, and of processor time, which is what it takes where nobody else computes.

    python test/imagery_speed.py docs/imagery_speed.md
"""

import argparse
import gc
import math
import multiprocessing
import os
import platform
import sqlite3
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from g2s_localizer.geometry.geodesy import LatLon, LocalFrame, mercator_latlon
from g2s_localizer.imagery import open_imagery

ZOOM, WEST, NORTH = 19, 274400, 179900
SIZE_M, GSD = 102.4, 0.2
CROPS = 600


def encoded_tiles(count=64):
    """Different tiles of blurred noise, as JPEG."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        noise = cv2.GaussianBlur(rng.integers(0, 256, (256, 256, 3), np.uint8), (0, 0), 1.5)
        yield cv2.imencode(".jpg", noise, [cv2.IMWRITE_JPEG_QUALITY, 75])[1].tobytes()


def indices(side):
    return ((x, y) for x in range(WEST, WEST + side) for y in range(NORTH, NORTH + side))


def write_slippy(folder, side, encoded):
    for index, (x, y) in enumerate(indices(side)):
        column = folder / "slippy" / str(ZOOM) / str(x)
        if y == NORTH:
            column.mkdir(parents=True)
        (column / f"{y}.jpg").write_bytes(encoded[index % len(encoded)])
    return f"slippy:{folder / 'slippy'}"


def write_mbtiles(folder, side, encoded):
    database = sqlite3.connect(folder / "t.mbtiles")
    database.execute("CREATE TABLE metadata (name TEXT, value TEXT)")
    database.execute(
        "CREATE TABLE tiles (zoom_level INTEGER, tile_column INTEGER, tile_row INTEGER,"
        " tile_data BLOB)"
    )
    database.execute("CREATE UNIQUE INDEX tile_index ON tiles (zoom_level, tile_column, tile_row)")
    rows = (
        (ZOOM, x, 2**ZOOM - 1 - y, encoded[index % len(encoded)])
        for index, (x, y) in enumerate(indices(side))
    )
    database.executemany("INSERT INTO tiles VALUES (?, ?, ?, ?)", rows)
    database.commit()
    database.close()
    return f"mbtiles:{folder / 't.mbtiles'}"


def write_pmtiles(folder, side, encoded):
    from pmtiles.tile import Compression, TileType, zxy_to_tileid
    from pmtiles.writer import Writer

    ids = sorted(zxy_to_tileid(ZOOM, x, y) for x, y in indices(side))
    with (folder / "t.pmtiles").open("wb") as stream:
        writer = Writer(stream)
        for index, tile in enumerate(ids):
            # A number at the end, behind the image, makes tiles differ as real ones do.
            writer.write_tile(tile, encoded[index % len(encoded)] + index.to_bytes(4, "little"))
        writer.finalize({"tile_type": TileType.JPEG, "tile_compression": Compression.NONE}, {})
    return f"pmtiles:{folder / 't.pmtiles'}"


def write_geotiff(folder, side, encoded):
    import rasterio

    file, pixels = folder / "t.tif", side * 256
    span = 2 * math.pi * 6378137.0 / 2**ZOOM
    half = math.pi * 6378137.0
    grid = rasterio.transform.from_origin(
        WEST * span - half, half - NORTH * span, span / 256, span / 256
    )
    with rasterio.open(
        file, "w", driver="GTiff", width=pixels, height=pixels, count=3, dtype="uint8", crs=3857,
        transform=grid, tiled=True, blockxsize=256, blockysize=256, compress="jpeg",
        photometric="YCbCr", BIGTIFF="YES",
    ) as dataset:  # fmt: skip
        decoded = [
            cv2.imdecode(np.frombuffer(one, np.uint8), 1).transpose(2, 0, 1) for one in encoded
        ]
        for index, (x, y) in enumerate(indices(side)):
            window = rasterio.windows.Window((x - WEST) * 256, (y - NORTH) * 256, 256, 256)
            dataset.write(decoded[index % len(decoded)], window=window)
    return f"geotiff:{file}"


STORES = {
    "slippy": write_slippy,
    "mbtiles": write_mbtiles,
    "pmtiles": write_pmtiles,
    "GeoTIFF": write_geotiff,
}


def places(side, count, rng):
    """Places at least a crop away from the store's border."""
    margin = 3.0
    at = rng.uniform(margin, side - margin, (count, 2)) * 256 + np.array([WEST, NORTH]) * 256
    return [LatLon(float(a), float(b)) for a, b in zip(*mercator_latlon(*at.T, ZOOM), strict=True)]


def timed(work):
    """Milliseconds of the wall clock and of the processors."""
    start = time.perf_counter(), time.process_time()
    work()
    return 1e3 * (time.perf_counter() - start[0]), 1e3 * (time.process_time() - start[1])


def crops(imagery, route):
    """(N, 2) milliseconds of each crop along a route."""
    return np.array([timed(lambda at=at: imagery.crop(at, SIZE_M, GSD)) for at in route])


def measure(uri, side):
    """Columns of the table: lists of milliseconds."""
    rng = np.random.default_rng(1)
    opened = np.array([timed(lambda: open_imagery(uri)) for _ in range(9)])
    imagery = open_imagery(uri)
    # A few crops first: libraries load, directories fill.
    crops(imagery, places(side, 3, rng))
    gc.collect()
    cold = crops(imagery, places(side, CROPS // 4, rng))
    lat, lon = mercator_latlon((WEST + side / 2) * 256, (NORTH + side / 2) * 256, ZOOM)
    frame = LocalFrame(LatLon(float(lat), float(lon)))
    route = [frame.to_latlon(i - CROPS / 2.0, 0.3 * i - 0.15 * CROPS) for i in range(CROPS)]
    driving, decoded = crops(imagery, route), crops(imagery, route)
    asked = np.array([timed(lambda at=at: imagery.missing(at, SIZE_M, GSD)) for at in route[::4]])
    wall = [column[:, 0] for column in (opened, cold, driving, decoded)]
    return wall + [column[:, 1] for column in (opened, cold, driving, decoded, asked)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="the Markdown file to write")
    parser.add_argument("--sides", type=int, nargs="+", default=[32, 100, 316])
    args = parser.parse_args()
    encoded = list(encoded_tiles())
    lines = [
        f"# {__doc__.splitlines()[0][:-1]}",
        *__doc__.splitlines()[1:],
        "",
        f"Written by that command on {platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}; {CROPS} crops a cell, {CROPS // 4} cold ones. At the start "
        f"{os.getloadavg()[1]:.0f} processes of others wanted to run.",
        "",
        "| store | tiles | wall: opening | cold | driving | decoded "
        "| processor: opening | cold | driving | decoded | missing() |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, write in STORES.items():
        for side in args.sides:
            with tempfile.TemporaryDirectory() as folder:
                # Writing takes long and may yield to others; measuring may not.
                with multiprocessing.Pool(1, os.nice, (10,)) as pool:
                    uri = pool.apply(write, (Path(folder), side, encoded))
                row = measure(uri, side)
            cells = [f"{np.median(ms):.1f} / {np.percentile(ms, 99):.1f}" for ms in row]
            lines.append(f"| {name} | {side * side:,} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    args.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
