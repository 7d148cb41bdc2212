# SPDX-License-Identifier: Apache-2.0
"""Satellite features per snapped crop centre: least recently used, bounded in bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from g2s_localizer.geometry import LatLon, LocalFrame
from g2s_localizer.imagery import SatelliteCrop
from g2s_localizer.model import SatelliteFeatures


@dataclass(frozen=True)
class CachedCrop:
    """A satellite crop with its features; x, y are its centre in map (m)."""

    crop: SatelliteCrop
    features: SatelliteFeatures
    x: float
    y: float

    @property
    def nbytes(self) -> int:
        return self.crop.image.nbytes + self.features.nbytes


class FeatureCache:
    """Crops are centred on a grid of `snap_m` in map, so that neighbouring priors share one.

    `load(frame, x, y)` makes the entry of a grid point. Its exceptions pass through, and nothing is
    kept for that point. The last entry stays even when it alone exceeds `max_bytes`.
    """

    def __init__(
        self,
        load: Callable[[LocalFrame, float, float], CachedCrop],
        snap_m: float,
        max_bytes: int,
    ) -> None:
        if snap_m <= 0 or max_bytes <= 0:
            raise ValueError(f"snap_m and max_bytes must be positive, got {snap_m}, {max_bytes}")
        self._load = load
        self._snap_m = snap_m
        self._max_bytes = max_bytes
        self._entries: OrderedDict[tuple[LatLon, int, int], CachedCrop] = OrderedDict()
        self.nbytes = 0

    def get(self, frame: LocalFrame, x: float, y: float) -> CachedCrop:
        """The entry whose centre is nearest to (x, y), metres in `frame`."""
        column, row = round(x / self._snap_m), round(y / self._snap_m)
        key = (frame.datum, column, row)
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
            return entry
        entry = self._load(frame, column * self._snap_m, row * self._snap_m)
        self._entries[key] = entry
        self.nbytes += entry.nbytes
        while self.nbytes > self._max_bytes and len(self._entries) > 1:
            self.nbytes -= self._entries.popitem(last=False)[1].nbytes
        return entry
