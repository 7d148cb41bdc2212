# SPDX-License-Identifier: Apache-2.0
"""Several publishers on one topic: stamps of two clocks, or frame_ids that alternate, tell."""

from __future__ import annotations

from collections import deque

from g2s_localizer.estimator.series import BACKWARD_JUMP_S

RETURNS = 3
"""So many times to and fro: not a bag that loops, nor single bad messages."""

LONGEST_TURN = 300
"""Messages from one return to the next, at most: one publisher may be much the faster."""

LONGEST_SILENCE = 1000
"""Messages on other topics since the last one, after which its publishers have gone."""

QUIET_AT_LEAST = 10
"""Messages without a return after which, at the earliest, the second publisher has gone."""

NAME_LENGTH = 40
"""Characters of a frame_id that are repeated."""

NAMES_AT_ONCE = 6
"""Publishers that are told apart by their frame_ids."""


class PublisherWatch:
    """Watches stamps and frame_ids of one topic, message by message, in the order of arrival."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._others = 0
        self._stamp_ns: int | None = None
        self._back_s = self._apart_s = 0.0
        self._clocks = _Returns()
        self._names: deque[str] = deque(maxlen=NAMES_AT_ONCE)
        self._frames = _Returns()

    def saw(self, stamp_ns: int, frame_id: str) -> None:
        """Take the next message."""
        self._others = 0
        self._clocks.count(self._went_back_and_returned(stamp_ns))
        self._frames.count(self._changed_and_returned(frame_id[:NAME_LENGTH]))

    def saw_other(self) -> None:
        """Take note of a message on another topic: one that has fallen silent has no conflict."""
        self._others += 1

    @property
    def conflict(self) -> str:
        """Return the sentence on two publishers; "" without a conflict."""
        if self._others > LONGEST_SILENCE:
            return ""
        names = ", ".join(repr(name) for name in sorted(self._names))
        if self._clocks.last:
            return (
                f"stamps on {self._topic} jump forth and back by {self._apart_s:.1f} s: two "
                f"publishers with different clocks? frame_id: {names}"
            )
        if self._frames.last:
            return f"frame_id on {self._topic} alternates between {names}: several publishers?"
        return ""

    def _went_back_and_returned(self, stamp_ns: int) -> bool:
        step_s = 0.0 if self._stamp_ns is None else (stamp_ns - self._stamp_ns) * 1e-9
        self._stamp_ns = stamp_ns
        if step_s < -BACKWARD_JUMP_S:
            self._back_s = -step_s
        elif self._back_s and step_s > max(BACKWARD_JUMP_S, 0.8 * self._back_s):
            self._apart_s, self._back_s = self._back_s, 0.0
            return True
        return False

    def _changed_and_returned(self, name: str) -> bool:
        """Return whether this frame_id comes again after another one."""
        if self._names and name == self._names[-1]:
            return False
        returned = name in self._names
        if returned:
            self._names.remove(name)
        self._names.append(name)
        return returned


class _Returns:
    """Whether something returns again and again, in numbers of messages."""

    def __init__(self) -> None:
        self._count = 0
        self._at: deque[int] = deque(maxlen=RETURNS)

    def count(self, returned: bool) -> None:
        self._count += 1
        if returned:
            self._at.append(self._count)

    @property
    def last(self) -> bool:
        """Return whether it has returned RETURNS times, and lately."""
        if len(self._at) < RETURNS:
            return False
        turn = (self._at[-1] - self._at[0]) / (RETURNS - 1)
        quiet = self._count - self._at[-1]
        return turn <= LONGEST_TURN and quiet <= max(QUIET_AT_LEAST, 3 * turn)
