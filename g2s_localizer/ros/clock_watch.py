# SPDX-License-Identifier: Apache-2.0
"""Two publishers with different clocks on one topic, as their stamps give them away."""

from __future__ import annotations

from collections import deque

from g2s_localizer.estimator.series import BACKWARD_JUMP_S

RETURNS = 3
"""So many times forth and back again: not a bag that loops, nor single bad stamps."""

LONGEST_TURN = 300
"""Messages from one return to the next, at most: one publisher may be much the faster."""

QUIET_AT_LEAST = 10
"""Messages in order after which, at the earliest, the conflict is over."""

NAMES_KEPT = 40
"""Characters of a frame_id that are repeated."""


class ClockWatch:
    """Watches the stamps of one topic, message by message, in the order of arrival."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._count = 0
        self._stamp_ns: int | None = None
        self._back_s = self._apart_s = 0.0
        self._returns: deque[int] = deque(maxlen=RETURNS)
        self._frames: deque[str] = deque(maxlen=2 * LONGEST_TURN)

    def saw(self, stamp_ns: int, frame_id: str) -> None:
        """Take the next message."""
        self._count += 1
        self._frames.append(frame_id[:NAMES_KEPT])
        step_s = 0.0 if self._stamp_ns is None else (stamp_ns - self._stamp_ns) * 1e-9
        self._stamp_ns = stamp_ns
        if step_s < -BACKWARD_JUMP_S:
            self._back_s = -step_s
        elif self._back_s and step_s > max(BACKWARD_JUMP_S, 0.8 * self._back_s):
            self._returns.append(self._count)
            self._apart_s, self._back_s = self._back_s, 0.0

    @property
    def conflict(self) -> str:
        """The sentence on two clocks; "" without a conflict."""
        if len(self._returns) < RETURNS:
            return ""
        turn = (self._returns[-1] - self._returns[0]) / (RETURNS - 1)
        quiet = self._count - self._returns[-1]
        if turn > LONGEST_TURN or quiet > max(QUIET_AT_LEAST, 3 * turn):
            return ""
        names = ", ".join(f"'{name}'" for name in dict.fromkeys(self._frames))
        return (
            f"stamps on {self._topic} jump forth and back by {self._apart_s:.1f} s: two publishers "
            f"with different clocks? frame_id: {names}"
        )
