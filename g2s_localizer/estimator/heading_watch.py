# SPDX-License-Identifier: Apache-2.0
"""Watch whether the heading points the way that the fixes move."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from g2s_localizer.estimator.estimate import Rejection
from g2s_localizer.estimator.finding import Finding
from g2s_localizer.geometry.pose import wrap_angle

FloatArray = NDArray[np.float64]

STEP_S = 0.8
"""Fixes closer in time are skipped: their difference is noise."""

MAX_GAP_S = 3.0
"""Fixes further apart belong to two stretches."""

WINDOWS_S = (6.0, 15.0, 60.0)
"""The newest so many seconds are judged: a short window sees a heading that has just gone wrong, a
long one a small angle."""

AHEAD_LIMIT, ASIDE_LIMIT = 4.5, 3.5
"""Standard deviations of noise by which the way driven must leave the heading, two stretches in a
row, where it goes about ahead of the vehicle and where it goes aside or backwards. The second is
less, since noise feigns such a way of a standing vehicle only.
"""

CONFIRMED = 2.0
"""Standard deviations of noise that a way ahead must be long to confirm the heading: noise that
feigns it of a heading turned round is twice as large."""

_ASIDE = math.radians(60.0)

DOUBTFUL = 0.6
"""Share of these limits that is enough to name the heading as the likely cause while no pose is
published anyway."""

DRIFT_M_S = 0.4
"""Slow errors of fixes change by no more (m/s), else than by what their scatter shows."""

MIN_SCATTER_STRETCHES = 4
"""Stretches from which the scatter of the fixes is told."""

MIN_PROGRESS = 0.3
"""Share of the sum of all displacements that is left as way: less is the noise of standing."""

MIN_ANGLE = math.radians(8.0)
"""A smaller disagreement lies within what compasses do; the search for the heading covers it."""

_CONSTANT = math.radians(0.05)


@dataclass(frozen=True)
class _Stretch:
    """Way between two fixes: displacement (2,) m, the mean unit vector (2,) of the heading on it,
    standard deviation of one fix (m) and of the heading (rad)."""

    stamp_ns: int
    seconds: float
    moved: FloatArray
    ahead: FloatArray
    sigma_m: float
    sigma_yaw: float


@dataclass(frozen=True)
class Course:
    """Describe how a heading and the way driven lie to each other over some stretches.

    angle    of the way driven from the heading (rad, counter-clockwise)
    length   of the way (m), noise its standard deviation (m)
    """

    angle: float
    length: float
    noise: float

    @property
    def is_ahead(self) -> bool:
        return abs(self.angle) <= _ASIDE

    @property
    def deviation(self) -> float:
        """Return distance of the way driven from a way straight ahead, in standard deviations."""
        across = self.length * (abs(math.sin(self.angle)) if self.is_ahead else 1.0)
        return across / self.noise


@dataclass(frozen=True)
class _Seen:
    """A window, its course, and by which share of the limit it deviates."""

    stretches: tuple[_Stretch, ...]
    course: Course
    excess: float


class HeadingWatch:
    """Compares headings with the course over ground of the fixes, while the vehicle drives.

    Each stretch between two fixes gives its displacement d and the mean direction p of the heading
    on it. The rotation that takes all p onto all d in the sense of least squares is
    atan2(sum p x d, sum p . d). With independent errors of the fixes of standard deviation s both
    sums have the standard deviation s sqrt(2 + sum |p_k - p_k-1|^2): in a straight drive only the
    first and the last fix count. Most receivers' errors change slowly, so that over n stretches of
    T seconds the sums wander by less: by sqrt(n) times the scatter of the displacements about
    their mean, and by DRIFT_M_S times T. The smaller of the two is taken for small angles.

    A vehicle that reverses for longer than some 40 m is taken for one with a heading turned round.
    Not thread-safe.
    """

    def __init__(self) -> None:
        self._headings: deque[tuple[int, float, float]] = deque(maxlen=2000)
        self._stretches: deque[_Stretch] = deque()
        self._last: tuple[int, FloatArray] | None = None
        self._seen: list[_Seen] = []

    def reset(self) -> None:
        """Forget everything: time was set back, or the heading is set up anew."""
        self._headings.clear()
        self._stretches.clear()
        self._last = None
        self._seen = []

    def add_heading(self, stamp_ns: int, yaw: float, sigma: float) -> None:
        """Take a yaw of base_link in map (rad) with its standard deviation (rad)."""
        self._headings.append((stamp_ns, yaw, sigma))

    def add_fix(self, stamp_ns: int, xy: ArrayLike, sigma_m: float) -> None:
        """Take a position (2,) in map (m) with its standard deviation per axis (m)."""
        xy = np.asarray(xy, np.float64)
        if self._last is not None:
            seconds = (stamp_ns - self._last[0]) * 1e-9
            if 0 <= seconds < STEP_S:
                return
            headings = [h for h in self._headings if self._last[0] <= h[0] <= stamp_ns]
            if not 0 < seconds <= MAX_GAP_S or not headings:
                self._stretches.clear()
                self._seen = []
            else:
                yaws = np.array([yaw for _, yaw, _ in headings])
                ahead = np.array([np.cos(yaws).mean(), np.sin(yaws).mean()])
                sigma_yaw = max(sigma for _, _, sigma in headings)
                self._stretches.append(
                    _Stretch(stamp_ns, seconds, xy - self._last[1], ahead, sigma_m, sigma_yaw)
                )
                while stamp_ns - self._stretches[0].stamp_ns > WINDOWS_S[-1] * 1e9:
                    self._stretches.popleft()
                self._seen = [*self._seen[-1:], self._look()]
        self._last = stamp_ns, xy

    def finding(self, doubtful: bool = False) -> Finding | None:
        """Return what is wrong with the heading, None while nothing shows.

        doubtful: poses are withheld for another reason, so that a suspicion may be said sooner.
        """
        limit = DOUBTFUL if doubtful else 1.0
        if len(self._seen) < 2 or min(seen.excess for seen in self._seen) < limit:
            return None
        return Finding(Rejection.WRONG_HEADING, _sentence(self._seen[-1]))

    @property
    def confirmed(self) -> bool:
        """Return whether the vehicle was seen to drive where the heading points."""
        if self.finding() is not None:
            return False
        courses = (_course(stretches, _ahead(stretches)) for stretches in self._windows())
        return any(c.is_ahead and c.length > CONFIRMED * c.noise for c in courses)

    def _look(self) -> _Seen:
        """Return the window in which the heading disagrees most with the way driven."""
        seen = []
        for stretches in self._windows():
            course = _course(stretches, _ahead(stretches))
            least = max(MIN_ANGLE, 3.0 * max(stretch.sigma_yaw for stretch in stretches))
            limit = AHEAD_LIMIT if course.is_ahead else ASIDE_LIMIT
            path_m = sum(float(np.hypot(*stretch.moved)) for stretch in stretches)
            shows = abs(course.angle) > least and course.length > MIN_PROGRESS * path_m
            seen.append(_Seen(tuple(stretches), course, course.deviation / limit if shows else 0.0))
        return max(seen, key=lambda one: one.excess)

    def _windows(self) -> Iterator[list[_Stretch]]:
        if not self._stretches:
            return
        newest_ns = self._stretches[-1].stamp_ns
        for window_s in WINDOWS_S:
            yield [s for s in self._stretches if newest_ns - s.stamp_ns < window_s * 1e9]


def _ahead(stretches: Sequence[_Stretch]) -> list[FloatArray]:
    return [stretch.ahead for stretch in stretches]


def _course(stretches: Sequence[_Stretch], directions: Sequence[FloatArray]) -> Course:
    p = np.array(directions)
    d = np.array([stretch.moved for stretch in stretches])
    # in the axes of the heading: along it and to its left
    turned = np.stack([(p * d).sum(axis=1), p[:, 0] * d[:, 1] - p[:, 1] * d[:, 0]], axis=1)
    along, across = turned.sum(axis=0)
    sigma_m = max(float(np.median([stretch.sigma_m for stretch in stretches])), 1e-3)
    noise = sigma_m * math.sqrt(2.0 + float(np.square(np.diff(p, axis=0)).sum()))
    count = len(stretches)
    angle = math.atan2(across, along)
    if count >= MIN_SCATTER_STRETCHES and abs(angle) <= _ASIDE:
        # Few stretches tell their own scatter badly.
        scatter = (1.0 + 2.0 / count) * math.sqrt(float(turned.var(axis=0, ddof=1).sum()) / 2.0)
        seconds = sum(stretch.seconds for stretch in stretches)
        noise = min(noise, math.hypot(scatter * math.sqrt(count), DRIFT_M_S * seconds))
    return Course(angle, math.hypot(along, across), noise)


def _sentence(seen: _Seen) -> str:
    """Say what was seen and name the likely causes."""
    stretches, course = seen.stretches, seen.course

    def from_reading(yaws: FloatArray) -> float:
        return _course(stretches, [_unit(yaw) for yaw in yaws]).angle

    yaws = np.array([math.atan2(stretch.ahead[1], stretch.ahead[0]) for stretch in stretches])
    tolerance = max(math.radians(15.0), 2.0 * course.noise / course.length)
    seconds = sum(stretch.seconds for stretch in stretches)
    return (
        f"the fixes moved {course.length:.0f} m in {seconds:.0f} s in a direction "
        f"{math.degrees(course.angle):+.0f} degrees from the heading; likely "
        f"{likely_causes(yaws, from_reading, tolerance)}"
    )


def likely_causes(
    yaws: FloatArray, from_reading: Callable[[FloatArray], float], tolerance: float
) -> str:
    """Name the likely causes of wrong headings: conventions under which they would be right.

    yaws: (N,) as they were told (rad); from_reading: by how much the true heading is turned from
    yaws that are read otherwise (rad); tolerance: of that (rad).
    """
    readings = {
        "the IMU is mounted backwards, or reports the way to where it comes from "
        "(heading.offset 3.1416)": yaws + math.pi,
        "its zero is north (heading.offset 1.5708)": yaws + math.pi / 2.0,
        "it is NED, clockwise from north (heading.convention ned)": math.pi / 2.0 - yaws,
        "it turns clockwise from east": -yaws,
    }
    causes = [cause for cause, read in readings.items() if abs(from_reading(read)) < tolerance]
    if max(abs(wrap_angle(yaw - yaws[0])) for yaw in yaws) < _CONSTANT:
        causes.insert(0, f"it never changes from {math.degrees(yaws[0]):.1f}: no magnetometer")
    turn = from_reading(yaws)
    if abs(turn) < math.radians(45.0):
        causes.insert(
            0,
            f"magnetic declination or the IMU's mounting is left out (heading.offset {turn:+.3f})",
        )
    return " or ".join(causes) or "a wrong heading.offset, or a disturbed compass"


def _unit(yaw: float) -> FloatArray:
    return np.array([math.cos(yaw), math.sin(yaw)])
