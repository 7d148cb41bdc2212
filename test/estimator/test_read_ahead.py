# SPDX-License-Identifier: Apache-2.0
import gc
import threading
import time
from collections import Counter

import cv2
import numpy as np
import pytest

from g2s_localizer.estimator.config import LocalizerConfig
from g2s_localizer.estimator.estimate import Observation, Prior, Rejection
from g2s_localizer.estimator.localizer import Localizer
from g2s_localizer.estimator.read_ahead import ReadAhead
from g2s_localizer.geometry import Camera, LatLon, LocalFrame, Pose2D
from g2s_localizer.geometry.geodesy import mercator_pixel
from g2s_localizer.imagery.tiles.slippy import SlippyStore
from g2s_localizer.imagery.tiles.tiled import TiledImagery
from g2s_localizer.model import G2SNet, model_config

FRAME = LocalFrame(LatLon(49.01, 8.42))
SIZE_M, GSD, SNAP_M = 70.0, 0.25, 4.0
SPEED = 15.0
TINY = model_config(
    width=4, levels=3, features=4, crop_m=48.0, reach_m=12.0, gsd=0.5, ground_height=64,
    ground_width=128,
)  # fmt: skip
CAMERA = Camera(
    np.array([[80.0, 0, 63.5], [0, 80.0, 30.0], [0, 0, 1]]),
    128,
    96,
    np.zeros(5),
    np.array([[0, 0, 1, 1.0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1.0]]),
)


