# SPDX-License-Identifier: Apache-2.0
"""Search for the heading all around, where images do not look like the imagery under it."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from g2s_localizer.estimator.estimate import Rejection
from g2s_localizer.estimator.finding import Finding
from g2s_localizer.estimator.heading_watch import MIN_ANGLE, likely_causes
from g2s_localizer.geometry.pose import wrap_angle

FloatArray = NDArray[np.float64]

STRANGERS = 3
"""Images in a row that do not look like the imagery, after which it is searched."""

MIN_EVIDENCE = 1.0
"""Log-odds of belonging to the imagery from which a search tells a heading. Images of another town
reach -4 (72 simulated ones of seed 906 on the imagery of seed 7305, searched all around)."""

MAX_LOOKS, MIN_ALIKE = 5, 3
"""Searches kept, and how many of them must find the heading turned alike: one now and then finds a
wrong place."""

MAX_SCATTER = math.radians(5.0)
"""Largest distance of turns that are alike: wrong places lie in all directions."""

MAX_AGE_S = 20.0

REST, LONG_REST = 4, 40
"""Images from one search to the next, and after IN_VAIN of them that told nothing: a search takes
as long as seven images do."""

IN_VAIN = 8


@dataclass(frozen=True)
class _Look:
    """A heading found: its turn from the one told (rad), and the standard deviation of that."""

    stamp_ns: int
    told: float
    turn: float
    sigma: float

    @property
    def agrees(self) -> bool:
        return abs(self.turn) <= max(MIN_ANGLE, 3.0 * self.sigma)


class HeadingSearch:
    """Keeps what searches all around found beside the headings told. Not thread-safe.

    An image under a heading that is far off finds no place that looks like it. Searched all around
    it finds the place, and by how much the heading told is wrong, to a degree or two.
    """

    def __init__(self) -> None:
        self._looks: deque[_Look] = deque(maxlen=MAX_LOOKS)
        self._found: Finding | None = None
        self._strangers = self._rest = self._in_vain = 0

    def asks(self, evidence: float, confirmed: bool) -> bool:
        """Count an image with its evidence (log-odds) under the heading told, and return whether
        it is to be searched all around. confirmed: the way driven has confirmed the heading.
        """
        self._strangers = self._strangers + 1 if evidence < 0.0 else 0
        self._rest = max(self._rest - 1, 0)
        in_doubt = self._strangers >= STRANGERS or self.finding is not None
        if self._rest or not (in_doubt or not (confirmed or self.confirmed)):
            return False
        self._rest = REST if self._in_vain < IN_VAIN else LONG_REST
        return True

    def add(self, stamp_ns: int, evidence: float, told: float, found: float, sigma: float) -> None:
        """Take the heading found by a search, and its evidence; told, found: yaw in map (rad).

        sigma: standard deviation of the yaw told (rad).
        """
        if self._looks and not 0 <= stamp_ns - self._looks[-1].stamp_ns < MAX_AGE_S * 1e9:
            self._looks.clear()
            self._found = None
        if evidence < MIN_EVIDENCE:
            self._in_vain += 1
            return
        self._in_vain = 0
        self._looks.append(_Look(stamp_ns, told, wrap_angle(found - told), sigma))
        alike = max((self._like(look) for look in self._looks), key=len)
        if len(alike) >= MIN_ALIKE and not any(look.agrees for look in alike):
            self._found = self._turned(alike)
        elif sum(look.agrees for look in list(self._looks)[-MIN_ALIKE:]) > 1:
            self._found = None

    @property
    def confirmed(self) -> bool:
        """Return whether the last search has found the heading where it was told."""
        return bool(self._looks) and self._looks[-1].agrees

    @property
    def finding(self) -> Finding | None:
        """Return by how much the heading is wrong, None where nothing shows.

        It holds until searches find the heading where it was told: those that find yet another
        one have found a wrong place.
        """
        return self._found

    def _turned(self, alike: list[_Look]) -> Finding:
        """Return the finding of searches that turned the heading alike."""
        turns = np.array([look.turn for look in alike])
        told = np.array([look.told for look in alike])

        def from_reading(yaws: FloatArray) -> float:
            """Return by how much the headings found are turned from the yaws."""
            return float(np.median([wrap_angle(a) for a in told + turns - yaws]))

        causes = likely_causes(told, from_reading, MAX_SCATTER)
        return Finding(
            Rejection.WRONG_HEADING,
            f"the images look like the imagery under a heading that is turned by "
            f"{math.degrees(turns[-1]):+.0f} degrees from the one told "
            f"({len(alike)} of {len(self._looks)} searches); likely {causes}",
        )

    def _like(self, look: _Look) -> list[_Look]:
        """Return the searches, from the oldest on, that turned the heading as this one did."""
        return [o for o in self._looks if abs(wrap_angle(o.turn - look.turn)) <= MAX_SCATTER]
