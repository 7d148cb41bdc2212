# SPDX-License-Identifier: Apache-2.0
"""Several publishers on one topic: stamps of two clocks, or frame_ids that alternate, tell."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from g2s_localizer.estimator.series import BACKWARD_JUMP_S

RETURNS = 3
"""Times that a publisher must come back after another: more than single bad messages do."""

MAX_TURN = 100
"""Messages from one return of a publisher to its next, at most, that are one and the same."""

MIN_QUIET = 10
"""Messages without a return after which, at the earliest, a publisher has gone."""

MAX_SILENCE = 1000
"""Messages on other topics since the last one on this topic; after more its conflict is over."""

MAX_NAME_LENGTH = 40
"""Characters of a frame_id that are repeated."""

MAX_PUBLISHERS = 6
"""Publishers that are told apart at a time."""


class PublisherWatch:
    """Watches stamps and frame_ids of one topic, message by message, in the order of arrival.

    One message with a stamp or frame_id of its own is a bad message, as often as that happens; a
    publisher is the same difference between clocks, or the same frame_id, again and again.
    """

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._others = 0
        self._stamp_ns: int | None = None
        self._name: str | None = None
        self._back_s = 0.0
        self._clocks: _Recurring[float] = _Recurring(_same_difference)
        self._names: _Recurring[str] = _Recurring(str.__eq__)

    def saw(self, stamp_ns: int, frame_id: str) -> None:
        """Take the next message."""
        self._others = 0
        self._clocks.next_message()
        self._names.next_message()
        self._compare_stamp(stamp_ns)
        name = frame_id[:MAX_NAME_LENGTH]
        if name != self._name:
            self._names.comes(name)
        self._name = name

    def saw_other(self) -> None:
        """Take note of a message on another topic: one that has fallen silent has no conflict."""
        self._others += 1

    @property
    def conflict(self) -> str:
        """Return the sentence on two publishers; "" without a conflict."""
        if self._others > MAX_SILENCE:
            return ""
        alternating = sorted(self._names.lasting)
        names = ", ".join(map(repr, alternating or [self._name or ""]))
        if clocks := self._clocks.lasting:
            return (
                f"stamps on {self._topic} jump forth and back by {clocks[-1]:.1f} s: two "
                f"publishers with different clocks? frame_id: {names}"
            )
        if len(alternating) > 1:
            return f"frame_id on {self._topic} alternates between {names}: several publishers?"
        return ""

    def _compare_stamp(self, stamp_ns: int) -> None:
        step_s = 0.0 if self._stamp_ns is None else (stamp_ns - self._stamp_ns) * 1e-9
        self._stamp_ns = stamp_ns
        if step_s < -BACKWARD_JUMP_S:
            self._back_s = -step_s
        elif self._back_s and step_s > max(BACKWARD_JUMP_S, 0.8 * self._back_s):
            self._clocks.comes(self._back_s)
            self._back_s = 0.0


Key = TypeVar("Key")


class _Recurring(Generic[Key]):
    """Counts messages, and keeps at which of them each of some keys came again."""

    def __init__(self, same: Callable[[Key, Key], bool]) -> None:
        self._same = same
        self._count = 0
        self._seen: deque[tuple[Key, deque[int]]] = deque(maxlen=MAX_PUBLISHERS)

    def next_message(self) -> None:
        self._count += 1

    def comes(self, key: Key) -> None:
        """Take note that this message brings the key, and the one before did not."""
        at: deque[int] = deque(maxlen=RETURNS)
        for entry in self._seen:
            if self._same(key, entry[0]):
                self._seen.remove(entry)
                at = entry[1]
                break
        at.append(self._count)
        self._seen.append((key, at))

    @property
    def lasting(self) -> list[Key]:
        """Return the keys that came RETURNS times, at most MAX_TURN apart, and lately."""
        return [key for key, at in self._seen if len(at) == RETURNS and self._is_recent(at)]

    def _is_recent(self, at: deque[int]) -> bool:
        turn = (at[-1] - at[0]) / (RETURNS - 1)
        return turn <= MAX_TURN and self._count - at[-1] <= max(MIN_QUIET, 3 * turn)


def _same_difference(one_s: float, other_s: float) -> bool:
    """Return whether two differences between clocks are one, seen through different rates."""
    return abs(one_s - other_s) <= BACKWARD_JUMP_S + 0.2 * max(one_s, other_s)
