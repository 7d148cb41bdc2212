# SPDX-License-Identifier: Apache-2.0
"""The watch on the set-up: what contradicts the motion is said, and not published as sure."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from g2s_localizer.estimator.estimate import Estimate, Observation, Prior, Rejection
from g2s_localizer.estimator.finding import Finding
from g2s_localizer.estimator.heading_watch import HeadingWatch
from g2s_localizer.estimator.offset_watch import OffsetWatch
from g2s_localizer.estimator.picture_watch import PictureWatch
from g2s_localizer.estimator.prior import PriorBuffer
from g2s_localizer.estimator.series import Motion
from g2s_localizer.estimator.turn_watch import TurnWatch
from g2s_localizer.geometry import LocalFrame

_DOUBTFUL = (
    Rejection.NOT_HERE,
    Rejection.AT_BORDER,
    Rejection.INNOVATION,
    Rejection.FLAT_SCORE,
    Rejection.AMBIGUOUS,
    Rejection.WIDE_ELLIPSE,
)
"""Rejections of images that do not fit their imagery, for which a wrong heading is a cause."""


class SetupWatch:
    """Heading against the way driven and against the poses found, picture against itself, poses
    against fixes. Not thread-safe.

    heading  whether the heading is one that the fixes can contradict: not itself made of them
    """

    def __init__(self, heading: bool = True) -> None:
        self._heading = HeadingWatch() if heading else None
        self._turn = TurnWatch()
        self._picture = PictureWatch()
        self._offset = OffsetWatch()
        self._frame: LocalFrame | None = None
        self._fix_ns = self._heading_ns = 0
        self._motions: tuple[Motion, ...] = ()

    def reset(self) -> None:
        """Forget everything: time was set back, or map has another datum."""
        for watch in (self._heading, self._turn, self._picture, self._offset):
            if watch is not None:
                watch.reset()
        self._fix_ns = self._heading_ns = 0

    def follow(self, priors: PriorBuffer) -> None:
        """Take the fixes and headings that came since the last call."""
        if priors.frame is not self._frame or (priors.newest_fix_ns or 0) < self._fix_ns:
            self.reset()
            self._frame = priors.frame
        self._motions = priors.motions
        if self._heading is None:
            return
        for heading in priors.headings:
            if heading.stamp_ns > self._heading_ns:
                self._heading.add_heading(heading.stamp_ns, heading.yaw, heading.variance**0.5)
                self._heading_ns = heading.stamp_ns
        for fix in priors.fixes:
            # Later ones wait for the headings on the way to them.
            if self._fix_ns < fix.stamp_ns <= self._heading_ns:
                sigma_m = float(fix.covariance.trace() / 2.0) ** 0.5
                self._heading.add_fix(fix.stamp_ns, fix.xy, sigma_m)
                self._fix_ns = fix.stamp_ns

    @property
    def heading_finding(self) -> Finding | None:
        """Return the way driven's evidence against the present heading; None without any."""
        return self._heading.finding() if self._heading else None

    @property
    def heading_confirmed(self) -> bool:
        """Return whether the way driven confirms the heading, or cannot contradict it."""
        return self._heading is None or self._heading.confirmed

    def judge(self, prior: Prior) -> Prior:
        """Return the prior with what is known of its heading."""
        return replace(prior, confirmed=self.heading_confirmed)

    def look(self, observation: Observation, estimate: Estimate) -> Estimate:
        """Return the estimate of an observation as the watches let it pass."""
        self._turn.add(estimate)
        self._offset.add(estimate)
        driven_m = self._driven_m(observation.stamp_ns)
        found = [
            self._picture.look(observation, driven_m),
            *self._of_heading(estimate),
            self._offset.finding(),
        ]
        findings = [finding for finding in found if finding is not None]
        warnings = tuple(finding.sentence for finding in findings)
        estimate = replace(estimate, warnings=(*estimate.warnings, *warnings))
        for finding in findings:
            if finding.rejection is not None:
                return replace(estimate, rejection=finding.rejection, detail=finding.sentence)
        return estimate

    def _driven_m(self, stamp_ns: int) -> float | None:
        """Return the way (m) since the picture changed by the motions kept, None without any."""
        since_ns = self._picture.since_ns
        kept = [m for m in self._motions if since_ns is not None and m.stamp_ns >= since_ns]
        if len(kept) < 2:
            return None
        ways = [
            0.5e-9 * abs(a.forward + b.forward) * (b.stamp_ns - a.stamp_ns)
            for a, b in pairwise(kept)
            if b.stamp_ns <= stamp_ns
        ]
        return sum(ways)

    def _of_heading(self, estimate: Estimate) -> list[Finding | None]:
        if self._heading is None:
            return []
        doubtful = estimate.rejection in _DOUBTFUL
        return [self._heading.finding(doubtful), self._turn.finding(estimate.stamp_ns)]
