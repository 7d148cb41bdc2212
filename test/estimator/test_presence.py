# SPDX-License-Identifier: Apache-2.0
import pytest

from g2s_localizer.estimator.presence import MAX_LOG_ODDS, Presence, probability

SECOND = 10**9


def test_one_image_alone_says_its_own_evidence():
    assert Presence().update(0, 1.3) == pytest.approx(1.3)


def test_the_same_image_twice_has_the_same_answer():
    presence = Presence()
    assert presence.update(5, -0.7) == presence.update(5, -0.7)


def test_weak_evidence_adds_up_over_a_drive():
    presence = Presence()
    added = [presence.update(k * SECOND // 10, 0.5) for k in range(30)]
    assert added == sorted(added) and added[-1] > 2.0


def test_images_that_show_nearly_the_same_count_by_their_share():
    quick, slow = Presence(), Presence()
    for k in range(31):
        quick.update(k * SECOND // 100, 1.0)
    for k in range(2):
        slow.update(k * 3 * SECOND // 10, 1.0)
    assert quick._log_odds == pytest.approx(slow._log_odds, abs=0.2)


def test_a_doubt_is_heard_within_a_second_after_a_long_healthy_drive():
    presence = Presence()
    for k in range(1000):
        presence.update(k * SECOND // 10, MAX_LOG_ODDS)
    for k in range(1000, 1010):
        presence.update(k * SECOND // 10, -3.0)
    assert probability(presence._log_odds) < 0.5


def test_after_a_pause_each_image_is_judged_alone():
    presence = Presence()
    presence.update(0, -5.0)
    assert presence.update(10 * SECOND, 1.0) == pytest.approx(1.0)
