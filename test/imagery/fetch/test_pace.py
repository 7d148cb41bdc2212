# SPDX-License-Identifier: Apache-2.0
import asyncio
import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from g2s_localizer.imagery.fetch.pace import BudgetSpent, Pace, backoff, retry_after


async def take(pace, turns):
    times = []

    async def task():
        await pace.turn()
        times.append(time.monotonic())

    await asyncio.gather(*[task() for _ in range(turns)])
    return times


def test_turns_come_no_faster_than_the_rate():
    times = asyncio.run(take(Pace(rate=100.0, budget=99), 20))
    assert times[-1] - times[0] >= 0.19


def test_a_pause_holds_everybody():
    async def paused():
        pace = Pace(rate=1000.0, budget=99)
        pace.pause(0.2)
        started = time.monotonic()
        return [moment - started for moment in await take(pace, 3)]

    assert min(asyncio.run(paused())) >= 0.19


def test_no_turn_is_given_beyond_the_budget():
    with pytest.raises(BudgetSpent, match="the budget of 3 requests is spent"):
        asyncio.run(take(Pace(rate=1000.0, budget=3), 4))


@given(st.integers(1, 60))
def test_the_backoff_doubles_up_to_its_most_with_full_jitter(attempt):
    waits = [backoff(attempt, 1.0, 60.0) for _ in range(50)]
    bound = min(60.0, 2.0 ** (attempt - 1))
    assert 0.0 <= min(waits) < bound / 3 and max(waits) <= bound


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        (formatdate(1_000_060, usegmt=True), 60.0),
        (formatdate(999_000), 0.0),
        ("soon", None),
        ("-5", None),
        ("", None),
        ("9" * 400, 999_999_999.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(header, seconds):
    assert retry_after(header, now=1_000_000.0) == seconds
