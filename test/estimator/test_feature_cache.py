# SPDX-License-Identifier: Apache-2.0
import gc
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from g2s_localizer.estimator.feature_cache import CachedCrop, FeatureCache
from g2s_localizer.geometry import LatLon, LocalFrame
from g2s_localizer.imagery import MissingImagery, SatelliteCrop
from g2s_localizer.model.compact import SatelliteFeatures
from g2s_localizer.model.correlation import satellite_spectrum

KARLSRUHE = LocalFrame(LatLon(49.0, 8.4))
NEW_YORK = LocalFrame(LatLon(40.7, -74.0))


def entry(x: float, y: float) -> CachedCrop:
    spectrum = satellite_spectrum(torch.zeros(1, 1, 8, 8))
    crop = SatelliteCrop(np.zeros((8, 8, 3), np.uint8), LatLon(49.0, 8.4), 0.5, "")
    return CachedCrop(crop, SatelliteFeatures(spectrum, spectrum), x, y)


class Loads:
    """A loader that remembers where it was asked to load."""

    def __init__(self):
        self.places, self.yaws = [], []

    def __call__(self, frame, x, y, yaw):
        self.places.append((x, y))
        self.yaws.append(yaw)
        return entry(x, y)


def test_neighbours_share_the_crop_of_their_grid_point():
    loads = Loads()
    cache = FeatureCache(loads, snap_m=4.0, max_bytes=10**6)
    for x in (10.1, 11.9, 13.9):
        assert cache.get(KARLSRUHE, x, -5.0).x == 12.0
    assert loads.places == [(12.0, -4.0)]


@pytest.mark.parametrize(("turned", "loaded"), [(True, [0.0, 1.0, 180.0]), (False, [None])])
def test_a_turned_crop_serves_its_own_heading_and_a_north_up_one_all(turned, loaded):
    loads = Loads()
    cache = FeatureCache(loads, snap_m=4.0, max_bytes=10**6, turned=turned)
    for degrees in (0.4, -0.4, 0.6, 179.9, -179.9, 0.0):
        cache.get(KARLSRUHE, 0.0, 0.0, np.radians(degrees))
    assert [yaw if yaw is None else round(np.degrees(yaw), 9) for yaw in loads.yaws] == loaded


def test_the_crop_of_another_datum_is_another_one():
    loads = Loads()
    cache = FeatureCache(loads, snap_m=4.0, max_bytes=10**6)
    cache.get(KARLSRUHE, 0.0, 0.0)
    cache.get(NEW_YORK, 0.0, 0.0)
    assert len(loads.places) == 2


def test_the_least_recently_used_goes_first_and_bytes_stay_bounded():
    loads, size = Loads(), entry(0, 0).nbytes
    cache = FeatureCache(loads, snap_m=1.0, max_bytes=2 * size)
    for x in (0, 1, 0, 2, 0, 1):
        cache.get(KARLSRUHE, x, 0)
        assert cache.nbytes <= 2 * size
    assert [x for x, _ in loads.places] == [0, 1, 2, 1]


def test_a_place_that_could_not_be_loaded_is_asked_for_again():
    answers = [MissingImagery("store", {"19/1/2": "absent"}), entry(0, 0)]

    def load(frame, x, y, yaw):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    cache = FeatureCache(load, snap_m=1.0, max_bytes=10**6)
    with pytest.raises(MissingImagery):
        cache.get(KARLSRUHE, 0, 0)
    assert cache.get(KARLSRUHE, 0, 0).x == 0


def test_threads_that_ask_for_the_same_place_load_it_once():
    loads, go = Loads(), threading.Event()

    def load(frame, x, y, yaw):
        assert go.wait(10)
        return loads(frame, x, y, yaw)

    cache = FeatureCache(load, snap_m=1.0, max_bytes=10**6)
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(cache.get, KARLSRUHE, 0, 0) for _ in range(8)]
        go.set()
        assert len({id(one.result()) for one in asked}) == 1
    assert loads.places == [(0.0, 0.0)]


def test_nobody_waits_for_another_place():
    slow = threading.Event()

    def load(frame, x, y, yaw):
        assert x == 0 or slow.wait(10)
        return entry(x, y)

    cache = FeatureCache(load, snap_m=1.0, max_bytes=10**6)
    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(cache.get, KARLSRUHE, 5, 0)
        assert cache.get(KARLSRUHE, 0, 0).x == 0 and not ahead.done()
        slow.set()
        assert ahead.result().x == 5


def test_those_that_waited_for_a_load_that_fails_are_told_and_the_next_tries_again():
    go, answers = threading.Event(), [MissingImagery("store", {"19/1/2": "absent"})]

    def load(frame, x, y, yaw):
        assert go.wait(10)
        if answers:
            time.sleep(0.05)
            raise answers.pop()
        return entry(x, y)

    cache = FeatureCache(load, snap_m=1.0, max_bytes=10**6)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(cache.get, KARLSRUHE, 0, 0) for _ in range(4)]
        go.set()
        failed = [isinstance(one.exception(), MissingImagery) for one in asked]
    assert failed == [True] * 4 and cache.get(KARLSRUHE, 0, 0).x == 0


def test_bytes_are_counted_right_whatever_threads_do():
    size = entry(0, 0).nbytes
    cache = FeatureCache(lambda frame, x, y, yaw: entry(x, y), snap_m=1.0, max_bytes=5 * size)

    def drive(seed):
        for x in np.random.default_rng(seed).integers(0, 12, 200):
            assert cache.get(KARLSRUHE, float(x), 0.0).x == x

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(drive, range(4)))
    assert cache.nbytes == 5 * size == sum(kept.nbytes for kept in cache._entries.values())


def test_a_failed_load_holds_nothing_of_the_image_that_asked():
    def load(frame, x, y, yaw):
        raise MissingImagery("store", {"19/1/2": "absent"})

    class Image:
        pass

    def ask(cache, image):
        with pytest.raises(MissingImagery):
            cache.get(KARLSRUHE, 0, 0)

    image = Image()
    held = weakref.ref(image)
    gc.disable()
    ask(FeatureCache(load, snap_m=1.0, max_bytes=10**6), image)
    del image
    freed = held() is None
    gc.enable()
    assert freed
