# SPDX-License-Identifier: Apache-2.0
"""Where the pixels of a metric north-up square lie among Web-Mercator pixels."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from g2s_localizer.geometry.geodesy import TILE_SIZE, LatLon, LocalFrame, mercator_pixel

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]

CONTROL_POINTS = 5
"""Points a side of the grid that ties crop metres to Mercator pixels."""


def mercator_fit(centre: LatLon, size_m: float, zoom: int) -> FloatArray:
    """Coefficients (6, 2) of (1, x, y, x^2, xy, y^2) -> Mercator pixel at `zoom`.

    x, y in metres east and north of `centre`, fitted by least squares to a grid of points over
    the crop taken through the tangent plane. What third order leaves out is under a
    millimetre for crops of a kilometre up to 70 degrees of latitude.
    """
    ticks = np.linspace(-0.5, 0.5, CONTROL_POINTS) * size_m
    x, y = (axis.ravel() for axis in np.meshgrid(ticks, ticks))
    px, py = mercator_pixel(*LocalFrame(centre).to_latlon_array(x, y), zoom)
    centre_px, _ = mercator_pixel(centre.lat, centre.lon, zoom)
    world = TILE_SIZE * 2.0**zoom
    # Across the antimeridian longitude jumps by a turn; the crop goes on.
    px = centre_px + np.remainder(px - centre_px + world / 2.0, world) - world / 2.0
    # Powers of x / size, not of x, keep the least squares well conditioned.
    a, b = x / size_m, y / size_m
    terms = np.stack([np.ones_like(a), a, b, a * a, a * b, b * b], axis=1)
    scaled = np.linalg.lstsq(terms, np.stack([px, py], axis=1), rcond=None)[0]
    powers = np.array([1.0, size_m, size_m, size_m**2, size_m**2, size_m**2])
    coefficients: FloatArray = scaled / powers[:, None]
    return coefficients


def sample_positions(
    fit: FloatArray, count: int, spacing_m: float
) -> tuple[Float32Array, Float32Array, int, int]:
    """Where the count x count samples of a crop lie in the tiles' pixels.

    Returns (count, count) u and v, in pixels of the window whose first pixel is the returned
    (column, row) of the world. In the window pixel centres are whole numbers; in the world
    they lie at index + 0.5.
    """
    x = (np.arange(count) - (count - 1) / 2.0) * spacing_m
    u, column = _axis_positions(fit[:, 0], x, -x[:, None])
    v, row = _axis_positions(fit[:, 1], x, -x[:, None])
    return u, v, column, row


def _axis_positions(
    coefficients: FloatArray, x: FloatArray, y: FloatArray
) -> tuple[Float32Array, int]:
    c0, cx, cy, cxx, cxy, cyy = coefficients
    origin = math.floor(c0)
    # Small numbers before single precision: a world pixel index needs more than 24 bits.
    along = (c0 - origin - 0.5 + cx * x + cxx * x * x).astype(np.float32)
    across = (cy * y + cyy * y * y).astype(np.float32)
    position = along + across
    position += (cxy * x).astype(np.float32) * y.astype(np.float32)
    first = math.floor(float(position.min()))
    position -= np.float32(first)
    return position, origin + first


def reach(position: Float32Array) -> int:
    """Pixels of the window that bilinear sampling at `position` touches."""
    return math.ceil(float(position.max())) + 1
