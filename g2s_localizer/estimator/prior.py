# SPDX-License-Identifier: Apache-2.0
"""The prior: where GNSS and heading say the vehicle was when the image was taken."""

from __future__ import annotations

import bisect
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from g2s_localizer.estimator.estimate import Prior, Rejection
from g2s_localizer.geometry import LatLon, LocalFrame, Pose2D
from g2s_localizer.geometry.pose import move_covariance, rotation, wrap_angle

FloatArray = NDArray[np.float64]

ACCELERATION_SIGMA = 2.0
"""How hard a road vehicle brakes and turns (m/s^2, one sigma): the error of a straight line."""

TURN_RATE_SIGMA = 0.3
"""How fast it turns (rad/s, one sigma): the error of a heading that is held."""

VELOCITY_BASELINE_S = 1.0
"""Fixes at least this far apart give the velocity; closer ones give mostly their noise."""

BACKWARD_JUMP_S = 1.0
"""Older than the newest sample by more than this: time was set back, as when a bag loops."""

SAMPLES_KEPT = 4096

SampleT = TypeVar("SampleT", bound="_Sample")

__all__ = ["Prior", "PriorBuffer"]


class _Refused(Exception):
    """There is no prior: (Rejection, detail), on its way to `PriorBuffer.at`."""

    def __init__(self, rejection: Rejection, detail: str) -> None:
        super().__init__(detail)
        self.answer = rejection, detail


@dataclass(frozen=True, eq=False)
class _Sample:
    stamp_ns: int


@dataclass(frozen=True, eq=False)
class _Fix(_Sample):
    xy: FloatArray
    covariance: FloatArray


@dataclass(frozen=True, eq=False)
class _Heading(_Sample):
    yaw: float
    variance: float


