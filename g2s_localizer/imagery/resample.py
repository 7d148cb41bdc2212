# SPDX-License-Identifier: Apache-2.0
"""A metric square out of the pixels of another grid: where they lie, one resampling."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from g2s_localizer.geometry.geodesy import TILE_SIZE, LatLon, LocalFrame, mercator_pixel
from g2s_localizer.geometry.pose import rotation

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]
Image = NDArray[np.uint8]

CONTROL_POINTS = 5
"""Points a side of the grid that ties crop metres to the source's pixels."""

COARSER = 1.1
"""A level whose pixels are up to this much larger than asked still counts as fine enough."""

SPACING = 1.25
"""Samples lie at most this many source pixels apart; larger crop pixels average several."""

MAX_SAMPLES = 8192
"""Samples a side that one crop may take."""

OUTLINE_SAMPLES = 65
"""Samples a side that say which pixels a crop touches, to a thousandth of a pixel."""


def crop_pixels(size_m: float, gsd: float) -> int:
    """Return pixels a side of a crop. Raises ValueError for a size or gsd that makes none."""
    if not (math.isfinite(size_m) and math.isfinite(gsd) and gsd > 0 and size_m / gsd >= 1):
        raise ValueError(
            f"a crop needs a positive gsd and at least one pixel, got {size_m} m at {gsd} m/px"
        )
    if size_m / gsd > MAX_SAMPLES:
        raise ValueError(
            f"a crop of {size_m} m at {gsd} m/px has more than {MAX_SAMPLES} pixels a side"
        )
    return round(size_m / gsd)


def level_for(level_gsds: Sequence[float], gsd: float) -> int:
    """Return the index of the coarsest level no coarser than asked, or else of the finest."""
    fine_enough = [i for i, own in enumerate(level_gsds) if own <= gsd * COARSER]
    if fine_enough:
        return max(fine_enough, key=lambda index: level_gsds[index])
    return min(range(len(level_gsds)), key=lambda index: level_gsds[index])


def samples_per_pixel(pixels: int, gsd: float, source_gsd: float, source: str) -> int:
    """Return samples a side of one crop pixel, so that they lie no more than SPACING source pixels
    apart. Raises ValueError naming `source` for a crop of more than MAX_SAMPLES a side.
    """
    samples = math.ceil(gsd / source_gsd / SPACING)
    if pixels * samples > MAX_SAMPLES:
        raise ValueError(
            f"a crop of {pixels} pixels at {gsd} m/px takes {pixels * samples} samples a side "
            f"of {source} ({source_gsd:.3g} m/px); the limit is {MAX_SAMPLES}"
        )
    return samples


def control_points(
    centre: LatLon, size_m: float, offset_m: tuple[float, float] = (0.0, 0.0), yaw: float = 0.0
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return x, y (m right and up of the middle) over a crop whose u axis lies `yaw` from east
    (rad); lat, lon (degrees) where imagery that shows places `offset_m` beside their place has
    them. Each of shape (CONTROL_POINTS^2,).
    """
    ticks = np.linspace(-0.5, 0.5, CONTROL_POINTS) * size_m
    x, y = (axis.ravel() for axis in np.meshgrid(ticks, ticks))
    east, north = rotation(yaw) @ np.stack([x, y])
    lat, lon = LocalFrame(centre).to_latlon_array(east + offset_m[0], north + offset_m[1])
    return x, y, lat, lon


def fit_pixels(
    x: FloatArray, y: FloatArray, u: FloatArray, v: FloatArray, size_m: float
) -> FloatArray:
    """Fit coefficients (6, 2) of (1, x, y, x^2, xy, y^2) -> pixel (u, v), by least squares.

    What third order leaves out is under a millimetre for crops of a kilometre, in
    Web-Mercator up to 70 degrees of latitude and in the projections of survey offices.
    """
    # Powers of x / size, not of x, keep the least squares well conditioned.
    a, b = x / size_m, y / size_m
    terms = np.stack([np.ones_like(a), a, b, a * a, a * b, b * b], axis=1)
    scaled = np.linalg.lstsq(terms, np.stack([u, v], axis=1), rcond=None)[0]
    powers = np.array([1.0, size_m, size_m, size_m**2, size_m**2, size_m**2])
    coefficients: FloatArray = scaled / powers[:, None]
    return coefficients


def wrapped(values: FloatArray, middle: float, period: float) -> FloatArray:
    """Return the same values modulo `period`, each within half of it from `middle`: across the
    antimeridian a coordinate jumps by a turn, and the crop goes on.
    """
    near: FloatArray = middle + np.remainder(values - middle + period / 2.0, period) - period / 2.0
    return near


def mercator_fit(
    centre: LatLon,
    size_m: float,
    zoom: int,
    offset_m: tuple[float, float] = (0.0, 0.0),
    yaw: float = 0.0,
) -> FloatArray:
    """Fit as `fit_pixels` does, to the Web-Mercator pixels at `zoom`."""
    x, y, lat, lon = control_points(centre, size_m, offset_m, yaw)
    px, py = mercator_pixel(lat, lon, zoom)
    centre_px, _ = mercator_pixel(centre.lat, centre.lon, zoom)
    px = wrapped(px, float(centre_px), TILE_SIZE * 2.0**zoom)
    return fit_pixels(x, y, px, py, size_m)


def sample_positions(
    fit: FloatArray, count: int, spacing_m: float
) -> tuple[Float32Array, Float32Array, int, int]:
    """Return where the count x count samples of a crop lie in the source's pixels.

    Returns (count, count) u and v, in pixels of the window whose first pixel is the returned
    (column, row) of the source. In the window pixel centres are whole numbers; in the source
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
    along = c0 - origin - 0.5 + cx * x + cxx * x * x
    across = cy * y + cyy * y * y
    # The slope vanishes nowhere within a crop, so the least position lies on its border.
    first = math.floor(
        min(
            float((along + across[side] + cxy * x * y[side]).min())
            if rows
            else float((along[side] + across + cxy * x[side] * y).min())
            for side in (0, -1)
            for rows in (True, False)
        )
    )
    # Small numbers before single precision: a world pixel index needs more than 24 bits.
    position: Float32Array = np.add((along - first).astype(np.float32), across.astype(np.float32))
    position += (cxy * x).astype(np.float32) * y.astype(np.float32)
    return position, origin + first


def touched_pixels(position: Float32Array) -> int:
    """Return pixels of the window that bilinear sampling at `position` touches."""
    return math.ceil(float(position.max())) + 1


def resampled(window: Image, u: Float32Array, v: Float32Array, pixels: int) -> Image:
    """Return the crop (pixels, pixels, ...) of bilinear samples of `window` at u, v, averaged where
    there are several to a pixel.
    """
    image = cv2.remap(window, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    if len(u) > pixels:
        image = cv2.resize(image, (pixels, pixels), interpolation=cv2.INTER_AREA)
    return np.asarray(image, np.uint8)
