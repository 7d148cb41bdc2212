# SPDX-License-Identifier: Apache-2.0
"""Planar poses: the group SE(2) and how covariances of (x, y, yaw) travel through it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


def wrap_angle(angle: float) -> float:
    """Return the same angle (rad) in (-pi, pi]."""
    wrapped = math.remainder(angle, 2.0 * math.pi)
    return math.pi if wrapped == -math.pi else wrapped


def rotation(yaw: float) -> FloatArray:
    """Return 2x2 matrix that turns a vector counter-clockwise by `yaw` (rad)."""
    c, s = math.cos(yaw), math.sin(yaw)
    return np.array([[c, -s], [s, c]])


@dataclass(frozen=True)
class Pose2D:
    """T_a_b in the plane: origin (x, y) in metres and yaw (rad, counter-clockwise) of b in a.

    Raises ValueError when a component is not finite. yaw is kept in (-pi, pi].
    """

    x: float
    y: float
    yaw: float

    def __post_init__(self) -> None:
        for name in ("x", "y", "yaw"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"Pose2D.{name} must be finite, got {getattr(self, name)}")
        object.__setattr__(self, "x", float(self.x))
        object.__setattr__(self, "y", float(self.y))
        object.__setattr__(self, "yaw", wrap_angle(float(self.yaw)))

    def compose(self, other: Pose2D) -> Pose2D:
        """Return T_a_c = T_a_b @ T_b_c."""
        x, y = rotation(self.yaw) @ (other.x, other.y)
        return Pose2D(self.x + x, self.y + y, self.yaw + other.yaw)

    def __matmul__(self, other: Pose2D) -> Pose2D:
        return self.compose(other)

    def inverse(self) -> Pose2D:
        """Return T_b_a."""
        x, y = rotation(-self.yaw) @ (-self.x, -self.y)
        return Pose2D(x, y, -self.yaw)

    def between(self, other: Pose2D) -> Pose2D:
        """Return `other` as seen from this pose: T_b_c from T_a_b (self) and T_a_c (other)."""
        return self.inverse() @ other

    def transform(self, xy: ArrayLike) -> FloatArray:
        """Transform points (N, 2) of frame b into frame a."""
        points = np.atleast_2d(np.asarray(xy, dtype=np.float64))
        moved: FloatArray = points @ rotation(self.yaw).T + (self.x, self.y)
        return moved


def rotate_covariance(covariance: ArrayLike, yaw: float) -> FloatArray:
    """Return covariance (3, 3) of (x, y, yaw) after turning its axes by `yaw` (rad): R C R^T.

    With yaw = vehicle heading, takes a covariance in (longitudinal, lateral, yaw) to map axes.
    """
    R = np.eye(3)
    R[:2, :2] = rotation(yaw)
    turned: FloatArray = R @ np.asarray(covariance, dtype=np.float64) @ R.T
    return turned


def move_covariance(covariance: ArrayLike, yaw: float, lever_xy: ArrayLike) -> FloatArray:
    """Return covariance (3, 3) of the pose of b in map from that of a point fixed in b.

    The point stands at `lever_xy` (m, axes of b) and was measured as (x, y, yaw) with
    `covariance` in map axes; b's origin is point - R(yaw) lever, so
    C' = J C J^T with J = d(origin, yaw) / d(point, yaw).
    """
    lever_x, lever_y = np.asarray(lever_xy, dtype=np.float64)
    c, s = math.cos(yaw), math.sin(yaw)
    J = np.eye(3)
    J[0, 2] = s * lever_x + c * lever_y
    J[1, 2] = -c * lever_x + s * lever_y
    moved: FloatArray = J @ np.asarray(covariance, dtype=np.float64) @ J.T
    return moved
