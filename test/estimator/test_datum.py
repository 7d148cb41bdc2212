# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from g2s_localizer.estimator.datum import Datum, GeodeticFix
from g2s_localizer.geometry import LatLon, LocalFrame

SECOND = 1_000_000_000
HOME = LatLon(49.01, 8.43)


def fix(t, place, sigma=2.0):
    return GeodeticFix(round(t * SECOND), place, sigma**2 * np.eye(2))


def near(metres):
    return LocalFrame(HOME).to_latlon(metres, 0.0)


@pytest.mark.parametrize("wrong", [LatLon(0.001, 0.001), LatLon(-49.0, -171.6), near(3000.0)])
def test_a_first_fix_that_no_second_agrees_with_is_not_the_datum(wrong):
    datum = Datum(None)
    assert datum.admit(fix(0, wrong)) == [] and datum.waits
    assert datum.admit(fix(1, HOME)) == [] and datum.frame is None
    placed = datum.admit(fix(2, near(14.0)))
    assert [one.stamp_ns for one in placed] == [1 * SECOND, 2 * SECOND]
    assert datum.frame.datum == HOME
    assert len(datum.odd) == 1 and "not used" in datum.odd[0]


def test_a_fast_vehicle_and_a_coarse_receiver_still_agree():
    for place, sigma in ((near(45.0), 0.01), (near(90.0), 15.0)):
        datum = Datum(None)
        assert len(datum.admit(fix(0, HOME, sigma)) + datum.admit(fix(1, place, sigma))) == 2


@pytest.mark.parametrize("wrong", [LatLon(0.001, 0.001), LatLon(-49.0, -171.6)])
def test_a_datum_far_from_the_fixes_is_given_up_and_said(wrong):
    datum = Datum(None)
    for t in range(3):
        datum.admit(fix(t, wrong))
    assert datum.admit(fix(3, HOME)) == []
    assert len(datum.admit(fix(4, near(14.0)))) == 2 and datum.frame.datum == HOME
    assert any("km from where the fixes are: given up" in note for note in datum.notes)


@pytest.mark.parametrize("given", [True, False])
def test_a_datum_that_was_given_or_used_stays_and_is_said(given):
    datum = Datum(LocalFrame(HOME) if given else None)
    if not given:
        datum.admit(fix(0, HOME))
        datum.admit(fix(1, HOME))
        datum.keep()
    for t in (2, 3):
        with pytest.raises(ValueError, match=r"fixes are \d+.* km from the datum 49.01"):
            datum.admit(fix(t, LatLon(10.0, 8.43)))
    assert datum.frame.datum == HOME and "is it right" in datum.warning
    assert datum.admit(fix(4, HOME)) and not datum.warning


def test_a_single_far_fix_is_not_used_and_named():
    datum = Datum(None)
    for t in range(2):
        datum.admit(fix(t, HOME))
    assert datum.admit(fix(2, LatLon(0.0, 1.0))) == []
    assert len(datum.admit(fix(3, HOME))) == 1 and datum.frame.datum == HOME
    assert len(datum.odd) == 1 and datum.odd[0].startswith("fix at 0.0000000, 1.0000000 is ")