class CountingStore(SlippyStore):
    """Counts the tiles that are read from disk; slow when asked to be."""

    def __init__(self, folder):
        super().__init__(folder)
        self.reads = Counter()
        self.delay_s = 0.0

    def read(self, zoom, x, y):
        time.sleep(self.delay_s)
        self.reads[threading.current_thread().name.startswith("g2s-read-ahead")] += 1
        return super().read(zoom, x, y)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Zoom 19, from 150 m west of the datum to 450 m east of it."""
    folder = tmp_path_factory.mktemp("tiles")
    (left, right), (bottom, top) = (
        [int(p // 256) for p in axis]
        for axis in mercator_pixel(*FRAME.to_latlon_array([-150.0, 450.0], [-80.0, 80.0]), 19)
    )
    tile = cv2.imencode(".jpg", np.full((256, 256, 3), 90, np.uint8))[1].tobytes()
    for x in range(left, right + 1):
        (folder / f"19/{x}").mkdir(parents=True)
        for y in range(top, bottom + 1):
            (folder / f"19/{x}/{y}.jpg").write_bytes(tile)
    return folder


def prior(t, x, y=0.0, frame=FRAME):
    return Prior(round(t * 1e9), Pose2D(x, y, 0.0), np.diag([1.0, 1.0, 0.01]), frame)


def drive(ahead, seconds, speed=SPEED, start=0.0):
    """Follow a straight line to the east, at 10 Hz of simulated time."""
    for t in np.arange(0.0, seconds, 0.1):
        ahead.follow(prior(t, start + speed * t))
        rest(ahead)


def rest(ahead):
    """Until what was asked for has been read."""
    ahead._executor.submit(lambda: None).result(timeout=10)


def crop_at(imagery, x, y=0.0):
    cell = SNAP_M * round(x / SNAP_M), SNAP_M * round(y / SNAP_M)
    return imagery.crop(FRAME.to_latlon(*cell), SIZE_M, GSD)


def reads_while_driving(imagery, store, speed, ahead):
    """Tiles that the crops of a vehicle waited for, after its first 2 s."""
    for t in np.arange(0.0, 300.0 / speed, 0.1):
        crop_at(imagery, speed * t)
        if t < 2.0:
            store.reads.clear()
        if ahead:
            ahead.follow(prior(t, speed * t))
            rest(ahead)
    return store.reads[False]


@pytest.mark.parametrize("speed", [SPEED, 45.0])
def test_on_a_straight_line_no_crop_waits_for_the_disk(folder, speed):
    imagery = TiledImagery(store := CountingStore(folder))
    assert reads_while_driving(imagery, store, speed, ReadAhead(imagery, SIZE_M, GSD, SNAP_M)) == 0
    assert store.reads[True] > 0


def test_crops_ahead_are_read_twice_a_second_not_with_every_image(folder):
    imagery = TiledImagery(CountingStore(folder))
    crop, read = imagery.crop, []
    imagery.crop = lambda *asked: (read.append(asked), crop(*asked))[1]
    drive(ReadAhead(imagery, SIZE_M, GSD, SNAP_M), 11.0)
    assert 15 <= len(read) <= 21


def test_what_a_crop_needs_is_there_two_seconds_before(folder):
    imagery = TiledImagery(store := CountingStore(folder))
    ahead = ReadAhead(imagery, SIZE_M, GSD, SNAP_M)
    for t in np.arange(0.0, 12.0, 0.1):
        crop_at(imagery, SPEED * t)
        ahead.follow(prior(t, SPEED * t))
        rest(ahead)
    store.reads.clear()
    crop_at(imagery, SPEED * (t + 2.0))
    assert not store.reads


def test_without_reading_ahead_the_same_crops_would_wait(folder):
    imagery = TiledImagery(store := CountingStore(folder))
    assert reads_while_driving(imagery, store, SPEED, None) > 0


def test_following_never_waits_for_the_disk(folder):
    imagery = TiledImagery(store := CountingStore(folder))
    ahead = ReadAhead(imagery, SIZE_M, GSD, SNAP_M)
    store.delay_s = 0.05
    begin = time.monotonic()
    for t in np.arange(0.0, 3.0, 0.1):
        ahead.follow(prior(t, SPEED * t))
    assert time.monotonic() - begin < 0.1
    assert ahead._executor._work_queue.qsize() <= 1


def test_the_end_of_the_map_is_counted_and_raises_nothing(folder):
    ahead = ReadAhead(TiledImagery(CountingStore(folder)), SIZE_M, GSD, SNAP_M)
    drive(ahead, 3.0, start=400.0)
    assert ahead.failures > 1
    assert ahead.failure.startswith("MissingImagery: ") and "not in the store" in ahead.failure


@pytest.mark.parametrize(
    ("what", "path"),
    [
        ("standing", [(0.1 * i, 0.0, 0.0) for i in range(30)]),
        ("jumping", [(1.0 * i, 200.0 * (i % 2), 0.0) for i in range(30)]),
        ("time set back", [(100.0 - i, 15.0 * i, 0.0) for i in range(30)]),
        ("one a minute", [(60.0 * i, 15.0 * i, 0.0) for i in range(30)]),
    ],
)
def test_where_no_direction_is_known_nothing_is_read(folder, what, path):
    ahead = ReadAhead(TiledImagery(store := CountingStore(folder)), SIZE_M, GSD, SNAP_M)
    store.reads.clear()
    for place in path:
        ahead.follow(prior(*place))
        rest(ahead)
    assert not store.reads


def test_the_thread_ends_with_its_owner(folder):
    ahead = ReadAhead(TiledImagery(CountingStore(folder)), SIZE_M, GSD, SNAP_M)
    drive(ahead, 2.0)
    [thread] = ahead._executor._threads
    assert thread.is_alive()
    del ahead
    gc.collect()
    thread.join(timeout=5)
    assert not thread.is_alive()


def test_localizing_reads_ahead(folder):
    imagery = TiledImagery(store := CountingStore(folder))
    localizer = Localizer(G2SNet(TINY), "tiny", imagery, LocalizerConfig(""))
    image = np.random.default_rng(1).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    store.reads.clear()
    for t in np.arange(0.0, 2.0, 0.25):
        at = prior(t, SPEED * t)
        assert localizer.localize(Observation(at.stamp_ns, image, CAMERA, at)).crop is not None
        rest(localizer.read_ahead)
    assert store.reads[True] > 0


def encoded_while_waiting(folder, idle, speed=SPEED, cache_mb=64.0, until=5.0):
    """How often an image of a drive waited for its crop to be encoded, after its first 2 s, and
    how many crops were encoded in all.
    """
    localizer = Localizer(
        G2SNet(TINY),
        "tiny",
        TiledImagery(SlippyStore(folder)),
        LocalizerConfig("", cache_mb=cache_mb),
    )
    encode, encoded = localizer._network.encode_satellite, []
    localizer._network.encode_satellite = lambda image: (encoded.append(t), encode(image))[1]
    image = np.random.default_rng(1).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    waited = 0
    for t in np.arange(0.0, until, 0.1):
        before, at = len(encoded), prior(t, speed * t)
        localizer.localize(Observation(at.stamp_ns, image, CAMERA, at))
        waited += t >= 2.0 and len(encoded) > before
        if idle:
            localizer.encode_ahead()
    return waited, len(encoded)


@pytest.mark.parametrize("speed", [8.0, 30.0])
def test_while_no_image_waits_the_crops_ahead_are_encoded_and_hardly_another(folder, speed):
    waited, encoded = encoded_while_waiting(folder, idle=False, speed=speed)
    assert waited > 4
    waited_for, encoded_too = encoded_while_waiting(folder, idle=True, speed=speed)
    assert waited_for == 0 and encoded_too <= encoded + 6


def test_a_crop_ahead_that_cannot_be_had_is_nobodys_failure(folder):
    localizer = Localizer(
        G2SNet(TINY), "tiny", TiledImagery(SlippyStore(folder)), LocalizerConfig("")
    )
    image = np.random.default_rng(1).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    for t in np.arange(0.0, 2.5, 0.1):
        at = prior(t, 430.0 + 30.0 * t)  # the imagery ends 450 to 500 m east
        localizer.localize(Observation(at.stamp_ns, image, CAMERA, at))
        localizer.encode_ahead()
    assert localizer.read_ahead.next_places
    last = localizer.localize(Observation(at.stamp_ns, image, CAMERA, at))
    assert last.rejection is Rejection.NO_IMAGERY


def test_standing_there_is_nothing_to_encode(folder):
    ahead = ReadAhead(TiledImagery(SlippyStore(folder)), SIZE_M, GSD, SNAP_M)
    drive(ahead, 3.0)
    assert len(ahead.next_places) == 5
    for t in np.arange(3.0, 6.0, 0.1):
        ahead.follow(prior(t, 3.0 * SPEED))
    assert ahead.next_places == []
