# SPDX-License-Identifier: Apache-2.0
"""Satellite features per snapped crop centre: the least recently used leave, bounded in bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from g2s_localizer.geometry import LatLon, LocalFrame, Pose2D
from g2s_localizer.imagery import SatelliteCrop
from g2s_localizer.model import SatelliteFeatures

Key = tuple[LatLon, int, int]
"""Datum, and column and row of the grid."""


@dataclass(frozen=True)
class CachedCrop:
    """A satellite crop with its features; x, y are its centre in map (m), turn the yaw of its
    east, true east there, in map (rad).
    """

    crop: SatelliteCrop
    features: SatelliteFeatures
    x: float
    y: float
    turn: float = 0.0

    @property
    def pose(self) -> Pose2D:
        """Return T_map_crop."""
        return Pose2D(self.x, self.y, self.turn)

    @property
    def nbytes(self) -> int:
        return self.crop.image.nbytes + self.features.nbytes


class FeatureCache:
    """Crops are centred on a grid of `snap_m` in map, so that neighbouring priors share one.

    `load(frame, x, y)` makes the entry of a grid point. Its exceptions pass through, and nothing is
    kept for that point. The last entry stays even when it alone exceeds `max_bytes`.

    Threads may share it: of those that ask for the same point one loads, the others wait for it;
    nobody waits for another point's load.
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
        self._lock = threading.Lock()
        self._entries: OrderedDict[Key, CachedCrop] = OrderedDict()
        self._loading: dict[Key, Future[CachedCrop]] = {}
        self.nbytes = 0

    def has(self, frame: LocalFrame, x: float, y: float) -> bool:
        """True when `get` of the same place would return at once."""
        with self._lock:
            return self._key(frame, x, y) in self._entries

    def get(self, frame: LocalFrame, x: float, y: float) -> CachedCrop:
        """The entry whose centre is nearest to (x, y), metres in `frame`."""
        key = self._key(frame, x, y)
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key]
            other = self._loading.get(key)
            if other is None:
                mine = self._loading[key] = Future()
        if other is not None:
            try:
                return other.result()
            finally:
                del other  # else an exception would hold itself, and all that its frames hold
        try:
            entry = self._load(frame, key[1] * self._snap_m, key[2] * self._snap_m)
        except BaseException as error:
            with self._lock:
                del self._loading[key]
            mine.set_exception(error)
            del mine
            raise
        self._keep(key, entry)
        mine.set_result(entry)
        return entry

    def _keep(self, key: Key, entry: CachedCrop) -> None:
        with self._lock:
            del self._loading[key]
            self._entries[key] = entry
            self.nbytes += entry.nbytes
            while self.nbytes > self._max_bytes and len(self._entries) > 1:
                self.nbytes -= self._entries.popitem(last=False)[1].nbytes

    def _key(self, frame: LocalFrame, x: float, y: float) -> Key:
        return frame.datum, round(x / self._snap_m), round(y / self._snap_m)
