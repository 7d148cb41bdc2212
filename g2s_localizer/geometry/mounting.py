# SPDX-License-Identifier: Apache-2.0
"""The camera's place on the vehicle, and checks that it is possible."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from g2s_localizer.geometry.camera import Camera

FloatArray = NDArray[np.float64]

OPTICAL_FROM_BODY = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
"""x forward, y left, z up -> x right, y down, z forward (REP-103)."""

ENU_FROM = {
    "enu": np.eye(3),
    "ned": np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]]),
}
"""Rotations (3, 3) from the axes of the world that an IMU may use to east, north, up."""

MIN_HEIGHT_M, MAX_HEIGHT_M = 0.2, 10.0
"""Heights of a camera above the ground that a road vehicle can have."""

MAX_DISTANCE_M = 30.0
"""Horizontal distance from base_link that a road vehicle has room for."""

_MAX_UP, _MAX_DOWN, _MAX_ROLL = (math.radians(angle) for angle in (45.0, 60.0, 45.0))
_IN_VIEW_M = 50.0
_MIN_SHARE = 0.05


def matrix_from_rpy(roll: float, pitch: float, yaw: float) -> FloatArray:
    """Return the rotation (3, 3) by roll, pitch, yaw (rad) about the fixed x, y, z."""
    (cr, cp, cy), (sr, sp, sy) = np.cos([roll, pitch, yaw]), np.sin([roll, pitch, yaw])
    about_x = np.array([[1.0, 0.0, 0.0], [0.0, cr, -sr], [0.0, sr, cr]])
    about_y = np.array([[cp, 0.0, sp], [0.0, 1.0, 0.0], [-sp, 0.0, cp]])
    about_z = np.array([[cy, -sy, 0.0], [sy, cy, 0.0], [0.0, 0.0, 1.0]])
    R: FloatArray = about_z @ about_y @ about_x
    return R


def extrinsic_from_parameters(
    translation: Sequence[float], rpy: Sequence[float], base_link_height: float = 0.0
) -> FloatArray:
    """Return T_base_camera (4, 4) of a camera whose body axes (x forward) are turned by rpy (rad).

    Roll, pitch and yaw about base_link's fixed x, y, z: (0, 0, 0) looks straight ahead, a
    positive pitch looks down, a positive yaw looks left. translation in m, as is the height of
    base_link above the ground.
    """
    T = np.eye(4)
    T[:3, :3] = matrix_from_rpy(*rpy) @ OPTICAL_FROM_BODY.T
    T[:3, 3] = translation
    T[2, 3] += base_link_height
    return T


def check_mounting(T_base_camera: FloatArray) -> None:
    """Refuse an extrinsic (4, 4) that no camera which sees the road ahead of a vehicle has.

    Raises ValueError with the number that is beyond reason and its likely cause.
    """
    x, y, height = T_base_camera[:3, 3].tolist()
    if not MIN_HEIGHT_M < height < MAX_HEIGHT_M:
        cause = "is the height of base_link above the ground right?"
        if abs(height) >= MAX_HEIGHT_M:
            cause = "are its lengths in metres, not in millimetres?"
        raise ValueError(
            f"camera is {height:.4g} m above the ground, not between {MIN_HEIGHT_M:g} and "
            f"{MAX_HEIGHT_M:g} m: {cause}"
        )
    if math.hypot(x, y) > MAX_DISTANCE_M:
        raise ValueError(
            f"camera is ({x:.4g}, {y:.4g}) m from base_link, more than {MAX_DISTANCE_M:g} m: are "
            "its lengths in metres, not in millimetres?"
        )
    right, down, ahead = T_base_camera[2, :3].tolist()
    pitch = -math.asin(max(-1.0, min(1.0, ahead)))
    if not -_MAX_UP <= pitch <= _MAX_DOWN:
        raise ValueError(
            f"camera looks {'up' if pitch < 0 else 'down'} by {math.degrees(abs(pitch)):.0f} "
            "degrees: are its axes those of its body (x forward), where the optical frame (x "
            "right, y down, z forward) is meant, and its angles in radians?"
        )
    roll = math.atan2(-right, -down)
    if abs(roll) > _MAX_ROLL:
        cause = "are its angles those of the optical frame, where the body's (x forward) are meant?"
        if abs(roll) > math.pi - _MAX_ROLL:
            cause = "its pictures would be upside down; a camera mounted so must turn them itself"
        raise ValueError(f"camera is rolled by {math.degrees(roll):.0f} degrees: {cause}")


def check_view(camera: Camera) -> None:
    """Refuse a camera that does not see the ground around the vehicle, as its intrinsics tell.

    Raises ValueError with the share of the image that does, and the angles.
    """
    share = ground_share(camera)
    if share < _MIN_SHARE:
        fov = 2.0 * math.degrees(math.atan2(camera.height / 2.0, camera.K[1, 1]))
        pitch = -math.degrees(math.asin(np.clip(camera.T_base_camera[2, 2], -1.0, 1.0)))
        raise ValueError(
            f"no ground in view: {share:.0%} of the image looks at the ground within "
            f"{_IN_VIEW_M:g} m (camera pitched down by {pitch:.0f} degrees, "
            f"{fov:.0f} degrees high, {camera.ground_height:.2f} m above the ground): are its "
            "angles and K right?"
        )


def ground_share(camera: Camera) -> float:
    """Return the share of the undistorted image that looks at the ground within 50 m."""
    cells = (np.arange(32) + 0.5) / 32
    u, v = np.meshgrid(cells * camera.width - 0.5, cells * camera.height - 0.5)
    uv1 = np.stack([u.ravel(), v.ravel(), np.ones(u.size)], axis=1)
    rays = uv1 @ np.linalg.inv(camera.K).T @ camera.T_base_camera[:3, :3].T
    flat = np.hypot(rays[:, 0], rays[:, 1])
    # A ray falls by -z while it goes `flat` ahead.
    sees = -rays[:, 2] * _IN_VIEW_M > camera.ground_height * flat
    return float(sees.mean())
