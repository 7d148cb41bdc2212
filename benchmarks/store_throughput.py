# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/imagery_throughput.md.

python -m benchmarks.store_throughput FOLDER     (an empty folder; about 8 GB, 15 minutes)

Tiles and rasters are made up (smooth noise): only times and sizes are measured.
"""

import contextlib
import io
import os
import statistics
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import rasterio
from rasterio.windows import Window

from g2s_localizer.geometry.geodesy import LatLon, LocalFrame, mercator_latlon
from g2s_localizer.imagery import open_imagery
from g2s_localizer.tools.tiles.main import main as g2s_tiles

RUNS = 5
CROPS = 100
X, Y, ZOOM = 274410, 180026, 19
PIXELS, GSD = 512, 0.2
SIDES = (32, 100, 316)
EAST, NORTH = 456000.0, 5430000.0
PICTURES = 50


def pictures():
    for seed in range(PICTURES):
        noise = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8)
        yield cv2.resize(noise, (256, 256), interpolation=cv2.INTER_CUBIC)


def make_folder(folder, columns, rows):
    quality = [cv2.IMWRITE_JPEG_QUALITY, 75]
    encoded = [cv2.imencode(".jpg", picture, quality)[1].tobytes() for picture in pictures()]
    for x in range(X, X + columns):
        (folder / f"{ZOOM}/{x}").mkdir(parents=True)
        for y in range(Y, Y + rows):
            # No two files are the same, as no two tiles are: a comment of our own at the end.
            content = encoded[(x * 7 + y) % PICTURES]
            (folder / f"{ZOOM}/{x}/{y}.jpg").write_bytes(content + b"%d %d\xff\xd9" % (x, y))
    return folder


def make_geotiff(file, side):
    profile = {
        "driver": "GTiff", "width": side * 256, "height": side * 256, "count": 3,
        "dtype": "uint8", "crs": "EPSG:25832", "tiled": True, "blockxsize": 256,
        "blockysize": 256, "compress": "JPEG", "photometric": "YCBCR", "BIGTIFF": "YES",
        "transform": rasterio.transform.from_origin(EAST, NORTH, GSD, GSD),
        "NUM_THREADS": "ALL_CPUS",
    }  # fmt: skip
    row = np.concatenate(list(pictures()), axis=1)
    row = np.tile(row, (1, -(-side // PICTURES) + 1, 1)).transpose(2, 0, 1)
    with rasterio.open(file, "w", **profile) as out:
        for i in range(side):
            shift = i % PICTURES * 256
            part = row[:, :, shift : shift + side * 256]
            out.write(part, window=Window(0, i * 256, side * 256, 256))
    return file


def places(store, side, count, seed):
    """Draw random places (count) whose crops lie inside the store."""
    rng = np.random.default_rng(seed)
    if store.suffix == ".tif":
        from pyproj import Transformer

        to_wgs84 = Transformer.from_crs(25832, 4326, always_xy=True)
        e, n = rng.uniform(80.0, side * 256 * GSD - 80.0, (2, count))
        lon, lat = to_wgs84.transform(EAST + e, NORTH - n)
    else:
        px, py = rng.uniform(2.0, side - 2.0, (2, count))
        lat, lon = mercator_latlon((X + px) * 256, (Y + py) * 256, ZOOM)
    return [LatLon(float(a), float(b)) for a, b in zip(lat, lon, strict=True)]


def forget(store, imagery, place):
    """Let the system forget what it holds of the files in memory."""
    files = [store]
    if store.is_dir():
        level = f"{ZOOM}/"
        names = imagery.missing(place, 1.0, GSD) or names_of(place)
        files = [store / f"{name}.jpg" for name in names if name.startswith(level)]
    for file in files:
        with contextlib.suppress(FileNotFoundError), file.open("rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def names_of(place):
    from g2s_localizer.geometry.geodesy import mercator_pixel

    px, py = mercator_pixel(place.lat, place.lon, ZOOM)
    column, row = int(px // 256), int(py // 256)
    near = range(-2, 3)
    return [f"{ZOOM}/{column + dx}/{row + dy}" for dx in near for dy in near]


def timed(imagery, place):
    """Measure seconds of processor and of wall time of one crop."""
    processor, wall = time.process_time(), time.perf_counter()
    imagery.crop(place, PIXELS * GSD, GSD)
    return time.process_time() - processor, time.perf_counter() - wall


def crops(store, side, seed, cold):
    """Measure times (N, 2) of crops at random places, each the first after the store was opened:
    all tiles have to be found, read and decoded.
    """
    times = []
    for place in places(store, side, CROPS, seed):
        imagery = open_imagery(str(store))
        if cold:
            forget(store, imagery, place)
        times.append(timed(imagery, place))
    return np.array(times)


def drive(store, side, seed):
    """Measure times (N, 2) of a drive's crops, every 4 m a new one, to and fro within 200 m."""
    imagery = open_imagery(str(store))
    frame = LocalFrame(places(store, side, 1, seed)[0])
    steps = 4.0 * np.abs((np.arange(2 * CROPS) + 25) % 100 - 50) - 100.0
    return np.array([timed(imagery, frame.to_latlon(float(x), 0.0)) for x in steps])


