# SPDX-License-Identifier: Apache-2.0
"""Satellite features per snapped crop centre: the least recently used leave, bounded in bytes."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from g2s_localizer.geometry import LatLon, LocalFrame, Pose2D
from g2s_localizer.geometry.pose import wrap_angle
from g2s_localizer.imagery import SatelliteCrop
from g2s_localizer.model import SatelliteFeatures

Key = tuple[LatLon, int, int, int]
"""Datum, column and row of the grid, and step of the heading."""

HEADINGS = 360
"""Headings that a crop may be turned to: that of a prior is at most half a degree off."""


@dataclass(frozen=True)
class CachedCrop:
    """A satellite crop with its features; x, y are its centre in map (m), turn the yaw of its u
    axis in map (rad): that of true east there, and of the crop from it.
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

    turned  whether each of HEADINGS has crops of its own, whose u axis points along it; else all
            are north-up

    `load(frame, x, y, yaw)` makes the entry of a grid point and a heading in map (rad), None for
    north-up. Its exceptions pass through, and nothing is kept for that point. The last entry stays
    even when it alone exceeds `max_bytes`.

    Threads may share it: of those that ask for the same point one loads, the others wait for it;
    nobody waits for another point's load.
    """

    def __init__(
        self,
        load: Callable[[LocalFrame, float, float, float | None], CachedCrop],
        snap_m: float,
        max_bytes: int,
        turned: bool = False,
    ) -> None:
        if snap_m <= 0 or max_bytes <= 0:
            raise ValueError(f"snap_m and max_bytes must be positive, got {snap_m}, {max_bytes}")
        self._load = load
        self._snap_m = snap_m
        self._max_bytes = max_bytes
        self._headings = HEADINGS if turned else 0
        self._lock = threading.Lock()
        self._entries: OrderedDict[Key, CachedCrop] = OrderedDict()
        self._loading: dict[Key, Future[CachedCrop]] = {}
        self.nbytes = 0

    def has(self, frame: LocalFrame, x: float, y: float, yaw: float = 0.0) -> bool:
        """Return whether `get` of the same place would return at once."""
        with self._lock:
            return self._key(frame, x, y, yaw) in self._entries

    def get(self, frame: LocalFrame, x: float, y: float, yaw: float = 0.0) -> CachedCrop:
        """Return the entry whose centre is nearest to (x, y), metres in `frame`, and its heading to
        `yaw` (rad) where crops are turned.
        """
        key = self._key(frame, x, y, yaw)
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
            entry = self._load(frame, key[1] * self._snap_m, key[2] * self._snap_m, self._yaw(key))
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

    def _key(self, frame: LocalFrame, x: float, y: float, yaw: float) -> Key:
        turns = self._headings
        step = round(yaw / (2.0 * math.pi) * turns) % turns if turns else 0
        return frame.datum, round(x / self._snap_m), round(y / self._snap_m), step

    def _yaw(self, key: Key) -> float | None:
        return wrap_angle(2.0 * math.pi * key[3] / self._headings) if self._headings else None
