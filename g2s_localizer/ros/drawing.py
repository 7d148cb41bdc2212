# SPDX-License-Identifier: Apache-2.0
"""Pictures of an estimate: the score map, and the overlay on its satellite crop."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from g2s_localizer.estimator.estimate import Estimate, ScoreGrid
from g2s_localizer.geometry import Pose2D
from g2s_localizer.imagery.crop import SatelliteCrop

FloatArray = NDArray[np.float64]
Picture = NDArray[np.uint8]

PRIOR_COLOUR = (255, 210, 0)
ACCEPTED_COLOUR = (0, 230, 90)
REJECTED_COLOUR = (255, 60, 60)

OVERLAY_SIDE = 640
"""Smallest side of the overlay (pixels): smaller crops are enlarged by a whole factor."""

ARROW_M = 5.0
ELLIPSE_SIGMAS = 2.0


def draw_score_map(grid: ScoreGrid) -> Picture:
    """Draw (H, W) uint8, row 0 = north: probability over that of the best cell."""
    log_probability = grid.log_probability.astype(np.float64)
    best = np.max(log_probability, initial=-np.inf, where=np.isfinite(log_probability))
    ratio = np.exp(np.where(np.isfinite(log_probability), log_probability - best, -np.inf))
    return np.asarray(np.rint(255.0 * ratio), np.uint8)


def draw_overlay(estimate: Estimate, crop: SatelliteCrop) -> Picture:
    """Draw (H, W, 3) uint8 RGB: the crop with prior, pose, 2-sigma ellipses and attribution."""
    scale = max(1, -(-OVERLAY_SIDE // crop.image.shape[1]))
    enlarged = cv2.resize(crop.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    picture = np.asarray(enlarged, np.uint8)
    prior = estimate.prior
    if prior is not None:
        centre = np.array(prior.frame.to_xy(crop.centre))
        _draw_pose(picture, crop, scale, centre, prior.pose, prior.covariance, PRIOR_COLOUR)
        if estimate.pose is not None and estimate.covariance is not None:
            colour = ACCEPTED_COLOUR if estimate.accepted else REJECTED_COLOUR
            _draw_pose(picture, crop, scale, centre, estimate.pose, estimate.covariance, colour)
    if estimate.rejection is not None:
        write_text(picture, estimate.rejection.name, 18, REJECTED_COLOUR)
    write_text(picture, crop.attribution, picture.shape[0] - 8, (255, 255, 255))
    return picture


def _draw_pose(
    picture: Picture,
    crop: SatelliteCrop,
    scale: int,
    centre: FloatArray,
    pose: Pose2D,
    covariance: FloatArray,
    colour: tuple[int, int, int],
) -> None:
    angle = np.linspace(0.0, 2.0 * np.pi, 65)
    circle = ELLIPSE_SIGMAS * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    values, axes = np.linalg.eigh(covariance[:2, :2])
    ellipse = circle * np.sqrt(np.maximum(values, 0.0)) @ axes.T + (pose.x, pose.y)
    arrow = pose.transform([[0.0, 0.0], [ARROW_M, 0.0]])

    def pixels(xy: FloatArray) -> NDArray[np.int32]:
        uv = (crop.uv_from_xy(xy - centre) + 0.5) * scale - 0.5
        # Far outside the picture OpenCV's own clipping overflows.
        return np.rint(np.clip(uv, -1e4, 1e4)).astype(np.int32)

    cv2.polylines(picture, [pixels(ellipse)], True, colour, 2, cv2.LINE_AA)
    start, end = pixels(arrow).tolist()
    cv2.arrowedLine(picture, start, end, colour, 2, cv2.LINE_AA, tipLength=0.3)


def write_text(picture: Picture, text: str, row: int, colour: tuple[int, int, int]) -> None:
    """Write a line at the left of a picture, in place; `row` is that of its base line."""
    font = cv2.FONT_HERSHEY_SIMPLEX
    # OpenCV's fonts are ASCII: the copyright sign is the one that attributions need.
    ascii_text = text.replace("©", "(c)").encode("ascii", "replace").decode()
    for thickness, ink in ((3, (0, 0, 0)), (1, colour)):
        cv2.putText(picture, ascii_text, (8, row), font, 0.45, ink, thickness, cv2.LINE_AA)
