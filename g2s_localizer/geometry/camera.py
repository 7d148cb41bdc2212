# SPDX-License-Identifier: Apache-2.0
"""The camera: pinhole with a lens that distorts, and where it sits on the vehicle."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from g2s_localizer.geometry.distortion import COEFFICIENTS, distort

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Camera:
    """Pinhole camera on a vehicle.

    K                 (3, 3) intrinsics in pixels; pixel (0, 0) is the centre of the top left one
    width, height     image size in pixels
    distortion        its coefficients, as many as `COEFFICIENTS` says; plumb_bob: k1, k2, p1, p2,
                      k3 (REP-104, sensor_msgs/CameraInfo)
    T_base_camera     (4, 4) optical frame (x right, y down, z forward) to base_link (x forward,
                      y left, z up), whose plane z = 0 is the ground
    distortion_model  plumb_bob, rational_polynomial or equidistant

    Raises ValueError naming the field and the value when a field makes no camera.
    """

    K: FloatArray
    width: int
    height: int
    distortion: FloatArray
    T_base_camera: FloatArray
    distortion_model: str = "plumb_bob"

    def __post_init__(self) -> None:
        if self.distortion_model not in COEFFICIENTS:
            raise ValueError(
                f"Camera.distortion_model must be one of {', '.join(COEFFICIENTS)}, got "
                f"'{self.distortion_model}'"
            )
        lengths = [(length,) for length in COEFFICIENTS[self.distortion_model]]
        for name, shapes in (
            ("K", [(3, 3)]),
            ("distortion", lengths),
            ("T_base_camera", [(4, 4)]),
        ):
            value = np.array(getattr(self, name), dtype=np.float64)
            if value.shape not in shapes or not np.isfinite(value).all():
                raise ValueError(
                    f"Camera.{name} must be finite of shape {' or '.join(map(str, shapes))}, got "
                    f"{value.tolist()}"
                )
            value.setflags(write=False)
            object.__setattr__(self, name, value)
        if self.width <= 0 or self.height <= 0:
            raise ValueError(f"Camera size must be positive, got {self.width} x {self.height}")
        if self.K[0, 0] <= 0 or self.K[1, 1] <= 0:
            raise ValueError(
                f"Camera.K must have positive focal lengths, got fx {self.K[0, 0]}, "
                f"fy {self.K[1, 1]}"
            )
        R = self.T_base_camera[:3, :3]
        if not np.allclose(R @ R.T, np.eye(3), atol=1e-4) or np.linalg.det(R) < 0:
            raise ValueError(f"Camera.T_base_camera must hold a rotation, got {R.tolist()}")

    @property
    def ground_height(self) -> float:
        """Return the height of the camera above the ground (m)."""
        return float(self.T_base_camera[2, 3])

    @property
    def is_distorted(self) -> bool:
        return bool(self.distortion.any())

    def scaled(self, width: int, height: int) -> Camera:
        """Return the camera of the same image resized to width x height (pixels).

        Resizing keeps the outer borders of the image, so (u + 0.5) scales, not u.
        """
        K = self.K.copy()
        for axis, factor in ((0, width / self.width), (1, height / self.height)):
            K[axis, :2] *= factor
            K[axis, 2] = (K[axis, 2] + 0.5) * factor - 0.5
        return replace(self, K=K, width=width, height=height)

    def cropped(self, u0: int, v0: int, width: int, height: int) -> Camera:
        """Return camera of the window of `width` x `height` pixels with top left pixel (u0, v0)."""
        if u0 < 0 or v0 < 0 or u0 + width > self.width or v0 + height > self.height:
            raise ValueError(
                f"window {width} x {height} at ({u0}, {v0}) leaves the image of "
                f"{self.width} x {self.height}"
            )
        K = self.K.copy()
        K[0, 2] -= u0
        K[1, 2] -= v0
        return replace(self, K=K, width=width, height=height)

    def undistorted(self) -> Camera:
        """Return the pinhole camera with the same K and no distortion."""
        return replace(self, distortion=np.zeros(5), distortion_model="plumb_bob")

    def project(self, points_base: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Convert points (N, 3) of base_link (m) to pixels uv (N, 2), depth (N,) along the optical
        axis.

        uv is NaN where depth <= 0.
        """
        points = np.atleast_2d(np.asarray(points_base, dtype=np.float64))
        R, t = self.T_base_camera[:3, :3], self.T_base_camera[:3, 3]
        camera_points = (points - t) @ R
        depth: FloatArray = camera_points[:, 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            xy = np.asarray(camera_points[:, :2] / depth[:, None], np.float64)
        xy[~(depth > 0)] = np.nan
        uv = distort(xy, self.distortion_model, self.distortion) @ self.K[:2, :2].T + self.K[:2, 2]
        return uv, depth
