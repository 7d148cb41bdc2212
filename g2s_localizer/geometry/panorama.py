# SPDX-License-Identifier: Apache-2.0
"""The panoramic camera: a full equirectangular image, and where it sits on the vehicle."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Panorama:
    """Equirectangular image: one full turn wide, from the zenith to the nadir of its own frame.
    Its K is None.

    width, height  image size in pixels
    T_base_camera  (4, 4) optical frame (x right, y down, z forward) to base_link (x forward,
                   y left, z up), whose plane z = 0 is the ground; the middle column looks along
                   the optical axis, and columns go clockwise, seen from above

    Raises ValueError naming the field and the value when a field makes no panorama.
    """

    width: int
    height: int
    T_base_camera: FloatArray
    K = None
    is_distorted = False

    def __post_init__(self) -> None:
        if self.width <= 0 or self.height <= 0:
            raise ValueError(f"Panorama size must be positive, got {self.width} x {self.height}")
        T = np.array(self.T_base_camera, dtype=np.float64)
        if T.shape != (4, 4) or not np.isfinite(T).all():
            raise ValueError(f"Panorama.T_base_camera must be finite (4, 4), got {T.tolist()}")
        T.setflags(write=False)
        object.__setattr__(self, "T_base_camera", T)

    def scaled(self, width: int, height: int) -> Panorama:
        """Return the camera of the same image resized to width x height (pixels)."""
        return replace(self, width=width, height=height)

    @property
    def ground_height(self) -> float:
        """Return the height of the camera above the ground (m)."""
        return float(self.T_base_camera[2, 3])

    def project(self, points_base: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Convert points (N, 3) of base_link (m) to pixels uv (N, 2), distance (N,) from the camera
        (m).

        Pixel (0, 0) is the centre of the top left one; u lies in [-0.5, width - 0.5).
        """
        points = np.atleast_2d(np.asarray(points_base, dtype=np.float64))
        seen = (points - self.T_base_camera[:3, 3]) @ self.T_base_camera[:3, :3]
        right, down, ahead = seen.T
        turn = np.arctan2(right, ahead) / (2.0 * np.pi) + 0.5
        from_zenith = np.arctan2(np.hypot(right, ahead), -down) / np.pi
        u = np.remainder(turn, 1.0) * self.width - 0.5
        distance: FloatArray = np.linalg.norm(seen, axis=1)
        return np.stack([u, from_zenith * self.height - 0.5], axis=1), distance

    def rays(self, uv: FloatArray) -> FloatArray:
        """Return unit vectors (N, 3) of the optical frame in which pixels (N, 2) look."""
        turn = ((uv[:, 0] + 0.5) / self.width - 0.5) * 2.0 * np.pi
        from_zenith = (uv[:, 1] + 0.5) / self.height * np.pi
        flat = np.sin(from_zenith)
        return np.stack([flat * np.sin(turn), -np.cos(from_zenith), flat * np.cos(turn)], axis=1)
