# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C and a cluster's SIGTERM as a wish to stop, seen between two steps."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType


class Interruption:
    """Within the `with` block SIGINT and SIGTERM set `asked`; a second one ends the process as
    it would have without the block.
    """

    _SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> Interruption:
        self._before = {number: signal.getsignal(number) for number in self._SIGNALS}
        for number in self._SIGNALS:
            signal.signal(number, self._ask)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
