# SPDX-License-Identifier: Apache-2.0
import pytest

from g2s_localizer.ros.publisher_watch import PublisherWatch

SECOND = 1_000_000_000


def watched(messages):
    """A watch that saw (stamp in s, frame_id) in this order."""
    watch = PublisherWatch("fix")
    for stamp, frame in messages:
        watch.saw(round(stamp * SECOND), frame)
    return watch


def two(rates, apart, seconds=8.0):
    """Two publishers' messages in order of arrival; the second one's clock is `apart` behind."""
    arrivals = [
        (i / rate + 0.01 * n, n) for n, rate in enumerate(rates) for i in range(int(seconds * rate))
    ]
    return [(100.0 + t - apart * n, f"gps_{n}") for t, n in sorted(arrivals)]


@pytest.mark.parametrize("rates", [(1, 1), (10, 10), (1, 10), (10, 1), (50, 1)])
@pytest.mark.parametrize("apart", [5.0, -5.0, 3600.0])
def test_two_clocks_on_one_topic_are_named(rates, apart):
    said = watched(two(rates, apart)).conflict
    assert "two publishers with different clocks?" in said
    assert "'gps_0'" in said and "'gps_1'" in said


def test_a_loop_is_no_conflict_nor_are_two_bad_stamps():
    loop = [(100.0 + i % 13, "gps") for i in range(200)]
    bad = [(100.0 + i - (50.0 if i in (10, 40) else 0.0), "gps") for i in range(100)]
    assert watched(loop).conflict == watched(bad).conflict == ""


def test_messages_of_one_publisher_that_overtake_each_other_are_no_conflict():
    messages = [(stamp, "gps") for stamp, _ in two((10, 10), 0.3)]
    assert watched(messages).conflict == ""


def test_the_conflict_ends_with_the_second_publisher():
    after = [(200.0 + i, "gps_0") for i in range(40)]
    assert watched([*two((1, 1), 5.0), *after]).conflict == ""


@pytest.mark.parametrize("names", [("front", "rear"), ("front", "left", "rear")])
def test_frame_ids_that_alternate_are_several_publishers_whatever_their_clocks(names):
    messages = [(100.0 + 0.05 * i, names[i % len(names)]) for i in range(12)]
    listed = ", ".join(f"'{name}'" for name in names)
    assert watched(messages).conflict == (
        f"frame_id on fix alternates between {listed}: several publishers?"
    )


def test_a_frame_id_that_is_renamed_is_no_conflict():
    messages = [(100.0 + i, "gps" if i < 20 else "gps_link") for i in range(40)]
    assert watched(messages).conflict == ""


def test_a_topic_that_has_fallen_silent_has_no_conflict():
    watch = watched(two((10, 10), 5.0))
    for _ in range(1000):
        watch.saw_other()
    assert watch.conflict
    watch.saw_other()
    assert not watch.conflict


@pytest.mark.parametrize("every", [2, 5, 35])
def test_bad_frame_ids_of_all_kinds_among_good_ones_are_no_second_publisher(every):
    messages = [(i, "camera" if i % every else f"bad {i // every % 18}") for i in range(1000)]
    assert watched(messages).conflict == ""


@pytest.mark.parametrize("every", [2, 5, 35])
def test_bad_stamps_of_all_kinds_among_good_ones_are_no_second_clock(every):
    messages = [
        (1e6 + i - (0 if i % every else 7 * 1.9 ** (i // every % 20)), "camera")
        for i in range(1000)
    ]
    assert watched(messages).conflict == ""


def test_a_publisher_that_was_heard_often_is_gone_soon():
    turns = [(100.0 + i, ("front", "rear")[i % 2]) for i in range(1000)]
    watch = watched(turns)
    assert watch.conflict
    for i in range(11):
        watch.saw((1100 + i) * SECOND, "front")
    assert not watch.conflict
