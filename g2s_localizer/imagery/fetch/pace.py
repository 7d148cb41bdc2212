# SPDX-License-Identifier: Apache-2.0
"""Pace of a fetch: requests per second, a budget, pauses that the server asks for."""

from __future__ import annotations

import asyncio
import random
import time
from datetime import timezone
from email.utils import parsedate_to_datetime


class BudgetSpent(Exception):
    """The budget of requests is spent."""


class Pace:
    """Gives out turns, at most `rate` a second and `budget` in all, to any number of tasks.

    requests  turns given so far
    """

    def __init__(self, rate: float, budget: int) -> None:
        self.requests = 0
        self._interval = 1.0 / rate
        self._budget = budget
        self._next = 0.0
        self._lock = asyncio.Lock()

    async def turn(self) -> None:
        """Wait for the next turn. Raises BudgetSpent when there is none."""
        async with self._lock:
            if self.requests >= self._budget:
                raise BudgetSpent(f"the budget of {self._budget} requests is spent")
            while (wait := self._next - time.monotonic()) > 0.0:
                await asyncio.sleep(wait)
            self._next = time.monotonic() + self._interval
            self.requests += 1

    def pause(self, seconds: float) -> None:
        """Let no request start within `seconds` from now: the server has asked for quiet."""
        self._next = max(self._next, time.monotonic() + seconds)


def backoff(attempt: int, first_s: float, max_s: float) -> float:
    """Return seconds to wait before the next attempt, `attempt` counting those that failed from 1.

    Full jitter: uniform from 0 to what doubles every time, so that clients which failed together
    do not come back together.
    """
    return random.uniform(0.0, min(max_s, first_s * 2.0 ** (attempt - 1)))


def retry_after(header: str, now: float) -> float | None:
    """Return seconds that a Retry-After header asks for, a number of them or an HTTP date.

    now   seconds since 1970. None for a header that says neither.
    """
    text = header.strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return max(0.0, moment.timestamp() - now)
