# SPDX-License-Identifier: Apache-2.0
"""From images to the network's input: the one preprocessing of training, evaluation and node."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from g2s_localizer.geometry import Camera, Panorama

_SKY_MARGIN = 0.1
"""Share of the image's height kept above the horizon: what stands there is context."""


def ground_band(camera: Camera) -> tuple[int, int]:
    """Return first row and number of rows of the part of the image that can show the ground.

    From a little above the horizon (seen straight ahead of the vehicle) to the bottom row; at
    least the lower half, so that a tilted camera keeps an image.
    """
    far_ahead = camera.T_base_camera[:3, 3] + np.array([1e6, 0.0, 0.0])
    uv, depth = camera.undistorted().project(far_ahead)
    horizon = uv[0, 1] if depth[0] > 0 else 0.0
    top = int(np.clip(round(horizon - _SKY_MARGIN * camera.height), 0, camera.height // 2))
    return top, camera.height - top


def wrong_camera(camera: Camera | Panorama, panorama: bool) -> str:
    """Return why a network that takes panoramas, or pinhole images, cannot take those of a camera;
    "" where it can.
    """
    kinds = "pinhole images", "panoramas"
    given = camera.K is None
    return (
        ""
        if given == panorama
        else f"the camera's are {kinds[given]}, the network takes {kinds[panorama]}"
    )


def prepare_ground(
    image: NDArray[np.uint8],
    camera: Camera | Panorama,
    size: tuple[int, int],
    whole: bool = False,
) -> tuple[torch.Tensor, Camera | Panorama]:
    """Prepare a ground image (H, W, 3) RGB uint8: tensor (3, h, w) uint8 and its camera, without
    distortion.

    Undistorted, cropped to `ground_band` unless it is wanted `whole` or is a panorama, resized to
    `size` = (h, w).
    Raises ValueError when the image is not of the camera's size or not 8-bit RGB.
    """
    if image.shape != (camera.height, camera.width, 3) or image.dtype != np.uint8:
        raise ValueError(
            f"ground image must be uint8 ({camera.height}, {camera.width}, 3) as its camera says, "
            f"got {image.dtype} {image.shape}"
        )
    if isinstance(camera, Camera):
        top, rows = (0, camera.height) if whole else ground_band(camera)
        if camera.is_distorted:
            maps = undistortion_maps(camera, top, rows)
            image = np.asarray(cv2.remap(image, *maps, cv2.INTER_LINEAR), np.uint8)
        else:
            image = image[top : top + rows]
        camera = camera.undistorted().cropped(0, top, camera.width, rows)
    height, width = size
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return prepare_satellite(np.asarray(resized, np.uint8)), camera.scaled(width, height)


# Some 10 MB for a camera of 1080 rows: one on a vehicle, several where bags are trained on.
@lru_cache(maxsize=4)
def undistortion_maps(
    camera: Camera, top: int, rows: int
) -> tuple[NDArray[np.int16], NDArray[np.uint16]]:
    """Return where the rows from `top` on of the undistorted image lie in the distorted one.

    (rows, W, 2) whole pixels and (rows, W) parts of them, as OpenCV's remap takes them. They are
    kept for the last cameras, by identity.
    """
    K = camera.cropped(0, top, camera.width, rows).K
    lens = cv2.fisheye if camera.distortion_model == "equidistant" else cv2
    whole, parts = lens.initUndistortRectifyMap(
        camera.K, camera.distortion, np.eye(3), K, (camera.width, rows), cv2.CV_16SC2
    )
    return np.asarray(whole, np.int16), np.asarray(parts, np.uint16)


def prepare_satellite(image: NDArray[np.uint8]) -> torch.Tensor:
    """Convert image (H, W, 3) RGB uint8 of a satellite crop to tensor (3, H, W) uint8."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def standardise(image: torch.Tensor) -> torch.Tensor:
    """Standardise images (B, 3, H, W) uint8: float, each of zero mean and unit deviation.

    Takes exposure, season and colour cast out of both views; a flat image becomes zeros.
    """
    value = image.float()
    value = value - value.mean(dim=(1, 2, 3), keepdim=True)
    # Tensor.std takes ten times as long
    variance = value.square().sum(dim=(1, 2, 3), keepdim=True) / (value[0].numel() - 1)
    return value / variance.sqrt().clamp_min(1.0)
