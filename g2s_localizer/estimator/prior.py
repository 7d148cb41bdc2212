# SPDX-License-Identifier: Apache-2.0
"""The prior: where GNSS, heading and odometry say the vehicle was when the image was taken."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from g2s_localizer.estimator.datum import Datum, GeodeticFix
from g2s_localizer.estimator.estimate import Prior, Rejection
from g2s_localizer.estimator.motion import (
    ACCELERATION_SIGMA,
    TURN_RATE_SIGMA,
    combined_covariance,
    course,
    positive,
    travelled,
)
from g2s_localizer.estimator.series import (
    Fix,
    Gap,
    Heading,
    Motion,
    Sample,
    SampleT,
    Series,
    seconds_between,
)
from g2s_localizer.geometry import LatLon, LocalFrame, Pose2D
from g2s_localizer.geometry.pose import move_covariance, rotation, wrap_angle

FloatArray = NDArray[np.float64]

VELOCITY_BASELINE_S = 1.0
"""Fixes at least this far apart give the velocity; closer ones give mostly their noise."""

MAX_VARIANCE = 1e4
"""Of a heading (rad^2), a speed or a turn rate: more says nothing else, and may overflow."""

HEADINGS = ("north", "map", "course")


class _Refused(Exception):
    """There is no prior: (Rejection, detail), on its way to `PriorBuffer.at`."""

    def __init__(self, rejection: Rejection, detail: str) -> None:
        super().__init__(detail)
        self.answer = rejection, detail


@dataclass(frozen=True, eq=False)
class _Place:
    """A point (m, map) with covariance (2, 2), and where it lies from base_link at the image's
    stamp: `lever` (m, its axes) with covariance `spread` (2, 2).
    """

    xy: FloatArray
    covariance: FloatArray
    lever: FloatArray
    spread: FloatArray


class PriorBuffer:
    """Recent fixes, headings and motions, and the prior they make at any stamp near them.

    frame              ENU frame of the poses; None: its datum is the first of two fixes that agree
    antenna_offset_xy  the antenna in base_link (m, forward and left)
    max_gap_s          neighbouring samples further apart are not interpolated
    max_extrapolation_s  how far before the first or past the newest sample there is a prior;
                       its covariance grows with that age
    horizon_s          how much history is kept (and never more than 4096 samples of each)
    headings           what a yaw is measured from: "north": true east at the vehicle, so that it
                       is turned by the convergence; "map": the frame's x; "course": none is
                       added, the way driven between the fixes is the heading

    Past the newest fix the vehicle moves as `add_motion` says where it covers that time, else on
    the straight line of the fixes. Stamps are nanoseconds of one clock. A single stamp that goes
    back by more than a second, or far ahead, is not used and said in `odd`; two in a row empty the
    buffer (`resets` counts it). One that is merely late or a duplicate raises ValueError.
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
        headings: str = "north",
    ) -> None:
        for name, value in (("max_gap_s", max_gap_s), ("horizon_s", horizon_s)):
            if not value > 0:
                raise ValueError(f"{name} must be positive, got {value}")
        if not max_extrapolation_s >= 0:
            raise ValueError(f"max_extrapolation_s must not be negative, got {max_extrapolation_s}")
        if headings not in HEADINGS:
            raise ValueError(f"headings must be one of {', '.join(HEADINGS)}, got '{headings}'")
        self.antenna_offset_xy = antenna_offset_xy
        self.max_gap_s = max_gap_s
        self.max_extrapolation_s = max_extrapolation_s
        self.resets = 0
        self._datum = Datum(frame)
        self._kind = headings
        self._fixes: Series[Fix] = Series("fix", horizon_s)
        self._headings: Series[Heading] = Series("heading", horizon_s)
        self._motions: Series[Motion] = Series("motion", horizon_s)

    @property
    def frame(self) -> LocalFrame | None:
        return self._datum.frame

    @property
    def newest_fix_ns(self) -> int | None:
        return self._fixes[-1].stamp_ns if self._fixes else None

    @property
    def newest_ns(self) -> int:
        """Return the latest stamp of all samples; 0: there is none."""
        return max((series[-1].stamp_ns for series in self._all() if series), default=0)

    @property
    def fixes(self) -> tuple[Fix, ...]:
        """Return what is kept of the fixes, oldest first: antenna in map."""
        return tuple(self._fixes)

    @property
    def headings(self) -> tuple[Heading, ...]:
        """Return what is kept of the headings, oldest first, as they were measured."""
        return tuple(self._headings)

    @property
    def motions(self) -> tuple[Motion, ...]:
        """Return what is kept of the motions, oldest first."""
        return tuple(self._motions)

    @property
    def warning(self) -> str:
        """Return a standing sentence on a datum far from the fixes, "" without."""
        return self._datum.warning

    def is_settled(self, stamp_ns: int) -> bool:
        """Return True when no later sample will make the prior at `stamp_ns` better.

        An image usually comes before the fix that follows it: who asks may wait for this.
        """
        if not self._fixes or not self._headings:
            return False
        newest_ns = min(self._fixes[-1].stamp_ns, self._headings[-1].stamp_ns)
        alone = len(self._fixes) == 1 and self._fixes[0].stamp_ns != stamp_ns
        return stamp_ns <= newest_ns and not alone

    def add_fix(self, stamp_ns: int, place: LatLon, covariance_xy: ArrayLike) -> None:
        """Take a position of the antenna with its covariance (2, 2) (m^2, east and north)."""
        covariance = positive(covariance_xy)
        frame = self.frame
        placed = self._datum.admit(GeodeticFix(stamp_ns, place, covariance))
        if self.frame is not frame:
            self._fixes.clear()
        for one in placed:
            assert self.frame is not None
            xy = np.array(self.frame.to_xy(one.place))
            self._add_place(Fix(one.stamp_ns, xy, one.covariance))

    def add_heading(self, stamp_ns: int, yaw: float, variance: float) -> None:
        """Take a yaw of base_link (rad, counter-clockwise from east) with its variance (rad^2)."""
        if not (math.isfinite(yaw) and math.isfinite(variance) and variance > 0):
            raise ValueError(f"heading needs a finite yaw and a variance > 0: {yaw}, {variance}")
        heading = Heading(stamp_ns, wrap_angle(yaw), min(variance, MAX_VARIANCE))
        self._add(self._headings, heading)

    def add_pose(self, stamp_ns: int, pose: Pose2D, covariance: ArrayLike) -> None:
        """Take a pose in `frame` of who knows it already, with covariance (3, 3) of (x, y, yaw).

        Fix and heading in one: for a buffer of the given frame, headings "map", no lever arm.
        """
        full = np.array(covariance, dtype=np.float64)
        position = positive(full[:2, :2])
        self.add_heading(stamp_ns, pose.yaw, float(full[2, 2]))
        self._add_place(Fix(stamp_ns, np.array([pose.x, pose.y]), position))

    def add_motion(self, motion: Motion) -> None:
        """Take a speed and turn rate of base_link."""
        values = (motion.forward, motion.left, motion.yaw_rate)
        variances = (motion.speed_variance, motion.yaw_rate_variance)
        if not (np.isfinite(values).all() and np.isfinite(variances).all() and min(variances) > 0):
            raise ValueError(
                f"motion needs finite velocities and variances > 0: {values}, {variances}"
            )
        speed_variance, rate_variance = (min(one, MAX_VARIANCE) for one in variances)
        known = replace(motion, speed_variance=speed_variance, yaw_rate_variance=rate_variance)
        self._add(self._motions, known)

    def keep_datum(self) -> None:
        """Keep `frame` from now on: a pose was published in it."""
        self._datum.keep()

    def reset(self) -> None:
        """Forget all samples, not the datum: whoever follows the map keeps his coordinates."""
        for series in self._all():
            series.clear()
        self._datum.forget_waiting()
        self.resets += 1

    def take_odd(self) -> list[str]:
        """Return a sentence on each sample held and then not used, since the last call."""
        lists = [self._datum.odd, *(series.odd for series in self._all())]
        told = [sentence for each in lists for sentence in each]
        for each in lists:
            each.clear()
        return told

    def take_notes(self) -> list[str]:
        """Return what was given up as the datum since the last call, one sentence each."""
        told, self._datum.notes = self._datum.notes, []
        return told

    def at(self, stamp_ns: int) -> Prior | tuple[Rejection, str]:
        """Return the prior of base_link at `stamp_ns`, or why there is none and the ages seen."""
        if self.frame is None or not self._fixes:
            one = "only one GNSS fix yet: a second one must agree with it before there is a datum"
            return Rejection.NO_PRIOR, one if self._datum.waits else "no GNSS fix yet"
        if not self._headings:
            slow = ": the vehicle has not driven fast enough for a course"
            return Rejection.NO_PRIOR, f"no heading yet{slow if self._kind == 'course' else ''}"
        try:
            heading = self._heading_at(stamp_ns)
            place = self._place_at(stamp_ns)
        except Gap as gap:
            return Rejection.STALE_PRIOR, str(gap)
        except _Refused as refused:
            return refused.answer
        yaw = heading.yaw
        if self._kind == "north":
            yaw += self.frame.convergence(self.frame.to_latlon(*place.xy))
        turned = rotation(yaw)
        covariance = np.zeros((3, 3))
        covariance[:2, :2] = place.covariance + turned @ place.spread @ turned.T
        covariance[2, 2] = heading.variance
        x, y = place.xy - turned @ place.lever
        moved = move_covariance(covariance, yaw, place.lever)
        return Prior(stamp_ns, Pose2D(x, y, yaw), moved, self.frame)

    def _all(self) -> tuple[Series[Fix], Series[Heading], Series[Motion]]:
        return self._fixes, self._headings, self._motions

    def _add(self, series: Series[SampleT], sample: SampleT) -> None:
        if series.add(sample):
            self.resets += 1
            for other in self._all():
                if other is not series:
                    other.restart()

    def _add_place(self, fix: Fix) -> None:
        self._add(self._fixes, fix)
        if self._kind == "course" and self._fixes[-1] is fix:
            forward = self.antenna_offset_xy[0]
            heading = course(self._fixes, self._motions, self.max_gap_s, forward)
            if heading is not None:
                self._add(self._headings, heading)

    def _place_at(self, stamp_ns: int) -> _Place:
        lever, none = np.array(self.antenna_offset_xy), np.zeros((2, 2))
        before, after = self._fixes.around(stamp_ns, self.max_gap_s)
        if before is None or after is None:
            end = self._fixes[-1 if after is None else 0]
            age_s = self._age(self._fixes, end, stamp_ns)
            moved = travelled(self._motions, end.stamp_ns, stamp_ns) if after is None else None
            if moved is not None:
                lever = rotation(-moved.turn) @ lever - moved.xy
                return _Place(end.xy, end.covariance, lever, moved.covariance)
            inner = self._fixes.baseline(after is None, VELOCITY_BASELINE_S, self.max_gap_s)
            if inner is None:
                detail = f"only one fix, {age_s:.3f} s from the image: no velocity"
                raise _Refused(Rejection.STALE_PRIOR, detail)
        elif before is after:
            return _Place(before.xy, before.covariance, lever, none)
        else:
            end, inner = before, after
        # On the line through both, whether between them or past `end`.
        length_s = seconds_between(end, inner)
        share = (stamp_ns - end.stamp_ns) * 1e-9 / length_s
        bend = 0.5 * ACCELERATION_SIGMA * abs(share * (1.0 - share)) * length_s**2
        covariance = combined_covariance(end, inner, share) + bend**2 * np.eye(2)
        return _Place((1 - share) * end.xy + share * inner.xy, covariance, lever, none)

    def _heading_at(self, stamp_ns: int) -> Heading:
        before, after = self._headings.around(stamp_ns, self.max_gap_s)
        if before is None or after is None:
            end = self._headings[-1 if after is None else 0]
            age_s = self._age(self._headings, end, stamp_ns)
            moved = travelled(self._motions, end.stamp_ns, stamp_ns) if after is None else None
            if moved is None:
                # Held, not turned on: a rate from two compass readings 10 ms apart is noise.
                return replace(end, variance=end.variance + (TURN_RATE_SIGMA * age_s) ** 2)
            yaw, variance = end.yaw + moved.turn, end.variance + moved.turn_variance
            return Heading(stamp_ns, wrap_angle(yaw), variance)
        gap_s = seconds_between(before, after)
        t = (stamp_ns - before.stamp_ns) * 1e-9 / gap_s if gap_s else 0.0
        yaw = before.yaw + t * wrap_angle(after.yaw - before.yaw)
        variance = (1 - t) * before.variance + t * after.variance
        bend = TURN_RATE_SIGMA * t * (1 - t) * gap_s
        return Heading(stamp_ns, wrap_angle(yaw), variance + bend**2)

    def _age(self, series: Series[SampleT], end: Sample, stamp_ns: int) -> float:
        """Return seconds between the image and the end of the series; refused beyond the limit."""
        age_s = (stamp_ns - end.stamp_ns) * 1e-9
        if abs(age_s) > self.max_extrapolation_s + 1e-9:
            seen = (
                f"newest {series.name} is {age_s:.3f} s older than the image"
                if age_s > 0
                else f"oldest {series.name} kept is {-age_s:.3f} s newer than the image"
            )
            limit = f"limit {self.max_extrapolation_s:g} s"
            raise _Refused(Rejection.STALE_PRIOR, f"{seen}, {limit}")
        return abs(age_s)
