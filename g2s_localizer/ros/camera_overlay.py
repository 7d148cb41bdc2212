# SPDX-License-Identifier: Apache-2.0
"""The satellite crop laid onto the ground in the camera image, at the estimated pose.

Road markings of both coincide where the camera's mounting is right. A wrong height makes those of
the crop too large or too small around the point below the camera, a wrong pitch moves them up or
down, a wrong roll tilts them. A wrong x, y or yaw of the camera moves the estimated pose with it
and cannot be seen here: it is a difference between prior and pose that turns with the vehicle, in
the overlay from above.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from g2s_localizer.estimator.estimate import Estimate
from g2s_localizer.geometry import Camera, Panorama, Pose2D
from g2s_localizer.geometry.pose import rotation
from g2s_localizer.ros.drawing import ACCEPTED_COLOUR, REJECTED_COLOUR, write_text

FloatArray = NDArray[np.float64]
Picture = NDArray[np.uint8]

MAX_WIDTH = 960
"""Largest width of the picture (pixels): larger images are reduced."""

MAX_GROUND_M = 40.0
"""The crop is laid this far around base_link: beyond it a pixel spans too much ground."""

ARROW_AHEAD_M, ARROW_M = 12.0, 4.0
"""Middle and length of the arrow to the crop's north, on the ground ahead of the vehicle."""


def draw_camera_overlay(estimate: Estimate, image: Picture, camera: Camera | Panorama) -> Picture:
    """Return (H, W, 3) uint8 RGB: `image` of `camera` with the crop at half opacity on the ground.

    Shown too: the arrow to the crop's north, green where the pose was accepted, else red with the
    rejection's name, and the crop's attribution. Above the horizon nothing changes. Raises
    ValueError for an estimate without a pose or a crop.
    """
    prior, pose, crop = estimate.prior, estimate.pose, estimate.crop
    if prior is None or pose is None or crop is None:
        raise ValueError(f"an estimate without a pose cannot be laid on the ground: {estimate}")
    picture, drawn = _reduced(image, camera)
    T_map_crop = Pose2D(*prior.frame.to_xy(crop.centre), prior.frame.convergence(crop.centre))
    T_crop_base = T_map_crop.between(pose)
    rows, columns, ground = _ground_pixels(drawn)
    uv = crop.uv_from_xy(T_crop_base.transform(ground)).astype(np.float32)
    inside = ((uv >= 0) & (uv <= np.array(crop.image.shape[1::-1]) - 1)).all(axis=1)
    if inside.any():
        rows, columns = rows[inside], columns[inside]
        laid = _sampled(crop.image, uv[inside])
        mixed = (picture[rows, columns].astype(np.uint16) + laid) // 2
        picture[rows, columns] = mixed.astype(np.uint8)
    colour = ACCEPTED_COLOUR if estimate.accepted else REJECTED_COLOUR
    _draw_north(picture, drawn, T_crop_base, colour)
    if estimate.rejection is not None:
        write_text(picture, estimate.rejection.name, picture.shape[0] - 26, REJECTED_COLOUR)
    write_text(picture, crop.attribution, picture.shape[0] - 8, (255, 255, 255))
    return picture


def _reduced(image: Picture, camera: Camera | Panorama) -> tuple[Picture, Camera | Panorama]:
    """Return a copy of the image that is no wider than MAX_WIDTH, and its camera."""
    if camera.width <= MAX_WIDTH:
        return image.copy(), camera
    height = max(1, round(camera.height * MAX_WIDTH / camera.width))
    small = cv2.resize(image, (MAX_WIDTH, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8), _reduced_camera(camera, MAX_WIDTH, height)


# Kept by identity, so that what is kept by the reduced camera stays too.
@lru_cache(maxsize=2)
def _reduced_camera(camera: Camera | Panorama, width: int, height: int) -> Camera | Panorama:
    return camera.scaled(width, height)


@lru_cache(maxsize=2)
def _ground_pixels(
    camera: Camera | Panorama,
) -> tuple[NDArray[np.intp], NDArray[np.intp], FloatArray]:
    """Return rows (N,), columns (N,) of the pixels that look at the ground within MAX_GROUND_M, and
    where they do, (N, 2) in base_link (m).
    """
    rows, columns = np.indices((camera.height, camera.width)).reshape(2, -1)
    uv = np.stack([columns, rows], axis=1).astype(np.float64)
    rays = _rays(camera, uv) @ camera.T_base_camera[:3, :3].T
    with np.errstate(divide="ignore", invalid="ignore"):
        points = camera.T_base_camera[:3, 3] - rays * (camera.ground_height / rays[:, 2:])
    seen = (rays[:, 2] < 0) & (np.hypot(points[:, 0], points[:, 1]) <= MAX_GROUND_M)
    rows, columns, points, uv = rows[seen], columns[seen], points[seen], uv[seen]
    if camera.is_distorted:
        # Far from the axis a lens may have no inverse: what does not come back is left out.
        back, _ = camera.project(points)
        found = np.abs(back - uv).max(axis=1, initial=0.0) < 0.5
        rows, columns, points = rows[found], columns[found], points[found]
    return rows, columns, points[:, :2]


def _rays(camera: Camera | Panorama, uv: FloatArray) -> FloatArray:
    """Return the directions (N, 3) in the optical frame that pixels (N, 2) look in."""
    if isinstance(camera, Panorama):
        return camera.rays(uv)
    xy: NDArray[Any]
    if not camera.is_distorted:
        xy = (uv - camera.K[:2, 2]) @ np.linalg.inv(camera.K[:2, :2]).T
    elif camera.distortion_model == "equidistant":
        xy = cv2.fisheye.undistortPoints(uv[:, None], camera.K, camera.distortion)[:, 0]
    else:
        precise = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 40, 1e-6)
        xy = cv2.undistortPointsIter(
            uv[:, None], camera.K, camera.distortion, np.eye(3), np.eye(3), precise
        )[:, 0]
    return np.column_stack([xy, np.ones(len(xy))])


def _sampled(image: Picture, uv: NDArray[np.float32]) -> Picture:
    """Return the colours (N, 3) of the image at pixels (N, 2), interpolated."""
    # OpenCV's maps have fewer than 32768 rows and columns.
    side = 1024
    padded = np.zeros((-(-len(uv) // side) * side, 2), np.float32)
    padded[: len(uv)] = uv
    grid = padded.reshape(-1, side, 2)
    sampled = cv2.remap(
        image, grid[..., 0], grid[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(sampled, np.uint8).reshape(-1, 3)[: len(uv)]


def _draw_north(
    picture: Picture, camera: Camera | Panorama, T_crop_base: Pose2D, colour: tuple[int, int, int]
) -> None:
    north = rotation(-T_crop_base.yaw) @ (0.0, ARROW_M / 2.0)
    middle = np.array([ARROW_AHEAD_M, 0.0])
    on_ground = np.zeros((2, 3))
    on_ground[:, :2] = middle - north, middle + north
    uv, depth = camera.project(on_ground)
    if not (depth > 0).all():
        return
    start, end = np.rint(np.clip(uv, -1e4, 1e4)).astype(int).tolist()
    cv2.arrowedLine(picture, start, end, colour, 2, cv2.LINE_AA, tipLength=0.15)
    cv2.putText(
        picture, "N", (end[0] + 6, end[1] - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1,
        cv2.LINE_AA,
    )  # fmt: skip
