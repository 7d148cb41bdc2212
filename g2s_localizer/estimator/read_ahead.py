# SPDX-License-Identifier: Apache-2.0
"""Reads imagery ahead of the vehicle, so that a crop never waits for the disk."""

from __future__ import annotations

import math
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from g2s_localizer.estimator.estimate import Prior
from g2s_localizer.geometry import LatLon, LocalFrame
from g2s_localizer.imagery import Imagery

FloatArray = NDArray[np.float64]

HORIZON_S = 3.0
"""Time (s) read ahead: several crops, so that one which is skipped does no harm."""

BASELINE_S = 2.0
"""Priors this far apart give the velocity; closer ones give mostly the noise of GNSS."""

READ_EVERY_S = 0.5
"""Between two crops that are read, in time of driving."""

NEXT_S = 0.5
"""Time (s) ahead for which places of images are predicted, at least that of the next one."""

SPEEDS = (1.0, 70.0)
"""m/s. Below there is nothing ahead that is not under the vehicle; above, priors jump."""


class ReadAhead:
    """Crops the imagery where the vehicle will be, in a thread of its own, and drops the crops.

    What stays is what the imagery keeps of them (tiles decoded lately). `follow` never waits:
    while the thread is busy it does nothing, since the next prior asks again. The thread ends
    with this object.

    size_m, gsd   of the crops; snap_m: grid of their centres in map (m)

    `next_places` are where the next images will be taken (frame, m and yaw in it), as far as can be
    foretold; empty while the vehicle stands or nothing is known of its way.

    `failures` counts crops ahead that could not be had, `failure` is the last reason: the map
    may end ahead.
    """

    def __init__(self, imagery: Imagery, size_m: float, gsd: float, snap_m: float) -> None:
        self.failures = 0
        self.failure = ""
        self._imagery = imagery
        self._size_m = size_m
        self._gsd = gsd
        self._snap_m = snap_m
        self.next_places: list[tuple[LocalFrame, float, float, float]] = []
        self._trail: deque[Prior] = deque()
        self._asked: tuple[LatLon, FloatArray] | None = None
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="g2s-read-ahead")
        self._reading: Future[str] | None = None

    def follow(self, prior: Prior) -> None:
        """Read what a vehicle at `prior` needs until HORIZON_S from now."""
        velocity = self._velocity(prior)
        speed = float(np.linalg.norm(velocity))
        moving = SPEEDS[0] <= speed <= SPEEDS[1]
        self.next_places = self._foretold(velocity) if moving else []
        if self._reading is not None:
            if not self._reading.done():
                return
            if failure := self._reading.result():
                self.failures += 1
                self.failure = failure
            self._reading = None
        if not moving:
            return
        # Crops side by side up to the one at the horizon; at town speeds that is one.
        count = math.ceil(HORIZON_S * speed / self._size_m)
        shares = (1.0 + np.arange(count)) / count
        here = np.array([prior.pose.x, prior.pose.y])
        ahead = here + HORIZON_S * shares[:, None] * velocity
        cells = np.round(ahead / self._snap_m) * self._snap_m
        # A crop costs time: those read overlap as long as the next one is not far from the last.
        if self._asked_for(prior.frame, cells[-1], max(READ_EVERY_S * speed, self._snap_m)):
            return
        self._asked = prior.frame.datum, cells[-1]
        centres = [prior.frame.to_latlon(x, y) for x, y in cells.tolist()]
        self._reading = self._executor.submit(
            _read, self._imagery, centres, self._size_m, self._gsd
        )

    def _asked_for(self, frame: LocalFrame, farthest: FloatArray, within_m: float) -> bool:
        if self._asked is None or self._asked[0] != frame.datum:
            return False
        return bool(np.linalg.norm(farthest - self._asked[1]) < within_m)

    def _foretold(self, velocity: FloatArray) -> list[tuple[LocalFrame, float, float, float]]:
        before, here = self._trail[-2], self._trail[-1]
        interval = (here.stamp_ns - before.stamp_ns) * 1e-9
        times = interval * np.arange(1, max(math.floor(NEXT_S / interval), 1) + 1)
        places = np.array([here.pose.x, here.pose.y]) + times[:, None] * velocity
        return [(here.frame, x, y, here.pose.yaw) for x, y in places.tolist()]

    def _velocity(self, prior: Prior) -> FloatArray:
        """Return (2,) m/s in map, zero while it is not known."""
        trail = self._trail
        if trail and not (
            trail[-1].frame.datum == prior.frame.datum
            and 0 < prior.stamp_ns - trail[-1].stamp_ns < BASELINE_S * 1e9
        ):
            trail.clear()
        trail.append(prior)
        while len(trail) > 2 and prior.stamp_ns - trail[1].stamp_ns >= BASELINE_S * 1e9:
            trail.popleft()
        first = trail[0]
        seconds = (prior.stamp_ns - first.stamp_ns) * 1e-9
        if seconds < BASELINE_S / 2.0:
            return np.zeros(2)
        moved = np.array([prior.pose.x - first.pose.x, prior.pose.y - first.pose.y])
        velocity: FloatArray = moved / seconds
        return velocity


def _read(imagery: Imagery, centres: list[LatLon], size_m: float, gsd: float) -> str:
    """Return why one of the crops could not be had, "" where all could."""
    failure = ""
    for centre in centres:
        # Whatever it is, it will be said by the crop that somebody waits for.
        try:
            imagery.crop(centre, size_m, gsd)
        except Exception as error:
            failure = f"{type(error).__name__}: {error}"
    return failure
