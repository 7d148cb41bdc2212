# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from g2s_localizer.imagery.blank import MAX_FLAT_SHARE, are_photographs, one_colour

GRAIN = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)


@pytest.mark.parametrize("share", [MAX_FLAT_SHARE - 0.02, MAX_FLAT_SHARE + 0.02, 0.7, 1.0])
def test_a_colour_counts_from_its_share_on(share):
    image = GRAIN.copy()
    image[:, : int(200 * share)] = (7, 8, 9)
    found = one_colour(image)
    assert (found is not None) == (share > MAX_FLAT_SHARE)
    assert found is None or (found.colour, round(found.share, 1)) == ((7, 8, 9), round(share, 1))


def test_grain_beside_a_colour_tells_a_collar_from_a_drawn_map():
    collar, drawn = GRAIN.copy(), np.full_like(GRAIN, 60)
    collar[:120] = drawn[:120] = 90
    assert (one_colour(collar).drawn, one_colour(drawn).drawn) == (False, True)


def test_two_collars_of_black_and_white_make_no_drawn_map():
    image = GRAIN.copy()
    image[:90], image[-80:] = 0, 255
    assert not one_colour(image).drawn


def test_a_small_picture_is_not_judged():
    assert one_colour(np.zeros((31, 200, 3), np.uint8)) is None


def test_most_pictures_with_grain_are_photographs():
    flat = np.full_like(GRAIN, 90)
    half = GRAIN.copy()
    half[:150] = 3
    assert are_photographs([GRAIN, GRAIN, half, flat, flat, flat])
    assert not are_photographs([half, half, GRAIN]) and not are_photographs([flat])
