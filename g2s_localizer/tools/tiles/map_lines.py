# SPDX-License-Identifier: Apache-2.0
"""Lines of a map made into what is filled: rings, strips between two lines, dashes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from g2s_localizer.tools.tiles.osm import Way

FloatArray = NDArray[np.float64]

MAX_LINE_M = 100_000.0
"""Longest dashed line (m)."""


def rings(ways: Sequence[Way]) -> list[Way]:
    """Return the rings that ways make, joined where their ends are the same node.

    What does not close, as at the border of an extract, is left out.
    """
    ends: dict[str, list[int]] = defaultdict(list)
    for at, way in enumerate(ways):
        for end in {way.nodes[0], way.nodes[-1]}:
            ends[end].append(at)
    found, used = [], [False] * len(ways)
    for first, way in enumerate(ways):
        if used[first]:
            continue
        used[first] = True
        nodes, places = list(way.nodes), [way.places]
        while nodes[0] != nodes[-1]:
            onward = ends[nodes[-1]]
            while onward and used[onward[-1]]:
                onward.pop()
            if not onward:
                break
            used[onward[-1]] = True
            part = ways[onward.pop()]
            step = 1 if part.nodes[0] == nodes[-1] else -1
            nodes += part.nodes[::step][1:]
            places.append(part.places[::step][1:])
        if nodes[0] == nodes[-1]:
            found.append(Way(way.tags, tuple(nodes), np.concatenate(places)))
    return found


def between(left: FloatArray, right: FloatArray) -> FloatArray:
    """Return the ring (N, 2) of two lines side by side, whichever way each of them runs."""
    same, opposite = (
        np.hypot(*(left[[0, -1]] - right[order]).T).sum() for order in ([0, -1], [-1, 0])
    )
    return np.concatenate([left, right[::-1] if same <= opposite else right])


def beside(line: FloatArray, distance: float) -> FloatArray:
    """Return a line (N, 2) of pixels, whose v runs down, moved to its left by `distance`."""
    steps = np.diff(line, axis=0)
    ahead = np.concatenate([steps[:1], steps[:-1] + steps[1:], steps[-1:]])
    length = np.maximum(np.hypot(ahead[:, 0], ahead[:, 1]), 1e-9)[:, None]
    moved: FloatArray = line + np.stack([ahead[:, 1], -ahead[:, 0]], axis=1) / length * distance
    return moved


def dashes(
    line: FloatArray, gsd: float, dash_m: float, gap_m: float, width_m: float
) -> list[FloatArray]:
    """Return the painted rectangles (4, 2) of a dashed line (N, 2) of `gsd` metres per pixel.

    Raises ValueError for a line of more than MAX_LINE_M.
    """
    lengths = np.hypot(*np.diff(line, axis=0).T) * gsd
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    if along[-1] > MAX_LINE_M:
        raise ValueError(f"a dashed line is {along[-1]:.0f} m long: a node of it lies far off")
    starts = np.arange(0.0, along[-1], dash_m + gap_m)
    at = np.stack([starts, np.minimum(starts + dash_m, along[-1])], axis=1)
    pieces = np.stack([np.interp(at, along, line[:, axis]) for axis in (0, 1)], axis=2)
    half = width_m / gsd / 2.0
    return [np.concatenate([beside(p, half), beside(p, -half)[::-1]]) for p in pieces]
