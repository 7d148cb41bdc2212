# SPDX-License-Identifier: Apache-2.0
"""Stamps of recorded topics: in order, of one clock, and of images as of their CameraInfo."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from g2s_localizer.messages import stamp_ns
from g2s_localizer.tools.check_report import Report

MAX_UNORDERED = 0.01
"""Share of stamps that may go back or repeat."""

MAX_APART_S = 0.5
"""Two topics' stamps, each against the time of its recording, may differ by so much."""

MIN_PAIRED = 0.9
"""Share of images that must have a CameraInfo of their stamp."""


class Stamps:
    """Stamps of one topic, and when its messages were recorded (ns)."""

    def __init__(self) -> None:
        self.all_ns: list[int] = []
        self._behind_ns: list[int] = []

    def add(self, header: Any, logged_ns: int) -> None:
        """Take the next message in the order of recording."""
        self.all_ns.append(stamp_ns(header))
        self._behind_ns.append(logged_ns - self.all_ns[-1])

    @property
    def count(self) -> int:
        return len(self.all_ns)

    @property
    def newest_ns(self) -> int:
        return self.all_ns[-1]

    @property
    def behind_s(self) -> float:
        """Return seconds from stamp to recording, median."""
        return float(np.median(self._behind_ns)) * 1e-9

    @property
    def fault(self) -> str:
        """Say what is wrong with the order of the stamps; "" for nothing."""
        if not any(self.all_ns):
            return "all stamps are 0: the driver does not fill in header.stamp"
        steps = np.diff(np.array(self.all_ns)) * 1e-9
        back, same = steps[steps < 0], int((steps == 0).sum())
        if len(back) > MAX_UNORDERED * self.count:
            return (
                f"{len(back)} of {self.count} stamps go back, by up to {-back.min():.3f} s: two "
                "publishers, or a clock that was set"
            )
        if same > MAX_UNORDERED * self.count:
            return f"{same} of {self.count} stamps repeat the one before: are they frozen?"
        return ""

    def __str__(self) -> str:
        span_s = (max(self.all_ns) - min(self.all_ns)) * 1e-9
        rate = f", {(self.count - 1) / span_s:.1f} Hz" if span_s > 0 else ""
        return f"{self.count} messages{rate}"


def judge_clocks(topics: Mapping[str, Stamps], report: Report) -> None:
    """Say which topics are stamped by another clock than the fixes, or than the first topic."""
    heard = {name: stamps for name, stamps in topics.items() if stamps.count}
    if len(heard) < 2:
        return
    reference = "fix" if "fix" in heard else next(iter(heard))
    apart = {name: heard[reference].behind_s - one.behind_s for name, one in heard.items()}
    faults = [
        f"stamps of {name} are {abs(by):.2f} s {'ahead of' if by > 0 else 'behind'} those of "
        f"{reference}, each against the time of its recording: set the clocks of their drivers to "
        "one time (NTP, PTP), or stamp at arrival"
        for name, by in apart.items()
        if abs(by) > MAX_APART_S
    ]
    report.judge("clocks", "; ".join(faults), f"one for {', '.join(heard)}")


def judge_pairs(images: Stamps, infos: Stamps, report: Report) -> None:
    """Say how many images have the CameraInfo of their stamp, which the node needs."""
    if not images.count or not infos.count:
        return
    stamps = np.unique(infos.all_ns)
    paired = int(np.isin(images.all_ns, stamps).sum())
    nearest = [int(np.abs(stamps - one).min()) for one in images.all_ns]
    off_s = float(np.median(nearest)) * 1e-9
    said = f"{paired} of {images.count} images have a CameraInfo of their stamp"
    fault = f"{said}; the nearest is {off_s:.3f} s away (median): one driver must publish both"
    report.judge("pairs", fault if paired < MIN_PAIRED * images.count else "", said)
