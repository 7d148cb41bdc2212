# SPDX-License-Identifier: Apache-2.0
"""The panoramic camera: a full equirectangular image, and where it sits on the vehicle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Panorama:
    """Equirectangular image: one full turn wide, from the zenith to the nadir of its own frame.

    width, height  image size in pixels
    T_base_camera  (4, 4) optical frame (x right, y down, z forward) to base_link (x forward,
                   y left, z up), whose plane z = 0 is the ground; the middle column looks along
                   the optical axis, and columns go clockwise, seen from above

    Raises ValueError naming the field and the value when a field makes no panorama.
    """

    width: int
    height: int
    T_base_camera: FloatArray

    def __post_init__(self) -> None:
        if self.width <= 0 or self.height <= 0:
            raise ValueError(f"Panorama size must be positive, got {self.width} x {self.height}")
        T = np.array(self.T_base_camera, dtype=np.float64)
        if T.shape != (4, 4) or not np.isfinite(T).all():
            raise ValueError(f"Panorama.T_base_camera must be finite (4, 4), got {T.tolist()}")
        T.setflags(write=False)
        object.__setattr__(self, "T_base_camera", T)

    def project(self, points_base: ArrayLike) -> FloatArray:
        """Points (N, 3) of base_link (m) -> uv (N, 2); pixel (0, 0) is the centre of the top left
        one, u in [-0.5, width - 0.5).
        """
        points = np.atleast_2d(np.asarray(points_base, dtype=np.float64))
        right, down, ahead = ((points - self.T_base_camera[:3, 3]) @ self.T_base_camera[:3, :3]).T
        turn = np.arctan2(right, ahead) / (2.0 * np.pi) + 0.5
        from_zenith = np.arctan2(np.hypot(right, ahead), -down) / np.pi
        u = np.remainder(turn, 1.0) * self.width - 0.5
        return np.stack([u, from_zenith * self.height - 0.5], axis=1)
