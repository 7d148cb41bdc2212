# SPDX-License-Identifier: Apache-2.0
"""Satellite imagery wider than one tile of VIGOR: its tiles overlap by a half, and their names,
satellite_LATITUDE_LONGITUDE.png, say where they lie.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from g2s_localizer.geometry import LatLon, LocalFrame


class TileMosaic:
    """The tiles of one city.

    names  of the tiles
    gsd    metres per pixel, side pixels of each of them
    read   name -> (side, side, 3) uint8 RGB; raises OSError or ValueError
    Raises ValueError naming a tile whose name gives no place.
    """

    def __init__(
        self,
        names: Sequence[str],
        gsd: float,
        side: int,
        read: Callable[[str], NDArray[np.uint8]],
    ) -> None:
        self._names, self._gsd, self._side, self._read = list(names), gsd, side, read
        places = [_place(name) for name in names]
        self._places = np.array([(place.lat, place.lon) for place in places])

    def around(self, tile: int, pixels: int) -> NDArray[np.uint8]:
        """Return (pixels, pixels, 3) RGB around the middle of a tile, which lies on top.

        Raises ValueError where the tiles around it leave a part uncovered, or as `read`.
        """
        frame = LocalFrame(LatLon(*self._places[tile]))
        x, y = np.stack(frame.to_xy_array(*self._places.T)) / self._gsd
        near = np.flatnonzero(np.maximum(np.abs(x), np.abs(y)) < (pixels + self._side) / 2)
        far_first = near[np.argsort(-np.hypot(x[near], y[near]))]
        mosaic = np.zeros((pixels, pixels, 3), np.uint8)
        covered = np.zeros((pixels, pixels), bool)
        for other in far_first:
            row = round((pixels - self._side) / 2 - y[other])
            column = round((pixels - self._side) / 2 + x[other])
            inside = tuple(
                slice(max(0, first), min(pixels, first + self._side)) for first in (row, column)
            )
            image = self._read(self._names[other])
            mosaic[inside] = image[
                inside[0].start - row : inside[0].stop - row,
                inside[1].start - column : inside[1].stop - column,
            ]
            covered[inside] = True
        if not covered.all():
            raise ValueError(
                f"{self._names[tile]}: the city's tiles cover {covered.mean():.0%} of the "
                f"{pixels * self._gsd:.0f} m around it"
            )
        return mosaic


def _place(name: str) -> LatLon:
    words = name.removesuffix(".png").split("_")
    try:
        _, latitude, longitude = words
        return LatLon(float(latitude), float(longitude))
    except ValueError as error:
        raise ValueError(
            f"{name} does not say where its tile lies, as satellite_LATITUDE_LONGITUDE.png does"
        ) from error
