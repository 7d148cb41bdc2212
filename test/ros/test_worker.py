# SPDX-License-Identifier: Apache-2.0
import threading
import time

import pytest

from g2s_localizer.ros.worker import NewestWorker


class Harness:
    def __init__(self, max_wait_s=5.0, ready=lambda item: True):
        self.done, self.errors, self.replaced, self.idled_after = [], [], 0, []
        self.release, self.started = threading.Event(), threading.Event()
        self.worker = NewestWorker(
            self.work, is_ready=ready, max_wait_s=max_wait_s,
            on_replaced=self.count, on_error=self.errors.append, on_idle=self.idle,
        )  # fmt: skip

    def work(self, item):
        self.started.set()
        assert self.release.wait(5)
        if item == "bad":
            raise RuntimeError("bad item")
        self.done.append(item)

    def idle(self):
        self.idled_after.append(self.done[-1])

    def count(self):
        self.replaced += 1

    def finish(self, count):
        self.release.set()
        deadline = time.monotonic() + 5
        while len(self.done) + len(self.errors) < count and time.monotonic() < deadline:
            time.sleep(0.002)


@pytest.fixture
def harness():
    made = []

    def make(**options):
        made.append(Harness(**options))
        return made[-1]

    yield make
    for each in made:
        each.release.set()
        each.worker.stop()


def test_only_the_newest_of_what_arrives_meanwhile_is_worked_on(harness):
    h = harness()
    h.worker.submit(0)
    assert h.started.wait(5)
    for item in (1, 2, 3):
        h.worker.submit(item)
    h.finish(2)
    assert h.done == [0, 3] and h.replaced == 2


def test_an_error_is_reported_and_the_next_item_is_worked_on(harness):
    h = harness()
    h.worker.submit("bad")
    h.finish(1)
    h.worker.submit("good")
    h.finish(2)
    assert h.done == ["good"] and str(h.errors[0]) == "bad item"


def test_an_item_waits_until_it_is_ready(harness):
    ready = threading.Event()
    h = harness(ready=lambda item: ready.is_set())
    h.release.set()
    h.worker.submit(1)
    assert not h.started.wait(0.05)
    ready.set()
    h.worker.wake()
    assert h.started.wait(5)


def test_an_item_that_never_gets_ready_is_worked_on_after_the_wait(harness):
    h = harness(max_wait_s=0.05, ready=lambda item: False)
    start = time.monotonic()
    h.worker.submit(1)
    h.finish(1)
    assert h.done == [1] and 0.05 <= time.monotonic() - start < 1.0


def test_stopping_leaves_no_thread(harness):
    h = harness(ready=lambda item: False)
    h.worker.submit(1)
    h.worker.stop()
    assert "g2s-worker" not in [thread.name for thread in threading.enumerate()]


def test_idle_work_is_done_once_after_an_item_and_never_while_another_waits(harness):
    h = harness()
    h.worker.submit(0)
    assert h.started.wait(5)
    h.worker.submit(1)
    h.finish(2)
    h.worker.stop()
    assert h.idled_after == [1]
