# SPDX-License-Identifier: Apache-2.0
"""The datum, origin of map: given, or the first of two fixes that agree."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from g2s_localizer.geometry import LatLon, LocalFrame
from g2s_localizer.geometry.geodesy import great_circle

FloatArray = NDArray[np.float64]

MAX_SPEED = 100.0
"""Two fixes agree when no more than this (m/s) took the vehicle from one to the other."""

MAX_SLACK_M = 1000.0
"""Five sigma of both fixes are allowed besides, but never more than this."""

MAX_PAUSE_S = 60.0
"""Time between two fixes that counts; more would let any two agree."""

FAR_M = 100_000.0
"""Distance (m) from which a datum is said to be far: its plane departs from the ground."""

MAX_DISTANCE_M = 300_000.0
"""Largest distance (m) of a fix from the datum: there a metre is 0.1 % short in the plane."""


@dataclass(frozen=True, eq=False)
class GeodeticFix:
    """A fix before it has a place in map: antenna, covariance (2, 2) (m^2, east and north)."""

    stamp_ns: int
    place: LatLon
    covariance: FloatArray


class Datum:
    """Finds the frame of map, and gives it up while nobody holds coordinates in it.

    frame    ENU frame at the datum; None until there is one
    warning  a standing sentence on a datum far from the fixes, "" without
    notes    on data given up, one sentence each, for the log
    odd      fixes that no other agreed with, one sentence each
    """

    def __init__(self, frame: LocalFrame | None) -> None:
        self.frame = frame
        self.warning = ""
        self.notes: list[str] = []
        self.odd: list[str] = []
        self._fixed = frame is not None
        self._source = "map.datum_latitude, map.datum_longitude" if frame else "an early fix"
        self._waiting: GeodeticFix | None = None

    @property
    def waits(self) -> bool:
        """Return True when one fix has come, and a second one must agree with it."""
        return self._waiting is not None

    def keep(self) -> None:
        """Keep the datum from now on: a pose was published in map."""
        self._fixed = True

    def forget_waiting(self) -> None:
        """Compare the next fix with none from before: time was set back."""
        self._waiting = None

    def admit(self, fix: GeodeticFix) -> list[GeodeticFix]:
        """Return the fixes that have a place in map now; none while a second one must agree.

        The frame may be another one after it. Raises ValueError for a fix that is too far from a
        datum which stays.
        """
        if self.frame is not None and great_circle(self.frame.datum, fix.place) <= FAR_M:
            self._call_odd(fix)
            self._waiting, self.warning = None, ""
            return [fix]
        if self.frame is not None and self._fixed:
            return self._warn(self.frame, fix)
        first = self._waiting
        if first is None or not agree(first, fix):
            self._call_odd(fix)
            self._waiting = fix
            return []
        if self.frame is not None:
            self.notes.append(
                f"the datum {_text(self.frame.datum)} is {_km(self.frame.datum, fix.place)} from "
                f"where the fixes are: given up for {_text(first.place)}, as no pose was published "
                "in it"
            )
        self.frame, self._waiting = LocalFrame(first.place), None
        return [first, fix]

    def _warn(self, frame: LocalFrame, fix: GeodeticFix) -> list[GeodeticFix]:
        self.warning = (
            f"fixes are {_km(frame.datum, fix.place)} from the datum {_text(frame.datum)}: is it "
            f"right (it comes from {self._source})?"
        )
        if great_circle(frame.datum, fix.place) > MAX_DISTANCE_M:
            raise ValueError(self.warning)
        return [fix]

    def _call_odd(self, fix: GeodeticFix) -> None:
        """Name the fix that waits: it did not find another one that agrees with it."""
        if (first := self._waiting) is not None:
            self.odd.append(
                f"fix at {_text(first.place)} is {_km(first.place, fix.place)} from the next one, "
                f"{abs(fix.stamp_ns - first.stamp_ns) * 1e-9:.1f} s away: not used"
            )


def agree(first: GeodeticFix, second: GeodeticFix) -> bool:
    """Return whether a vehicle can have come from one fix to the other in the time between."""
    pause_s = min(abs(second.stamp_ns - first.stamp_ns) * 1e-9, MAX_PAUSE_S)
    slack = 5.0 * sum(math.sqrt(float(np.trace(one.covariance))) for one in (first, second))
    allowed = min(slack, MAX_SLACK_M) + MAX_SPEED * pause_s
    return great_circle(first.place, second.place) <= allowed


def _km(a: LatLon, b: LatLon) -> str:
    return f"{great_circle(a, b) / 1e3:.1f} km"


def _text(place: LatLon) -> str:
    return f"{place.lat:.7f}, {place.lon:.7f}"
