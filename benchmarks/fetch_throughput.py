# SPDX-License-Identifier: Apache-2.0
"""The figures of docs/imagery.md.

python -m benchmarks.fetch_throughput FOLDER     (an empty folder)

Takes some minutes and 1.2 GB of FOLDER. Tiles are made up; only times are measured.
"""

import hashlib
import multiprocessing
import shutil
import statistics
import sys
import time
from pathlib import Path

import cv2
import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "test" / "imagery" / "fetch"))

from hostile_server import HostileServer

from g2s_localizer.geometry.geodesy import LatLon, mercator_latlon
from g2s_localizer.imagery import open_imagery
from g2s_localizer.imagery.fetch.download import Download
from g2s_localizer.imagery.fetch.provider import Provider
from g2s_localizer.imagery.fetch.store import FetchStore
from g2s_localizer.imagery.picture import ImageHeader
from g2s_localizer.imagery.sidecar import Sidecar
from g2s_localizer.imagery.tiles.index import TileRecord
from g2s_localizer.imagery.tiles.slippy import SlippyStore

RUNS = 5
X, Y = 274410, 180026
RIGHTS = Sidecar("made up", "none", "made up")


def spread(values, unit, scale=1.0):
    ordered = sorted(value * scale for value in values)
    middle = statistics.median(ordered)
    return f"{middle:.3g} {unit} ({ordered[0]:.3g} to {ordered[-1]:.3g})"


def serve(latency, port):
    with HostileServer(latency) as server:
        port.put(server.url)
        time.sleep(3600.0)


def fetch(folder, count=400):
    """Measure tiles a second of fetches from a server with 50 ms of latency, in its own process;
    and seconds of the processor that a tile takes here.
    """
    port = multiprocessing.Queue()
    process = multiprocessing.Process(target=serve, args=(0.05, port), daemon=True)
    process.start()
    url = port.get() + "/jpeg/{z}/{x}/{y}"
    provider = Provider("made up", url, "a", "b", True, max_requests_per_second=1000.0)
    tiles = [(19, X + i % 20, Y + i // 20) for i in range(count)]
    rates, busy = [], []
    for _ in range(RUNS):
        with FetchStore(folder / "fetch", RIGHTS) as store:
            started, before = time.perf_counter(), time.process_time()
            result = Download(provider, store, "throughput").run(tiles)
            rates.append(count / (time.perf_counter() - started))
            busy.append((time.process_time() - before) / count)
        assert result.fetched == count
        shutil.rmtree(folder / "fetch")
    process.terminate()
    return rates, busy


def made_up(folder, side):
    """Write a store of side x side tiles without asking the disk to keep up."""
    pictures = []
    for seed in range(50):
        noise = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8)
        image = cv2.resize(noise, (256, 256), interpolation=cv2.INTER_CUBIC)
        pictures.append(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1].tobytes())
    with FetchStore(folder, RIGHTS) as store:
        store.put((19, X, Y), pictures[0], ImageHeader(1, 256, 256))
        first = store.index.record((19, X, Y))
        rows = []
        for i in range(side * side):
            encoded, tile = pictures[i % 50], (19, X + i % side, Y + i // side)
            record = TileRecord(1, 256, len(encoded), digest(encoded), "", "", first.fetched, None)
            path = store.index.path(tile, 1)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(encoded)
            rows.append((*tile, *vars(record).values()))
        with store.index._database as database:
            database.execute("BEGIN")
            marks = ",".join("?" * 11)
            database.executemany(f"INSERT OR REPLACE INTO tiles VALUES ({marks})", rows)


def digest(encoded):
    return hashlib.sha256(encoded).digest()


def verify(folder, count=20_000):
    """Measure the seconds to read and check 20,000 tiles, in the system's cache from run 2 on."""
    tiles = [(19, X + i % 200, Y + i // 200) for i in range(count)]
    times = []
    for _ in range(RUNS):
        with FetchStore(folder, RIGHTS) as store:
            started = time.perf_counter()
            assert len(store.status(tiles).fresh) == count
            times.append(time.perf_counter() - started)
    return times


def growth(folder, side):
    """Measure times (s) to open the store, to look a tile up, to read and check it, to crop; and of
    the crops the processor's, which other work on the machine does not lengthen much.
    """
    rng = np.random.default_rng(0)
    opened, looked_up, read, cropped, busy = [], [], [], [], []
    for _ in range(RUNS):
        started = time.perf_counter()
        imagery = open_imagery(f"slippy:{folder}")
        opened.append(time.perf_counter() - started)
    store = SlippyStore(folder)
    for x, y in rng.integers(0, side, (2000, 2)).tolist():
        started = time.perf_counter()
        store.has(19, X + x, Y + y)
        middle = time.perf_counter()
        store.read(19, X + x, Y + y)
        looked_up.append(middle - started)
        read.append(time.perf_counter() - middle)
    for px, py in rng.uniform(2.0, side - 2.0, (400, 2)):
        lat, lon = mercator_latlon((X + px) * 256, (Y + py) * 256, 19)
        started, before = time.perf_counter(), time.process_time()
        imagery.crop(LatLon(float(lat), float(lon)), 512 * 0.2, 0.2)
        cropped.append(time.perf_counter() - started)
        busy.append(time.process_time() - before)
    return opened, looked_up, read, cropped, busy


def main():
    folder = Path(sys.argv[1])
    rates, busy = fetch(folder)
    print("fetch, 50 ms latency:", spread(rates, "tiles/s"), flush=True)
    print("of the processor:", spread(busy, "ms a tile", 1e3), flush=True)
    for side in (32, 100, 316):
        made_up(folder / str(side), side)
        opened, looked_up, read, cropped, busy = growth(folder / str(side), side)
        low, high = np.percentile(looked_up, [50, 99]) * 1e6
        read_low, read_high = np.percentile(read, [50, 99]) * 1e6
        crop_low, crop_high = np.percentile(cropped, [50, 99]) * 1e3
        busy_low, busy_high = np.percentile(busy, [50, 99]) * 1e3
        print(
            f"{side * side} tiles: open {spread(opened, 'ms', 1e3)}; look-up p50 {low:.0f} "
            f"p99 {high:.0f} us; read and check p50 {read_low:.0f} p99 {read_high:.0f} us; "
            f"crop of 512 x 512 p50 {crop_low:.1f} p99 {crop_high:.1f} ms, "
            f"of the processor p50 {busy_low:.1f} p99 {busy_high:.1f} ms",
            flush=True,
        )
    print("verify 20,000 tiles:", spread(verify(folder / "316"), "s"))


if __name__ == "__main__":
    main()
