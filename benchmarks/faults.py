# SPDX-License-Identifier: Apache-2.0
"""Wrong set-ups and wrong messages, as data: what each does, and what may come of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import cv2
import numpy as np

from benchmarks.simulated_drive import Drive, aside, elsewhere, turned
from g2s_localizer.geometry.geodesy import LatLon, LocalFrame
from g2s_localizer.imagery import Imagery
from g2s_localizer.ros.bridge import BridgeConfig

Config = Callable[[BridgeConfig], BridgeConfig]
Messages = Callable[[Any, Any, int], None]
Pixels = Callable[[np.ndarray, Drive, int], np.ndarray]


@dataclass(frozen=True)
class Fault:
    """Describe what is done to one drive, and what may come of it.

    names     what the commonest verdict may be: "published", "refused" by the set-up, a rejection
    config    to the set-up
    yaw       to the heading that the IMU tells (rad)
    pixels    to the picture of a number
    messages  to its Image and CameraInfo, in place
    fix       to the place that the receiver tells, at a share of the drive, for a number
    imagery   to the imagery
    other     whether it needs another drive
    wrong     share of the images that may be published more than 3 m wrong
    """

    names: tuple[str, ...]
    config: Config = lambda config: config
    yaw: Callable[[float], float] = lambda yaw: yaw
    pixels: Pixels = lambda pixels, drive, number: pixels
    messages: Messages = lambda image, info, number: None
    fix: Callable[[LatLon, float, int], LatLon] = lambda place, share, number: place
    imagery: Callable[[Drive], Imagery] = lambda drive: drive.imagery
    other: bool = False
    wrong: float = 0.01


def _compass(degrees: float) -> Config:
    return lambda config: replace(config, heading_offset=math.radians(degrees))


def _mounted(*rpy: float) -> Config:
    return lambda config: replace(config, camera_rpy=rpy)


def _tilted(pitch: float = 0.0, yaw: float = 0.0) -> Config:
    """Return the camera told otherwise than it is by these degrees."""
    more = np.radians([0.0, pitch, yaw])
    return lambda config: replace(config, camera_rpy=tuple(more + config.camera_rpy))


def _raised(metres: float) -> Config:
    return lambda config: replace(
        config, camera_translation=(*config.camera_translation[:2], metres)
    )


def _millimetres(config: BridgeConfig) -> BridgeConfig:
    return replace(config, camera_translation=tuple(1e3 * m for m in config.camera_translation))


def _lens(image: Any, info: Any, number: int, focal: float = 1.0, cx: float = 0.0) -> None:
    """Tell a focal length times `focal` and a principal point `cx` pixels to the right."""
    K, P = np.array(info.k).reshape(3, 3), np.array(info.p).reshape(3, 4)
    for matrix in (K, P):
        matrix[[0, 1], [0, 1]] *= focal
        matrix[0, 2] += cx
    info.k, info.p = K.reshape(-1), P.reshape(-1)


def _clock(image: Any, info: Any, number: int, late_s: int) -> None:
    for message in (image, info):
        message.header.stamp.sec -= late_s


def _second_camera(image: Any, info: Any, number: int) -> None:
    if number % 2:
        image.header.frame_id = info.header.frame_id = "camera_rear"


def _noise(pixels: np.ndarray, drive: Drive, number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, pixels.shape, np.uint8)


def _night(pixels: np.ndarray, drive: Drive, number: int) -> np.ndarray:
    """Return the picture at a sixth of its light, darker the darker it is, and grainy."""
    grain = np.random.default_rng(number).normal(0.0, 6.0, pixels.shape)
    dark = 255.0 / 6.0 * (pixels / 255.0) ** 1.8
    return np.clip(dark + grain, 0, 255).astype(np.uint8)


def _half_covered(pixels: np.ndarray, drive: Drive, number: int) -> np.ndarray:
    covered = pixels.copy()
    covered[:, : pixels.shape[1] // 2] = 12
    return covered


def _moved(place: LatLon, metres: float) -> LatLon:
    """Return the place `metres` away, to the north-east."""
    return LocalFrame(place).to_latlon(metres * math.sqrt(0.5), metres * math.sqrt(0.5))


UNSURE = ("NOT_HERE", "FLAT_SCORE", "AMBIGUOUS", "WIDE_ELLIPSE", "INNOVATION", "AT_BORDER")
POOR = ("published", "BAD_IMAGE", *UNSURE)
HEADING = ("WRONG_HEADING",)
TURNED = ("WRONG_HEADING", "NOT_HERE", "INNOVATION", "AT_BORDER", "NO_CAMERA")
CAMERA = ("NO_CAMERA", "NOT_HERE", "refused")
NOT_HERE = ("NOT_HERE",)

FAULTS = {
    "none": Fault(("published",)),
    # The heading.
    "compass +180 degrees": Fault(HEADING, _compass(180)),
    "compass +90 degrees": Fault(HEADING, _compass(90)),
    "compass +25 degrees": Fault(HEADING, _compass(25)),
    "declination of 14 degrees left out": Fault(HEADING, _compass(14)),
    "no magnetometer (identity)": Fault(HEADING, yaw=lambda yaw: 0.0),
    "zero at north": Fault(HEADING, _compass(-90)),
    "NED": Fault(HEADING, yaw=lambda yaw: math.pi / 2 - yaw),
    # The camera told.
    "camera upside down": Fault(CAMERA, _mounted(math.pi, 0.0, 0.0)),
    "optical angles as mounting": Fault(CAMERA, _mounted(-math.pi / 2, 0.0, -math.pi / 2)),
    "millimetres for metres": Fault(CAMERA, _millimetres),
    "camera told at 3 m, is at 1.65 m": Fault(UNSURE, _raised(3.0)),
    "pitch told +5 degrees": Fault(UNSURE, _tilted(pitch=5.0)),
    "pitch told -5 degrees": Fault(UNSURE, _tilted(pitch=-5.0)),
    "camera told turned by 180 degrees": Fault(TURNED, _tilted(yaw=180.0)),
    "camera told turned by 10 degrees": Fault(TURNED, _tilted(yaw=10.0)),
    "focal length told x 1.5": Fault(UNSURE, messages=partial(_lens, focal=1.5)),
    "cx told + 150 px": Fault(TURNED, messages=partial(_lens, cx=150.0)),
    # The pictures.
    "frozen image": Fault(("FROZEN_IMAGE",), pixels=lambda pixels, drive, number: drive.image(0)),
    "noise": Fault(NOT_HERE, pixels=_noise),
    "mirrored": Fault(NOT_HERE, pixels=lambda pixels, drive, number: pixels[:, ::-1]),
    "picture upside down": Fault(NOT_HERE, pixels=lambda pixels, drive, number: pixels[::-1, ::-1]),
    "night": Fault(POOR, pixels=_night),
    "half covered": Fault(POOR, pixels=_half_covered),
    "blur 15 px": Fault(
        POOR, pixels=lambda pixels, drive, number: np.asarray(cv2.GaussianBlur(pixels, (0, 0), 15))
    ),
    # The fixes.
    "fix jumps 100 m at half of the drive": Fault(
        ("published", *UNSURE),
        fix=lambda place, share, number: _moved(place, 100.0 if share > 0.5 else 0.0),
    ),
    "spikes of 100 m, one fix in ten": Fault(
        ("published", *UNSURE),
        fix=lambda place, share, number: _moved(place, 0.0 if (number + 5) % 10 else 100.0),
    ),
    "first fix at 0, 0": Fault(
        ("published",), fix=lambda place, share, number: place if number else LatLon(0.0, 0.0)
    ),
    # The clocks and frames.
    "camera clock 5 s behind": Fault(
        ("NOT_HERE", "NO_PRIOR", "STALE_PRIOR"), messages=partial(_clock, late_s=5)
    ),
    "second camera on the topic": Fault(("NO_PRIOR", "dropped"), messages=_second_camera),
    # The imagery.
    "another town": Fault(
        NOT_HERE, pixels=lambda pixels, drive, number: _other(drive).image(number), other=True
    ),
    "imagery of another town": Fault(NOT_HERE, imagery=elsewhere, other=True),
    "imagery shifted by 30 m aside": Fault(UNSURE, imagery=aside(30.0)),
    "imagery turned by 180 degrees": Fault(TURNED, imagery=turned(math.pi)),
}


def _other(drive: Drive) -> Drive:
    assert drive.other is not None
    return drive.other