class PriorBuffer:
    """Recent fixes and headings, and the prior they make at any stamp between them.

    frame              ENU frame of the poses; None: its datum is the first fix, and stays so
    antenna_offset_xy  the antenna in base_link (m, forward and left)
    max_gap_s          neighbouring samples further apart are not interpolated
    max_extrapolation_s  how far before the first or past the newest sample there is a prior;
                       its covariance grows with that age
    horizon_s          how much history is kept (and never more than 4096 samples of each)

    Stamps are nanoseconds of one clock. A sample that goes back by more than a second empties
    the buffer (`resets` counts it); one that is merely late or a duplicate raises ValueError.
    Not thread-safe.
    """

    def __init__(
        self,
        frame: LocalFrame | None,
        *,
        antenna_offset_xy: tuple[float, float] = (0.0, 0.0),
        max_gap_s: float = 2.5,
        max_extrapolation_s: float = 1.2,
        horizon_s: float = 10.0,
    ) -> None:
        for name, value in (("max_gap_s", max_gap_s), ("horizon_s", horizon_s)):
            if not value > 0:
                raise ValueError(f"{name} must be positive, got {value}")
        if not max_extrapolation_s >= 0:
            raise ValueError(f"max_extrapolation_s must not be negative, got {max_extrapolation_s}")
        self.frame = frame
        self.antenna_offset_xy = antenna_offset_xy
        self.max_gap_s = max_gap_s
        self.max_extrapolation_s = max_extrapolation_s
        self.resets = 0
        self._fixes: _Series[_Fix] = _Series("fix", horizon_s)
        self._headings: _Series[_Heading] = _Series("heading", horizon_s)

    @property
    def newest_fix_ns(self) -> int | None:
        return self._fixes[-1].stamp_ns if self._fixes else None

    def is_settled(self, stamp_ns: int) -> bool:
        """True when no later sample will make the prior at `stamp_ns` better.

        An image usually comes before the fix that follows it: who asks may wait for this.
        """
        if not self._fixes or not self._headings:
            return False
        newest_ns = min(self._fixes[-1].stamp_ns, self._headings[-1].stamp_ns)
        alone = len(self._fixes) == 1 and self._fixes[0].stamp_ns != stamp_ns
        return stamp_ns <= newest_ns and not alone

    def add_fix(self, stamp_ns: int, place: LatLon, covariance_xy: ArrayLike) -> None:
        """A position of the antenna with its covariance (2, 2) (m^2, east and north)."""
        covariance = np.array(covariance_xy, dtype=np.float64)
        if covariance.shape != (2, 2) or not np.isfinite(covariance).all():
            raise ValueError(f"fix covariance must be finite (2, 2), got {covariance.tolist()}")
        if np.linalg.eigvalsh(covariance)[0] <= 0:
            raise ValueError(f"fix covariance must be positive, got {covariance.tolist()}")
        if self.frame is None:
            self.frame = LocalFrame(place)
        xy = np.array(self.frame.to_xy(place))
        self._append(self._fixes, _Fix(stamp_ns, xy, covariance))

    def add_heading(self, stamp_ns: int, yaw: float, variance: float) -> None:
        """A yaw of base_link (rad, counter-clockwise from east) with its variance (rad^2)."""
        if not (math.isfinite(yaw) and math.isfinite(variance) and variance > 0):
            raise ValueError(f"heading needs a finite yaw and a variance > 0: {yaw}, {variance}")
        self._append(self._headings, _Heading(stamp_ns, wrap_angle(yaw), variance))

    def reset(self) -> None:
        """Forget all samples, not the datum: whoever follows the map keeps his coordinates."""
        self._fixes.clear()
        self._headings.clear()
        self.resets += 1

    def at(self, stamp_ns: int) -> Prior | tuple[Rejection, str]:
        """The prior of base_link at `stamp_ns`, or why there is none and the ages seen."""
        if self.frame is None or not self._fixes:
            return Rejection.NO_PRIOR, "no GNSS fix yet"
        if not self._headings:
            return Rejection.NO_PRIOR, "no heading yet"
        try:
            heading = self._heading_at(stamp_ns)
            antenna = self._position_at(stamp_ns)
        except _Refused as refused:
            return refused.answer
        covariance = np.zeros((3, 3))
        covariance[:2, :2] = antenna.covariance
        covariance[2, 2] = heading.variance
        x, y = antenna.xy - rotation(heading.yaw) @ self.antenna_offset_xy
        moved = move_covariance(covariance, heading.yaw, self.antenna_offset_xy)
        return Prior(stamp_ns, Pose2D(x, y, heading.yaw), moved, self.frame)

    def _append(self, series: _Series[SampleT], sample: SampleT) -> None:
        if series and sample.stamp_ns <= series[-1].stamp_ns:
            late_s = (series[-1].stamp_ns - sample.stamp_ns) * 1e-9
            if late_s <= BACKWARD_JUMP_S:
                raise ValueError(f"{series.name} is {late_s:.3f} s older than the newest one")
            self.reset()
        series.append(sample)

    def _position_at(self, stamp_ns: int) -> _Fix:
        before, after = self._fixes.around(stamp_ns, self.max_gap_s)
        if before is None or after is None:
            return self._extrapolate(stamp_ns, newest=after is None)
        t, gap_s = _between(before, after, stamp_ns)
        # The errors of neighbouring fixes are nearly the same error (multipath, troposphere and
        # orbits change over minutes), so their mean is no better than either: the weighted mean
        # of the covariances holds for any correlation, while (1-t)^2 C0 + t^2 C1 would claim
        # half the variance midway.
        covariance = (1 - t) * before.covariance + t * after.covariance
        bend = 0.5 * ACCELERATION_SIGMA * t * (1 - t) * gap_s**2
        xy = (1 - t) * before.xy + t * after.xy
        return _Fix(stamp_ns, xy, covariance + bend**2 * np.eye(2))

    def _extrapolate(self, stamp_ns: int, newest: bool) -> _Fix:
        """Constant velocity past either end of the fixes; noise and acceleration are paid for."""
        end = self._fixes[-1 if newest else 0]
        age_s = self._age(self._fixes, end, stamp_ns)
        inner = self._fixes.baseline(newest, self.max_gap_s)
        if inner is None:
            detail = f"only one fix, {age_s:.3f} s from the image: no velocity"
            raise _Refused(Rejection.STALE_PRIOR, detail)
        baseline_s = abs(end.stamp_ns - inner.stamp_ns) * 1e-9
        a = age_s / baseline_s
        # Upper bound for noise that is not negatively correlated in time.
        covariance = (1 + a) ** 2 * end.covariance + a**2 * inner.covariance
        bend = 0.5 * ACCELERATION_SIGMA * age_s * (age_s + baseline_s)
        xy = end.xy + a * (end.xy - inner.xy)
        return _Fix(stamp_ns, xy, covariance + bend**2 * np.eye(2))

    def _heading_at(self, stamp_ns: int) -> _Heading:
        before, after = self._headings.around(stamp_ns, self.max_gap_s)
        if before is None or after is None:
            # Held, not turned on: a rate from two compass readings 10 ms apart is noise.
            end = self._headings[-1 if after is None else 0]
            drift = TURN_RATE_SIGMA * self._age(self._headings, end, stamp_ns)
            return replace(end, variance=end.variance + drift**2)
        t, gap_s = _between(before, after, stamp_ns)
        yaw = before.yaw + t * wrap_angle(after.yaw - before.yaw)
        variance = (1 - t) * before.variance + t * after.variance
        bend = TURN_RATE_SIGMA * t * (1 - t) * gap_s
        return _Heading(stamp_ns, wrap_angle(yaw), variance + bend**2)

    def _age(self, series: _Series[SampleT], end: SampleT, stamp_ns: int) -> float:
        """Seconds between the image and the end of the series; refused beyond the limit."""
        age_s = (stamp_ns - end.stamp_ns) * 1e-9
        if abs(age_s) > self.max_extrapolation_s:
            seen = (
                f"newest {series.name} is {age_s:.3f} s older than the image"
                if age_s > 0
                else f"oldest {series.name} kept is {-age_s:.3f} s newer than the image"
            )
            limit = f"limit {self.max_extrapolation_s:g} s"
            raise _Refused(Rejection.STALE_PRIOR, f"{seen}, {limit}")
        return abs(age_s)


