# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C and a cluster's SIGTERM as a wish to stop, seen between two steps."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType, TracebackType

_AGAIN_S = 2.0
"""A launcher passes on the signal that the terminal has sent already: only what comes later than
this is a second wish."""


class Interrupted(Exception):
    """The run has stopped because it was asked to; the message says how to go on."""


class Interruption:
    """Within the `with` block the first SIGINT or SIGTERM sets `asked`; one that comes later
    than two seconds after it ends the process as it would have without the block.
    """

    _SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self._asked_at: float | None = None

    @property
    def asked(self) -> bool:
        return self._asked_at is not None

    def __enter__(self) -> Interruption:
        self._before = {number: signal.signal(number, self._ask) for number in self._SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._asked_at is None:
            self._asked_at = time.monotonic()
            # print is not safe in a handler
            os.write(2, b"\nstopping after this step; once more to stop at once\n")
        elif time.monotonic() - self._asked_at > _AGAIN_S:
            self._restore()
            signal.raise_signal(number)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def leave_signals_to_the_parent(worker: int) -> None:
    """Ignore Ctrl-C in a worker process of a DataLoader, which it reaches too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
