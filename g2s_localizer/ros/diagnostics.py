# SPDX-License-Identifier: Apache-2.0
"""Content of /diagnostics: rate, latency, age of the prior, rejections and drops by name."""

from __future__ import annotations

import math
import threading
from collections import Counter, deque
from collections.abc import Mapping, Sequence

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from g2s_localizer.estimator.estimate import Estimate, Rejection
from g2s_localizer.estimator.read_ahead import ReadAhead
from g2s_localizer.geometry import LocalFrame
from g2s_localizer.imagery.coverage import Coverage

LATENCIES = ("latency", "latency from arrival", "latency from stamp")
"""Seconds of the work, from the image's arrival, and from its stamp on the node's clock."""

MAX_LATENCIES = 200

LOST_AFTER = 5
"""Rejections in a row from which the localizer no longer knows where it is."""

SILENT_AFTER_S = 2.0
"""An active node that answered no image for so long is stale."""

OK, WARN = DiagnosticStatus.OK, DiagnosticStatus.WARN
ERROR, STALE = DiagnosticStatus.ERROR, DiagnosticStatus.STALE


class Diagnostics:
    """Counts what happens and says it as a DiagnosticStatus.

    ERROR  a set-up fault, missing imagery or no usable camera, or LOST_AFTER rejections in a row
    WARN   a rejection or a dropped message since the last report; what a watch on the set-up
           says; imagery that does not cover the planned area
    STALE  active, but no image answered for SILENT_AFTER_S, and why; or not active
    OK     otherwise
    Thread-safe. Times are those of the caller's clock, in seconds.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self.state = "unconfigured"
        self.fault = ""
        self.facts: dict[str, str] = {}
        self.coverage: Coverage | None = None
        self._clear()

    def _clear(self) -> None:
        self._accepted = 0
        self._rejected: Counter[Rejection] = Counter()
        self._latencies = {name: deque[float](maxlen=MAX_LATENCIES) for name in LATENCIES}
        self._last: Estimate | None = None
        self._prior_age = math.nan
        self._rejected_in_a_row = 0
        self._replaced = 0
        self._failures = 0
        self._failure = ""
        self._answered_s: float | None = None
        self._reported = Counter[str]()
        self._reported_s: float | None = None

    def start(self, now_s: float) -> None:
        """Forget all that was recorded: the node has become active."""
        with self._lock:
            self._clear()
            self._answered_s = self._reported_s = now_s

    def record(
        self,
        estimate: Estimate,
        prior_age_s: float,
        now_s: float,
        from_arrival_s: float = math.nan,
        from_stamp_s: float = math.nan,
    ) -> None:
        """Record an answer; prior_age_s: from the newest fix to the image; from_arrival_s,
        from_stamp_s: to the answer, besides the work alone.
        """
        with self._lock:
            self._last = estimate
            self._answered_s = now_s
            self._prior_age = prior_age_s
            latencies = estimate.latency_s, from_arrival_s, from_stamp_s
            for name, latency_s in zip(LATENCIES, latencies, strict=True):
                if math.isfinite(latency_s):
                    self._latencies[name].append(latency_s)
            if estimate.rejection is None:
                self._accepted += 1
                self._rejected_in_a_row = 0
            else:
                self._rejected[estimate.rejection] += 1
                self._rejected_in_a_row += 1

    def record_replaced(self) -> None:
        """Count an image that a newer one replaced before anybody worked on it."""
        with self._lock:
            self._replaced += 1

    def record_failure(self, error: Exception) -> None:
        """Work on an image ended in an exception."""
        with self._lock:
            self._failures += 1
            self._failure = f"{type(error).__name__}: {error}"

    def status(
        self,
        now_s: float,
        received: Mapping[str, int],
        dropped: Mapping[str, int],
        drop_reason: Mapping[str, str],
        frame: LocalFrame | None,
        read_ahead: ReadAhead | None = None,
        unpublished: Sequence[str] = (),
        why_silent: str = "",
        pairing: Mapping[str, str] | None = None,
    ) -> DiagnosticStatus:
        """Return the state since `start`; levels and rate look at what changed since the last call.

        unpublished  a sentence for each topic that nobody publishes
        why_silent   why no image can be answered, as far as the images tell
        pairing      values about images and their CameraInfo
        """
        with self._lock:
            counts = Counter(
                answered=self._accepted + self._rejected.total(),
                rejected=self._rejected.total(),
                dropped=sum(dropped.values()),
                failures=self._failures,
            )
            changed = counts - self._reported
            elapsed_s = now_s - self._reported_s if self._reported_s is not None else math.nan
            self._reported, self._reported_s = counts, now_s
            level, message = self._judge(now_s, changed, drop_reason)
            if self.state == "active" and level != OK:
                silent = level == STALE and not unpublished
                causes = [*unpublished, *([why_silent] if silent and why_silent else [])]
                message = ": ".join([message, *(["; ".join(causes)] if causes else [])])
            values = {
                "state": self.state,
                **self.facts,
                "coverage of the planned area": str(self.coverage) if self.coverage else "",
                "datum": f"{frame.datum.lat:.8f}, {frame.datum.lon:.8f}" if frame else "",
                "rate (Hz)": _number(changed["answered"] / elapsed_s if elapsed_s > 0 else 0.0),
                **{
                    f"{name} p{percentile} (ms)": _number(self._latency_ms(name, percentile))
                    for name in LATENCIES
                    for percentile in (50, 99)
                },
                "age of the prior (s)": _number(self._prior_age),
                "accepted": str(self._accepted),
                "rejected": str(counts["rejected"]),
                **{f"rejected {r.name}": str(self._rejected[r]) for r in Rejection},
                "rejected in a row": str(self._rejected_in_a_row),
                "last rejection": self._last.reason if self._last else "",
                "warnings": "; ".join(self._last.warnings) if self._last else "",
                **{f"received {topic}": str(n) for topic, n in sorted(received.items())},
                **(pairing or {}),
                "topics without a publisher": "; ".join(unpublished),
                "images replaced by newer ones": str(self._replaced),
                "dropped": str(counts["dropped"]),
                **{
                    f"dropped {topic}": f"{n} (last: {drop_reason.get(topic, '')})"
                    for topic, n in sorted(dropped.items())
                },
                "crops ahead that failed": (
                    f"{read_ahead.failures} (last: {read_ahead.failure})"
                    if read_ahead and read_ahead.failures
                    else "0"
                ),
                "failures": f"{self._failures} (last: {self._failure})" if self._failure else "0",
            }
        return DiagnosticStatus(
            level=level,
            name=self._name,
            message=_printable(message),
            hardware_id=self.facts.get("checkpoint", ""),
            values=[KeyValue(key=key, value=_printable(value)) for key, value in values.items()],
        )

    def _judge(
        self, now_s: float, changed: Counter[str], drop_reason: Mapping[str, str]
    ) -> tuple[bytes, str]:
        if self.fault:
            return ERROR, self.fault
        if self.state != "active":
            return STALE, self.state
        if changed["failures"]:
            return ERROR, self._failure
        last = self._last
        if last is not None and last.rejection is not None and changed["rejected"]:
            hopeless = last.rejection in (Rejection.NO_IMAGERY, Rejection.NO_CAMERA)
            if hopeless or self._rejected_in_a_row >= LOST_AFTER:
                return ERROR, last.reason
            return WARN, last.reason
        if changed["dropped"]:
            reasons = "; ".join(f"{topic}: {why}" for topic, why in sorted(drop_reason.items()))
            return WARN, f"dropped messages: {reasons}"
        if self._answered_s is not None and now_s - self._answered_s > SILENT_AFTER_S:
            return STALE, f"no image answered for {now_s - self._answered_s:.1f} s"
        if last is not None and last.warnings:
            return WARN, "; ".join(last.warnings)
        if self.coverage is not None and self.coverage.missing:
            return WARN, f"the imagery covers {self.coverage}"
        return OK, "localized" if self._accepted else "waiting for images"

    def _latency_ms(self, name: str, percentile: float) -> float:
        latencies = self._latencies[name]
        return 1e3 * float(np.percentile(latencies, percentile)) if latencies else math.nan


def _printable(text: str) -> str:
    """Return the text without what controls a terminal: messages are repeated in it."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "nan"