def _between(before: _Sample, after: _Sample, stamp_ns: int) -> tuple[float, float]:
    """Where the stamp lies from `before` (0) to `after` (1), and the gap between them (s)."""
    gap_s = (after.stamp_ns - before.stamp_ns) * 1e-9
    return ((stamp_ns - before.stamp_ns) * 1e-9 / gap_s if gap_s else 0.0), gap_s


class _Series(Generic[SampleT]):
    """Samples in order of their stamps, no older than `horizon_s` before the newest."""

    def __init__(self, name: str, horizon_s: float) -> None:
        self.name = name
        self._horizon_ns = int(horizon_s * 1e9)
        self._samples: deque[SampleT] = deque(maxlen=SAMPLES_KEPT)

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> SampleT:
        return self._samples[index]

    def clear(self) -> None:
        self._samples.clear()

    def append(self, sample: SampleT) -> None:
        self._samples.append(sample)
        while self._samples[0].stamp_ns < sample.stamp_ns - self._horizon_ns:
            self._samples.popleft()

    def around(self, stamp_ns: int, max_gap_s: float) -> tuple[SampleT | None, SampleT | None]:
        """The samples before and after the stamp; None on the side where there is none."""
        samples: Sequence[SampleT] = self._samples
        i = bisect.bisect_left(samples, stamp_ns, key=lambda sample: sample.stamp_ns)
        if i == len(samples):
            return samples[-1], None
        if samples[i].stamp_ns == stamp_ns:
            return samples[i], samples[i]
        if i == 0:
            return None, samples[0]
        gap_s = (samples[i].stamp_ns - samples[i - 1].stamp_ns) * 1e-9
        if gap_s > max_gap_s:
            detail = f"{self.name} gap of {gap_s:.3f} s around the image, limit {max_gap_s:g} s"
            raise _Refused(Rejection.STALE_PRIOR, detail)
        return samples[i - 1], samples[i]

    def baseline(self, newest: bool, max_gap_s: float) -> SampleT | None:
        """Inward from an end: the first sample VELOCITY_BASELINE_S away, or the last before a gap.

        None where the end stands alone.
        """
        inward = iter(reversed(self._samples) if newest else self._samples)
        end = previous = next(inward)
        for sample in inward:
            if abs(sample.stamp_ns - previous.stamp_ns) * 1e-9 > max_gap_s:
                break
            previous = sample
            if abs(sample.stamp_ns - end.stamp_ns) * 1e-9 >= VELOCITY_BASELINE_S:
                break
        return None if previous is end else previous
