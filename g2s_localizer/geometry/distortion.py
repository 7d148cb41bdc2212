# SPDX-License-Identifier: Apache-2.0
"""Lens distortion: the models of sensor_msgs/CameraInfo, as OpenCV defines them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

COEFFICIENTS = {"plumb_bob": (5,), "rational_polynomial": (8, 12, 14), "equidistant": (4,)}
"""Numbers of coefficients that a model may have (REP-104).

plumb_bob            k1, k2, p1, p2, k3: radial and tangential, by Brown
rational_polynomial  and k4, k5, k6 below the fraction; s1..s4 of a thin prism; tilt about x and y
equidistant          k1..k4 of a fisheye, by Kannala and Brandt
"""


def distort(xy: FloatArray, model: str, coefficients: FloatArray) -> FloatArray:
    """Return where the lens puts points (N, 2) of the plane at depth 1, on the same plane.

    Coefficients that are all zero are no distortion, whatever the model: so does image_geometry.
    """
    if not coefficients.any():
        return xy
    if model == "equidistant":
        return _equidistant(xy, coefficients)
    return _rational(xy, np.pad(coefficients, (0, 14 - len(coefficients))))


def _equidistant(xy: FloatArray, k: FloatArray) -> FloatArray:
    r = np.hypot(xy[:, 0], xy[:, 1])
    angle = np.arctan(r)
    squared = angle * angle
    bent = angle * (1.0 + squared * (k[0] + squared * (k[1] + squared * (k[2] + squared * k[3]))))
    # On the optical axis the angle is the radius.
    scale = np.divide(bent, r, out=np.ones_like(r), where=r > 1e-9)
    bent_xy: FloatArray = xy * scale[:, None]
    return bent_xy


def _rational(xy: FloatArray, coefficients: FloatArray) -> FloatArray:
    k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4, tilt_x, tilt_y = coefficients
    x, y = xy[:, 0], xy[:, 1]
    r2 = x * x + y * y
    radial = 1.0 + r2 * (k1 + r2 * (k2 + r2 * k3))
    if k4 or k5 or k6:
        radial = radial / (1.0 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    bent = np.stack(
        [
            x * radial + 2.0 * p1 * x * y + p2 * (r2 + 2.0 * x * x) + r2 * (s1 + r2 * s2),
            y * radial + p1 * (r2 + 2.0 * y * y) + 2.0 * p2 * x * y + r2 * (s3 + r2 * s4),
        ],
        axis=1,
    )
    return _tilted(bent, tilt_x, tilt_y) if tilt_x or tilt_y else bent


def _tilted(xy: FloatArray, tilt_x: float, tilt_y: float) -> FloatArray:
    """Project on a sensor turned about x, then about y (rad), and so not square to the axis."""
    cx, sx, cy, sy = np.cos(tilt_x), np.sin(tilt_x), np.cos(tilt_y), np.sin(tilt_y)
    about_x = np.array([[1.0, 0.0, 0.0], [0.0, cx, sx], [0.0, -sx, cx]])
    about_y = np.array([[cy, 0.0, -sy], [0.0, 1.0, 0.0], [sy, 0.0, cy]])
    R = about_y @ about_x
    onto_sensor = np.array([[R[2, 2], 0.0, -R[0, 2]], [0.0, R[2, 2], -R[1, 2]], [0.0, 0.0, 1.0]])
    found = np.column_stack([xy, np.ones(len(xy))]) @ (onto_sensor @ R).T
    projected: FloatArray = found[:, :2] / found[:, 2:]
    return projected
