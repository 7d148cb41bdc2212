# SPDX-License-Identifier: Apache-2.0
"""Input and output of the localizer: NumPy only, no tensor leaves the estimator."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from g2s_localizer.geometry import Camera, LocalFrame, Panorama, Pose2D
from g2s_localizer.imagery.crop import SatelliteCrop

FloatArray = NDArray[np.float64]

UNKNOWN_VARIANCE = 1e6
"""Variance of what an estimate does not know: z (m^2), roll and pitch (rad^2), and the yaw of a
network that takes it from the prior."""


class Rejection(Enum):
    """Reasons for which no pose is published; the value is the sentence a user reads.

    The order is that of the constants in msg/Registration.msg, which count from 1.
    """

    NO_PRIOR = "there is no GNSS fix or no heading"
    STALE_PRIOR = "GNSS fix or heading is too far in time from the image"
    UNCERTAIN_PRIOR = "the prior is wider than the search window"
    NO_CAMERA = "there is no usable CameraInfo or camera extrinsic"
    NO_IMAGERY = "imagery is missing around the prior"
    FLAT_SCORE = "the score map is flat: nothing stands out"
    AMBIGUOUS = "the score map has two peaks of similar height"
    WIDE_ELLIPSE = "the error ellipse is too long"
    INNOVATION = "the pose disagrees with the prior"
    AT_BORDER = "the peak lies at the edge of the search window"
    BAD_IMAGE = "the image is black, saturated or without texture"
    NOT_HERE = "the image does not look like the imagery around the prior"
    WRONG_HEADING = "the heading contradicts the way that the vehicle drives"
    FROZEN_IMAGE = "the image does not change although the vehicle moves"


@dataclass(frozen=True, eq=False)
class Prior:
    """Pose of base_link in `frame` at `stamp_ns`, with covariance (3, 3) of (x, y, yaw).

    confirmed  False while nothing has shown yet that the heading points where the vehicle drives:
               the localizer then asks for more evidence
    """

    stamp_ns: int
    pose: Pose2D
    covariance: FloatArray
    frame: LocalFrame
    confirmed: bool = True


@dataclass(frozen=True, eq=False)
class Observation:
    """One ground image (H, W, 3) uint8 RGB with its camera, and the prior at its stamp."""

    stamp_ns: int
    image: NDArray[np.uint8]
    camera: Camera | Panorama
    prior: Prior

    def __post_init__(self) -> None:
        expected = (self.camera.height, self.camera.width, 3)
        if self.image.shape != expected or self.image.dtype != np.uint8:
            raise ValueError(
                f"Observation.image must be uint8 of shape {expected} as its camera says, "
                f"got {self.image.dtype} {self.image.shape}"
            )


@dataclass(frozen=True, eq=False)
class ScoreGrid:
    """Log-probability (H, W) float32 that base_link stands in a cell of the crop.

    cell_m  side of a cell
    pose    middle of the grid in map, and yaw there of its columns' axis; row 0 is the edge to the
            left of that axis, north for a north-up crop
    """

    log_probability: NDArray[np.float32]
    cell_m: float
    pose: Pose2D


@dataclass(frozen=True, eq=False)
class Estimate:
    """Answer of the localizer to one observation: a pose, or a rejection, or both.

    pose, covariance   base_link in the prior's frame, (3, 3) of (x, y, yaw); kept also when the
                       gate refused them, so only `accepted` makes them fit to be used
    detail             the value seen and the limit it broke
    innovation         Mahalanobis distance between pose and prior in x, y and yaw
    entropy            of the score map over its maximum, 0..1
    peak_ratio         probability of the second mode over the first, 0..1
    correlation        of image and imagery at the place found, -1..1
    min_correlation    least correlation that the gate accepts
    presence           probability that this image and those before it belong to the imagery, 0..1
    latency_s          seconds of work; all seven NaN where not computed
    warnings           sentences of the watches on the set-up
    """

    stamp_ns: int
    prior: Prior | None = None
    pose: Pose2D | None = None
    covariance: FloatArray | None = None
    rejection: Rejection | None = None
    detail: str = ""
    score_grid: ScoreGrid | None = None
    crop: SatelliteCrop | None = None
    innovation: float = math.nan
    entropy: float = math.nan
    peak_ratio: float = math.nan
    correlation: float = math.nan
    min_correlation: float = math.nan
    presence: float = math.nan
    latency_s: float = math.nan
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.rejection is None and (self.pose is None or self.covariance is None):
            raise ValueError("an accepted Estimate needs a pose and a covariance")

    @property
    def accepted(self) -> bool:
        return self.rejection is None

    @property
    def reason(self) -> str:
        """Return the rejection in words with its detail; empty when accepted."""
        if self.rejection is None:
            return ""
        return f"{self.rejection.value} ({self.detail})" if self.detail else self.rejection.value