def spread(values, scale=1.0, digits=1):
    ordered = [value * scale for value in sorted(values)]
    middle = statistics.median(ordered)
    return f"{middle:.{digits}f} ({ordered[0]:.{digits}f} to {ordered[-1]:.{digits}f})"


def quietly(*arguments):
    """Measure the seconds that a command of g2s-tiles takes."""
    started = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        assert g2s_tiles([str(argument) for argument in arguments]) == 0
    return time.perf_counter() - started


def row_of(store, side):
    warm = [crops(store, side, seed, cold=False) for seed in range(RUNS)]
    cold = [crops(store, side, seed, cold=True) for seed in range(RUNS)]
    along = [drive(store, side, seed) for seed in range(RUNS)]
    opened = []
    for _ in range(RUNS):
        started = time.perf_counter()
        open_imagery(str(store))
        opened.append(time.perf_counter() - started)

    def percentile(series, share, clock):
        return spread([np.percentile(times[:, clock], share) for times in series], 1e3)

    return " | ".join(
        [
            spread([1.0 / times[:, 0].mean() for times in warm], 1, 0),
            percentile(warm, 50, 0),
            percentile(warm, 99, 0),
            percentile(warm, 50, 1),
            percentile(warm, 99, 1),
            percentile(cold, 99, 1),
            percentile(along, 50, 0),
            percentile(along, 99, 0),
            spread(opened, 1e3),
        ]
    )


def main():
    root = Path(sys.argv[1])
    heads = [
        "store", "tiles", "crops/s of CPU", "CPU p50", "CPU p99", "wall p50", "wall p99",
        "wall p99, cold", "drive CPU p50", "drive CPU p99", "open",
    ]  # fmt: skip
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for side in SIDES:
        folder = make_folder(root / f"slippy{side}", side, side)
        stores = [folder, root / f"{side}.mbtiles", root / f"{side}.pmtiles"]
        for store in stores[1:]:
            quietly("convert", folder, store)
        stores.append(make_geotiff(root / f"{side}.tif", side))
        for name, store in zip(("folder", "MBTiles", "PMTiles", "GeoTIFF"), stores, strict=True):
            print(f"| {name} | {side * side} | {row_of(store, side)} |", flush=True)
    folder = make_folder(root / "packed", 200, 100)
    size = sum(file.stat().st_size for file in folder.rglob("*.jpg"))
    print(f"\n20,000 tiles, {size / 1e6:.0f} MB:")
    for run in range(3):
        times = {}
        for suffix in ("mbtiles", "pmtiles"):
            out = root / f"packed{run}.{suffix}"
            times[f"convert to {suffix}"] = quietly("convert", folder, out)
            times[f"verify {suffix}"] = quietly("verify", out)
        times["verify folder"] = quietly("verify", folder)
        times["convert to folder"] = quietly(
            "convert", root / f"packed{run}.mbtiles", root / f"unpacked{run}"
        )
        print("; ".join(f"{what} {value:.1f} s" for what, value in times.items()), flush=True)


if __name__ == "__main__":
    main()
