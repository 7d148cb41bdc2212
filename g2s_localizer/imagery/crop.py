# SPDX-License-Identifier: Apache-2.0
"""SatelliteCrop: a metric square of satellite or aerial imagery, north-up or turned."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from g2s_localizer.geometry.geodesy import LatLon
from g2s_localizer.geometry.pose import rotation

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SatelliteCrop:
    """Metric square of imagery in the ENU tangent plane at its centre.

    image        (S, S, 3) uint8 RGB; pixel (0, 0) is the centre of the top left one, which is the
                 north-west one of a north-up crop
    centre       the place at the image's centre, between the middle pixels when S is even
    gsd          metres per pixel, the same along both axes
    attribution  whose imagery it is, "" where the store does not say
    yaw          of the image's u axis from east, counter-clockwise (rad); 0: north-up

    Raises ValueError naming the field when image is not such an array or gsd not positive.
    """

    image: NDArray[np.uint8]
    centre: LatLon
    gsd: float
    attribution: str
    yaw: float = 0.0

    def __post_init__(self) -> None:
        shape = self.image.shape
        if self.image.dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape:
            raise ValueError(
                "SatelliteCrop.image must be uint8 of shape (H, W, 3), "
                f"got {self.image.dtype} of shape {shape}"
            )
        if not (math.isfinite(self.gsd) and self.gsd > 0.0):
            raise ValueError(f"SatelliteCrop.gsd must be positive, got {self.gsd}")

    def uv_from_xy(self, xy: ArrayLike) -> FloatArray:
        """Convert metres (N, 2) east and north of the centre to pixels (N, 2) right and down."""
        along = np.atleast_2d(np.asarray(xy, np.float64)) @ rotation(self.yaw)
        return along * self._pixels_per_metre + self._middle

    def xy_from_uv(self, uv: ArrayLike) -> FloatArray:
        """Convert pixels (N, 2) right and down to metres (N, 2) east and north of the centre."""
        along = (np.atleast_2d(np.asarray(uv, np.float64)) - self._middle) / self._pixels_per_metre
        east_north: FloatArray = along @ rotation(self.yaw).T
        return east_north

    @property
    def _pixels_per_metre(self) -> FloatArray:
        return np.array([1.0, -1.0]) / self.gsd

    @property
    def _middle(self) -> FloatArray:
        height, width = self.image.shape[:2]
        return np.array([width / 2.0 - 0.5, height / 2.0 - 0.5])
