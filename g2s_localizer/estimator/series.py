# SPDX-License-Identifier: Apache-2.0
"""Samples of one sensor in the order of their stamps, and what becomes of a stamp out of order."""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

BACKWARD_JUMP_S = 1.0
"""A stamp older than the newest by more than this is out of order; by less, it is late."""

MAX_SAMPLES = 4096

SampleT = TypeVar("SampleT", bound="Sample")


@dataclass(frozen=True, eq=False)
class Sample:
    stamp_ns: int


@dataclass(frozen=True, eq=False)
class Fix(Sample):
    """Antenna in map (m), with covariance (2, 2) (m^2)."""

    xy: FloatArray
    covariance: FloatArray


@dataclass(frozen=True, eq=False)
class Heading(Sample):
    """Yaw as it was measured (rad, counter-clockwise), with its variance (rad^2)."""

    yaw: float
    variance: float


@dataclass(frozen=True, eq=False)
class Motion(Sample):
    """Velocity of base_link in its own axes (m/s, rad/s), with variances."""

    forward: float
    left: float
    yaw_rate: float
    speed_variance: float
    yaw_rate_variance: float


class Gap(Exception):
    """Neighbouring samples are too far apart to be interpolated."""


class Series(Generic[SampleT]):
    """Samples in order, no older than `horizon_s` before the newest.

    A stamp that is out of order (more than BACKWARD_JUMP_S before the newest, or so far ahead that
    it would push out all others) is held. If the next one agrees with it, time was set, and both
    are taken; if not, the held one was a single bad stamp, and is said in `odd`.
    """

    def __init__(self, name: str, horizon_s: float) -> None:
        self.name = name
        self.odd: list[str] = []
        self._horizon_ns = int(horizon_s * 1e9)
        self._samples: deque[SampleT] = deque(maxlen=MAX_SAMPLES)
        self._held: SampleT | None = None

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> SampleT:
        return self._samples[index]

    def __iter__(self) -> Iterator[SampleT]:
        return iter(self._samples)

    def clear(self) -> None:
        self._samples.clear()
        self._held = None

    def restart(self) -> None:
        """Begin anew, with the held sample if there is one: another sensor saw time set back."""
        held, self._held = self._held, None
        self._samples.clear()
        if held is not None:
            self._samples.append(held)

    def add(self, sample: SampleT) -> bool:
        """Take a sample; return True when it shows that time was set back and all others are gone.

        Raises ValueError for one that is merely late or a duplicate.
        """
        if not self._samples:
            self._append(sample)
            return False
        if self._is_behind(sample) and len(self) > 1 and sample.stamp_ns > self[-2].stamp_ns:
            # It goes on from the one before: it is the newest that ran ahead.
            self._call_odd(self._samples.pop(), sample)
        if self._is_behind(sample) or self._is_ahead(sample):
            return self._hold(sample)
        if self._held is not None:
            self._call_odd(self._held, self[-1])
            self._held = None
        if sample.stamp_ns <= self[-1].stamp_ns:
            late_s = (self[-1].stamp_ns - sample.stamp_ns) * 1e-9
            cause = "" if late_s else ": its stamp is repeated, does it stand still?"
            raise ValueError(f"{self.name} is {late_s:.3f} s older than the newest one{cause}")
        self._append(sample)
        return False

    def around(self, stamp_ns: int, max_gap_s: float) -> tuple[SampleT | None, SampleT | None]:
        """Return the samples before and after the stamp, None on the side where there is none.

        Raises Gap where they are more than `max_gap_s` apart.
        """
        samples: Sequence[SampleT] = self._samples
        i = bisect.bisect_left(samples, stamp_ns, key=lambda sample: sample.stamp_ns)
        if i == len(samples):
            return samples[-1], None
        if samples[i].stamp_ns == stamp_ns:
            return samples[i], samples[i]
        if i == 0:
            return None, samples[0]
        gap_s = seconds_between(samples[i - 1], samples[i])
        if gap_s > max_gap_s:
            raise Gap(f"{self.name} gap of {gap_s:.3f} s around the image, limit {max_gap_s:g} s")
        return samples[i - 1], samples[i]

    def baseline(self, newest: bool, least_s: float, max_gap_s: float) -> SampleT | None:
        """Return, inward from an end, the first sample `least_s` away, or the last before a gap.

        None where the end stands alone.
        """
        inward = iter(reversed(self._samples) if newest else self._samples)
        end = previous = next(inward)
        for sample in inward:
            if abs(seconds_between(previous, sample)) > max_gap_s:
                break
            previous = sample
            if abs(seconds_between(end, sample)) >= least_s:
                break
        return None if previous is end else previous

    def between(self, begin_ns: int, end_ns: int) -> list[SampleT]:
        """Return the samples of begin <= stamp <= end."""
        samples: Sequence[SampleT] = self._samples
        first = bisect.bisect_left(samples, begin_ns, key=lambda sample: sample.stamp_ns)
        last = bisect.bisect_right(samples, end_ns, key=lambda sample: sample.stamp_ns)
        return [samples[i] for i in range(first, last)]

    def _append(self, sample: SampleT) -> None:
        self._samples.append(sample)
        while self._samples[0].stamp_ns < sample.stamp_ns - self._horizon_ns:
            self._samples.popleft()

    def _hold(self, sample: SampleT) -> bool:
        held, self._held = self._held, sample
        agree = held is not None and 0 < sample.stamp_ns - held.stamp_ns <= self._horizon_ns
        if held is None or not agree:
            if held is not None:
                self._call_odd(held, self[-1])
            return False
        self._held = None
        back = self._is_behind(sample)
        # A single sample that the next two contradict was the bad one: nothing else is in doubt.
        alone = len(self) == 1
        if back:
            self._samples.clear()
        self._append(held)
        self._append(sample)
        return back and not alone

    def _is_behind(self, sample: SampleT) -> bool:
        return seconds_between(sample, self[-1]) > BACKWARD_JUMP_S

    def _is_ahead(self, sample: SampleT) -> bool:
        return sample.stamp_ns - self[-1].stamp_ns > self._horizon_ns

    def _call_odd(self, sample: SampleT, other: SampleT) -> None:
        off_s = seconds_between(other, sample)
        side = "newer" if off_s > 0 else "older"
        self.odd.append(
            f"{self.name} has a single bad stamp, {abs(off_s):.3f} s {side} than its neighbours: "
            "not used"
        )


def seconds_between(first: Sample, second: Sample) -> float:
    return (second.stamp_ns - first.stamp_ns) * 1e-9
