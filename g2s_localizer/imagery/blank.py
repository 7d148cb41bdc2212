# SPDX-License-Identifier: Apache-2.0
"""Areas of exactly one colour, which no photograph has: collars, and pictures of "no imagery"."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from g2s_localizer.imagery.picture import BoolArray, Image

MAX_FLAT_SHARE = 0.2
"""Share of one colour in a picture from which it is no photograph of a place."""

MIN_DRAWN_SHARE = 0.5
"""Share of the other pixels that are like their neighbours, from which the picture is a drawn map,
whose colours are meant."""

MIN_SIDE = 32
"""Pixels a side of the smallest picture that is judged."""

BLOCK = 1024
"""Pixels a side of the parts that a large picture is judged by."""

Slices = tuple[slice, slice]

_EXTREMES = (0x000000, 0xFFFFFF)

_ROW_STEP = 4
"""Distance between the rows that are looked at."""


@dataclass(frozen=True)
class OneColour:
    """The colour (red, green, blue) that `share` (0..1) of a picture's pixels have exactly.

    drawn  what is beside it has no grain either, so that all of it may be a drawn map; black or
           white all over is none
    """

    colour: tuple[int, int, int]
    share: float
    drawn: bool

    def where(self, image: Image) -> BoolArray:
        """Return which pixels (H, W) of an image have this colour."""
        same: BoolArray = (image == np.array(self.colour, np.uint8)).all(axis=2)
        return same

    def __str__(self) -> str:
        return f"of exactly one colour, {self.colour}: a collar or a placeholder, no photograph"


def one_colour(image: Image) -> OneColour | None:
    """Return the colour that fills a large share of a picture (H, W, 3), None for none."""
    if min(image.shape[:2]) < MIN_SIDE:
        return None
    codes = _codes(image)
    flat = _flat(codes)
    # Most photographs end here: grain makes neighbours differ.
    if flat.mean() < 0.9 * MAX_FLAT_SHARE:
        return None
    colours, counts = np.unique(codes[:, 1:][flat], return_counts=True)
    code = int(colours[counts.argmax()])
    of_it = codes == code
    share = float(of_it.mean())
    if share < MAX_FLAT_SHARE:
        return None
    # A second collar, black or white, does not make the picture a drawn one.
    beside = ~(of_it | np.isin(codes, _EXTREMES))[:, 1:]
    drawn = bool(flat[beside].mean() > MIN_DRAWN_SHARE) if beside.any() else code not in _EXTREMES
    return OneColour((code >> 16, code >> 8 & 255, code & 255), share, drawn)


def blocks(width: int, height: int) -> Iterator[Slices]:
    """Yield rows and columns of equal parts of a picture, BLOCK x BLOCK pixels at most."""
    columns, rows = (
        [round(at) for at in np.linspace(0, length, -(-length // BLOCK) + 1)]
        for length in (width, height)
    )
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            yield np.s_[top:bottom, left:right]


def are_photographs(images: Iterable[Image]) -> bool:
    """Return whether most pictures (H, W, 3) have grain, not counting those of one colour."""
    shares = [share for image in images if (share := flat_share(image)) < 1.0]
    return bool(shares) and float(np.median(shares)) < MIN_DRAWN_SHARE


def flat_share(image: Image) -> float:
    """Return the share (0..1) of an image's pixels that are like their neighbour."""
    return float(_flat(_codes(image)).mean())


def _flat(codes: NDArray[np.uint32]) -> BoolArray:
    same: BoolArray = codes[:, 1:] == codes[:, :-1]
    return same


def _codes(image: Image) -> NDArray[np.uint32]:
    """Return a number that says its colour for each pixel of some rows of an image."""
    image = image[::_ROW_STEP]
    red, green, blue = (image[:, :, channel].astype(np.uint32) for channel in range(3))
    return np.asarray(red << 16 | green << 8 | blue, np.uint32)
