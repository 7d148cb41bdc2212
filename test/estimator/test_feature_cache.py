# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from g2s_localizer.estimator.feature_cache import CachedCrop, FeatureCache
from g2s_localizer.geometry import LatLon, LocalFrame
from g2s_localizer.imagery import MissingImagery, SatelliteCrop
from g2s_localizer.model.correlation import satellite_spectrum
from g2s_localizer.model.network import SatelliteFeatures

KARLSRUHE = LocalFrame(LatLon(49.0, 8.4))
NEW_YORK = LocalFrame(LatLon(40.7, -74.0))


def entry(x: float, y: float) -> CachedCrop:
    spectrum = satellite_spectrum(torch.zeros(1, 1, 8, 8))
    crop = SatelliteCrop(np.zeros((8, 8, 3), np.uint8), LatLon(49.0, 8.4), 0.5, "")
    return CachedCrop(crop, SatelliteFeatures(spectrum, spectrum), x, y)


class Loads:
    """A loader that remembers where it was asked to load."""

    def __init__(self):
        self.places = []

    def __call__(self, frame, x, y):
        self.places.append((x, y))
        return entry(x, y)


def test_neighbours_share_the_crop_of_their_grid_point():
    loads = Loads()
    cache = FeatureCache(loads, snap_m=4.0, max_bytes=10**6)
    for x in (10.1, 11.9, 13.9):
        assert cache.get(KARLSRUHE, x, -5.0).x == 12.0
    assert loads.places == [(12.0, -4.0)]


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

    def load(frame, x, y):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    cache = FeatureCache(load, snap_m=1.0, max_bytes=10**6)
    with pytest.raises(MissingImagery):
        cache.get(KARLSRUHE, 0, 0)
    assert cache.get(KARLSRUHE, 0, 0).x == 0
