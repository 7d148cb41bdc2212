# SPDX-License-Identifier: Apache-2.0
"""A thread that works on the newest item only, so that the executor never waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class NewestWorker(Generic[Item]):
    """Calls `work(item)` in a thread of its own for the newest item submitted.

    is_ready     an item is worked on once this is true, or `max_wait_s` after it was taken
    on_replaced  called when a newer item takes the place of one that nobody worked on
    on_error     called with what `work` or `on_idle` raised; the thread goes on with the next item
    on_idle      called in the thread after an item, when no other waits
    """

    def __init__(
        self,
        work: Callable[[Item], None],
        *,
        is_ready: Callable[[Item], bool],
        max_wait_s: float,
        on_replaced: Callable[[], None],
        on_error: Callable[[Exception], None],
        on_idle: Callable[[], None] = lambda: None,
    ) -> None:
        self._work = work
        self._is_ready = is_ready
        self._max_wait_s = max_wait_s
        self._on_replaced = on_replaced
        self._on_error = on_error
        self._on_idle = on_idle
        self._condition = threading.Condition()
        self._newest: Item | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="g2s-worker")
        self._thread.start()

    def submit(self, item: Item) -> None:
        with self._condition:
            if self._newest is not None:
                self._on_replaced()
            self._newest = item
            self._condition.notify()

    def wake(self) -> None:
        """Ask `is_ready` again, since something that it looks at has changed."""
        with self._condition:
            self._condition.notify()

    def stop(self) -> None:
        """End the thread after the item it works on; what waits is forgotten."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        self._thread.join()

    def _run(self) -> None:
        while (item := self._take()) is not None:
            try:
                self._work(item)
                if self._newest is None:
                    self._on_idle()
            except Exception as error:
                self._on_error(error)

    def _take(self) -> Item | None:
        """Return the newest item once it is ready or overdue; None when stopping."""
        with self._condition:
            while self._newest is None and not self._stopping:
                self._condition.wait()
            deadline = time.monotonic() + self._max_wait_s
            item = self._newest
            # It leaves the slot at once: an image that waits for its prior is worked on, however
            # many newer ones replace each other meanwhile.
            self._newest = None
            while item is not None and not self._stopping and not self._is_ready(item):
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    break
                self._condition.wait(remaining)
            return None if self._stopping else item
