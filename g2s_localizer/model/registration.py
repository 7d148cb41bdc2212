# SPDX-License-Identifier: Apache-2.0
"""Registration: what a network says of one pair, and what the localizer asks of a network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from g2s_localizer.model.config import ModelConfig
from g2s_localizer.model.score_map import Mode, ScoreMap

MODE_RADIUS_M = 4.0
"""Radius of the window that makes up one peak of the score map (m)."""

_PEAK_HEADINGS = math.radians(10.0)
"""Headings farther from that of the pose are another peak's."""


class CameraInput(NamedTuple):
    """The camera of B prepared ground images, as tensors."""

    K: Tensor | None
    """(B, 3, 3) intrinsics in pixels of the prepared image; None: it is a panorama, one full turn
    wide, whose middle column looks along the optical axis"""
    T_base_camera: Tensor
    """(B, 4, 4) optical frame to base_link, whose z = 0 is the ground"""


@dataclass(frozen=True)
class Registration:
    """Answer of the network to one pair, in the axes of the crop (map, for a north-up one)."""

    x: float
    y: float
    """position of the vehicle from the crop's centre (m)"""
    yaw: float
    """heading of the vehicle (rad)"""
    within: NDArray[np.float64]
    """(3, 3) covariance of x, y, yaw if the vehicle stands at the first of the modes; `beyond`
    says what all other places add to it"""
    score_map: ScoreMap
    modes: list[Mode]
    """the two highest peaks of the score map, or the one"""
    correlation: float
    """of the overhead view with the satellite features at the first of the modes, -1..1: absolute
    evidence, where the score map only compares the places of one crop with each other"""
    evidence: float
    """log-odds that the image belongs to the crop, were both equally likely beforehand: linear in
    the correlation and in the logarithms of the standard deviations `within` the peak, which a
    network that finds nothing alike makes large. Calibrated; 20 without calibration"""
    probability: Tensor
    """(R, n, n) of each heading with each place of the score map; they sum to 1"""
    headings: Tensor
    """(R,) rad"""

    def beyond(self, possible: Tensor | None = None) -> NDArray[np.float64]:
        """Return the second moment (3, 3) about the pose of the probability that the vehicle
        stands elsewhere, which adds to `within` by the law of total covariance.

        possible   (n, n), which places the vehicle may stand at: those share all probability;
                   None: all of them
        """
        probability, cells = self.probability, self.score_map.cell_xy()
        if possible is not None:
            kept = torch.where(possible, probability, 0.0)
            probability = kept / kept.sum().clamp_min(torch.finfo(kept.dtype).tiny)
        apart = cells - cells.new_tensor([self.x, self.y])
        yaw = cells.new_tensor(self.yaw)
        turn = torch.remainder(self.headings - yaw + math.pi, 2.0 * math.pi) - math.pi
        distant = apart.square().sum(dim=-1) > MODE_RADIUS_M**2
        weight = probability * (distant | (turn.abs() > _PEAK_HEADINGS)[:, None, None])
        moment = cells.new_empty(3, 3)
        moment[:2, :2] = torch.einsum("ij,ija,ijb->ab", weight.sum(dim=0), apart, apart)
        moment[2, :2] = moment[:2, 2] = torch.einsum("rij,ija,r->a", weight, apart, turn)
        moment[2, 2] = (weight.sum(dim=(1, 2)) * turn.square()).sum()
        return moment.double().cpu().numpy()

    @property
    def peak_ratio(self) -> float:
        """Return probability of the second peak over that of the first: 1 for two equal ones."""
        return self.modes[1].mass / self.modes[0].mass if len(self.modes) > 1 else 0.0


class RegistrationNet(Protocol):
    """The interface of a network to the localizer."""

    @property
    def config(self) -> ModelConfig:
        """Return the configuration that it was built from."""

    precision: torch.dtype
    """type the extractors compute in; geometry and correlation are always float32"""
    correlation_floor: Tensor
    """least correlation of an image that belongs to the crop; -1: not calibrated"""
    any_heading: bool
    """whether `register` takes a yaw_range wider than the configured one"""

    def eval(self) -> Any:
        """Compute as after training; return the network."""

    def to(self, device: torch.device) -> Any:
        """Move to the device; return the network."""

    def encode_satellite(self, image: Tensor) -> Any:
        """Encode satellite crops (B, 3, S, S) uint8, S = crop_m / gsd, into all that `register`
        needs of them; its `nbytes` is the size of it all.
        """

    def register(
        self,
        ground: Any,
        K: Tensor | None,
        T_base_camera: Tensor,
        yaw: float,
        satellite: Any,
        gsd: float | None = None,
        yaw_range: float | None = None,
    ) -> Registration:
        """Register one pair.

        ground         (1, 3, h, w) uint8, the prepared ground image; or what the network's
                       `encode_ground` made of it
        K              (1, 3, 3), T_base_camera (1, 4, 4): its camera, as `CameraInput`
        yaw            heading of the prior from the crop's u axis (rad)
        satellite      what `encode_satellite` made of one crop
        gsd            metres per pixel of the crop; None: the configured one
        yaw_range      how far from the prior's the heading may lie (rad), pi for one that nobody
                       knows; None: as configured

        Raises FloatingPointError for scores that are not finite, ValueError for a yaw_range
        where there is no `any_heading`.
        """
