# SPDX-License-Identifier: Apache-2.0
import math

import pytest

from g2s_localizer.estimator.estimate import Rejection
from g2s_localizer.estimator.heading_search import IN_VAIN, LONG_REST, REST, HeadingSearch

SIGMA = math.radians(3.0)


def searched(turns, evidence=3.0, yaw=0.3, apart_s=0.5):
    """A search that found the headings turned by so many degrees from those told."""
    search = HeadingSearch()
    for i, turn in enumerate(turns):
        told = yaw + 0.002 * i
        search.add(round(i * apart_s * 1e9), evidence, told, told + math.radians(turn), SIGMA)
    return search


@pytest.mark.parametrize(
    ("turn", "yaw", "cause"),
    [
        (180, 0.3, "mounted backwards"),
        (90, 0.3, "its zero is north"),
        (math.degrees(math.pi / 2 - 2 * 0.3), 0.3, "it is NED"),
        (math.degrees(-2 * 0.3), 0.3, "clockwise from east"),
        (25, 1.3, "heading.offset +0.4"),
        (140, 1.0, "disturbed compass"),
    ],
)
def test_a_heading_that_is_turned_is_named_with_its_angle_and_cause(turn, yaw, cause):
    finding = searched([turn, turn - 1.5, turn], yaw=yaw).finding
    assert finding.rejection is Rejection.WRONG_HEADING
    assert cause in finding.sentence and f"{turn:+.0f} degrees" in finding.sentence


@pytest.mark.parametrize("turns", [[54, 54], [54, -120, 10], [2, -3, 1, 2, 0], [54, 2, 54, 1, 3]])
def test_a_heading_that_few_searches_find_elsewhere_is_not_wrong(turns):
    assert searched(turns).finding is None


@pytest.mark.parametrize("then", [[-120], [-120, 56, -125, 30], [-120, -50, 170, 90, 2]])
def test_searches_that_find_wrong_places_end_no_finding(then):
    assert searched([54, 55, 54, *then]).finding


def test_a_finding_ends_when_the_heading_is_found_where_it_is_told():
    search = searched([54, 54, 54, 54, 54, 1, -1, 0])
    assert search.finding is None and search.confirmed


def test_searches_that_find_nothing_tell_nothing():
    search = searched([54, 54, 54], evidence=-2.0)
    assert search.finding is None and not search.confirmed


def test_searches_of_long_ago_do_not_count():
    assert searched([54, 54, 54], apart_s=30.0).finding is None


def test_a_heading_that_is_confirmed_is_searched_for_strangers_alone():
    search = HeadingSearch()
    assert not any(search.asks(2.0, confirmed=True) for _ in range(50))
    asked = [search.asks(-2.0, confirmed=True) for _ in range(7)]
    assert asked == [False, False, True, False, False, False, True] and REST == 4


def test_a_search_confirms_the_heading_from_the_first_image_on():
    search = HeadingSearch()
    assert search.asks(2.0, confirmed=False)
    search.add(0, 3.0, 0.3, 0.35, SIGMA)
    assert search.confirmed and not any(search.asks(2.0, confirmed=False) for _ in range(50))


def test_searches_in_vain_become_rare():
    search = HeadingSearch()
    asked = 0
    for i in range(1000):
        if search.asks(-5.0, confirmed=True):
            search.add(i, -4.0, 0.0, 1.0, SIGMA)
            asked += 1
    assert asked <= IN_VAIN + 1000 / LONG_REST + 1
