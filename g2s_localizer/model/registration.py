# SPDX-License-Identifier: Apache-2.0
"""From one ground image and one satellite crop to a registration: the path of every preset."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from g2s_localizer.model.config import ModelConfig
from g2s_localizer.model.correlation import correlate
from g2s_localizer.model.score_map import Mode, Region, ScoreMap

MODE_RADIUS_M = 4.0
"""Radius of the window that makes up one peak of the score map (m)."""

UNCALIBRATED: dict[str, float | list[float]] = {
    "correlation_floor": -1.0,
    "evidence_weights": [0.0, 0.0, 0.0, 20.0],
}
"""Buffers of a network that nobody asked which images belong to its crops: all of them do."""


@dataclass(frozen=True)
class Registration:
    """What the network says of one pair, in the axes of the crop (map, for a north-up one)."""

    x: float
    y: float
    """position of the vehicle from the crop's centre (m)"""
    yaw: float
    """heading of the vehicle (rad)"""
    within: NDArray[np.float64]
    """(3, 3) covariance of x, y, yaw if the vehicle stands at the first of the modes"""
    beyond: NDArray[np.float64]
    """(3, 3) what all other places add to it"""
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

    @property
    def covariance(self) -> NDArray[np.float64]:
        """(3, 3) of x, y, yaw."""
        return self.within + self.beyond

    @property
    def peak_ratio(self) -> float:
        """Probability of the second peak over that of the first: 1 for two equal ones."""
        return self.modes[1].mass / self.modes[0].mass if len(self.modes) > 1 else 0.0


class Placed(NamedTuple):
    """A pose in the axes of the crop, and how far the vehicle may be from it."""

    pose: Tensor
    """(3,) x, y (m), yaw (rad)"""
    within: Tensor
    """(3, 3) covariance if the vehicle stands at this peak"""
    beyond: Tensor
    """(3, 3) second moment about the pose of the probability that it stands elsewhere. By the law
    of total covariance the two add up, but for a share of `within` that is not worth the sum."""


class CameraInput(NamedTuple):
    """The camera of B prepared ground images, as tensors."""

    K: Tensor | None
    """(B, 3, 3) intrinsics in pixels of the prepared image; None: it is a panorama, one full turn
    wide, whose middle column looks along the optical axis"""
    T_base_camera: Tensor
    """(B, 4, 4) optical frame to base_link, whose z = 0 is the ground"""


class RegistrationNet(nn.Module):
    """Base of the networks: rotation first, then translation at the heading found, unless a
    network searches both together (`search`).

    A preset's network gives the four parts: `encode_satellite`, `encode_ground`,
    `residual_yaw`, `overhead`.

    Buffers that calibration sets after training: `temperature` of the score map,
    `covariance_scale` of position and yaw at the peak, `correlation_floor`, the least correlation
    at the peak of an image that belongs to the crop (-1: not calibrated), and `evidence_weights`
    of `evidence_features`.
    """

    temperature: Tensor
    covariance_scale: Tensor
    correlation_floor: Tensor
    evidence_weights: Tensor
    any_heading = False
    """Whether `search` takes a yaw_range wider than the configured one."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.precision = torch.float32
        """Type the extractors compute in; geometry and correlation are always float32."""
        self.register_buffer("temperature", torch.tensor(50.0))
        self.register_buffer("covariance_scale", torch.ones(2))
        for name, value in UNCALIBRATED.items():
            self.register_buffer(name, torch.tensor(value))

    def encode_satellite(self, image: Tensor) -> Any:
        """Satellite crops (B, 3, S, S) uint8 -> all that registration needs of them; its `fine`
        is the SatelliteSpectrum of translation, its `nbytes` the size of it all.
        """
        raise TypeError(f"{type(self).__name__} has no encode_satellite")

    def encode_ground(self, image: Tensor, camera: CameraInput | None = None) -> Any:
        """Prepared ground images (B, 3, h, w) uint8 -> their features. Given the camera, what
        cannot show the ground within reach may be left out.
        """
        raise TypeError(f"{type(self).__name__} has no encode_ground")

    def residual_yaw(
        self,
        ground: Any,
        camera: CameraInput,
        yaw: Tensor,
        satellite: Any,
        gsd: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """What the heading `yaw` (B,) of the prior lacks (rad), and its variance (rad^2)."""
        raise TypeError(f"{type(self).__name__} has no residual_yaw")

    def overhead(
        self, ground: Any, camera: CameraInput, yaw: Tensor, gsd: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Overhead view (B, C, k, k) and its weight (B, 1, k, k) at headings `yaw` (B,) from the
        crop's u axis. gsd (B,): metres per pixel of the crops; None: the configured one.
        """
        raise TypeError(f"{type(self).__name__} has no overhead")

    def central(self, scores: Tensor) -> Tensor:
        """The middle score_cells x score_cells of scores (..., n, n)."""
        n, kept = scores.shape[-1], self.config.score_cells
        first = (n - kept) // 2
        return scores[..., first : first + kept, first : first + kept]

    def search(
        self,
        ground: Any,
        camera: CameraInput,
        yaw: Tensor,
        satellite: Any,
        gsd: Tensor | None = None,
        yaw_range: float | None = None,
    ) -> tuple[Tensor, Any]:
        """Scores (B, n, n) of the positions, and what `place` needs beside them, here the heading
        (B,) in rad and its variance (B,) in rad^2, from the heading `yaw` (B,) of the prior:
        rotation first, then translation. Raises ValueError for a yaw_range where there is no
        `any_heading`.
        """
        if yaw_range is not None:
            raise ValueError(
                f"the preset {self.config.preset} looks for the heading within "
                f"{self.config.yaw_range_deg:g} degrees of the prior's, no further"
            )
        residual, variance = self.residual_yaw(ground, camera, yaw, satellite, gsd)
        view, weight = self.overhead(ground, camera, yaw + residual, gsd)
        scores = self.central(correlate(view, weight, satellite.fine))
        return scores, (yaw + residual, variance)

    @torch.inference_mode()
    def register(
        self,
        ground: Tensor,
        K: Tensor | None,
        T_base_camera: Tensor,
        yaw: float,
        satellite: Any,
        gsd: float | None = None,
        yaw_range: float | None = None,
        region: Region | None = None,
    ) -> Registration:
        """One pair: prepared ground image (1, 3, h, w) uint8 with its K (1, 3, 3) and
        T_base_camera (1, 4, 4), heading `yaw` (rad) of the prior, features of one crop of `gsd`
        metres per pixel; None: the configured one. yaw_range: how far from the prior's the
        heading may lie (rad), None: as configured; pi for a heading that nobody knows. region:
        where the covariance looks for other places that the vehicle may stand at; the place
        itself is looked for everywhere. Raises FloatingPointError for scores that are not finite.
        """
        camera = CameraInput(K, T_base_camera)
        features = self.encode_ground(ground, camera)
        return self.locate(features, camera, yaw, satellite, gsd, yaw_range, region)

    @torch.inference_mode()
    def locate(
        self,
        ground: Any,
        camera: CameraInput,
        yaw: float,
        satellite: Any,
        gsd: float | None = None,
        yaw_range: float | None = None,
        region: Region | None = None,
    ) -> Registration:
        """As `register`, from the features that `encode_ground` has of one ground image."""
        prior_yaw = torch.full((1,), yaw, device=camera.T_base_camera.device)
        gsds = None if gsd is None else torch.full_like(prior_yaw, gsd)
        score, found = self.search(ground, camera, prior_yaw, satellite, gsds, yaw_range)
        if not torch.isfinite(score).all():
            raise FloatingPointError(
                f"scores of the network are not finite in {self.precision}: its weights are "
                "damaged, or the precision is too narrow for them"
            )
        cell_m = self.config.cell_m if gsd is None else gsd * self.config.stride
        score_map = ScoreMap.from_scores(score[0], self.temperature, cell_m)
        modes = score_map.modes(2, MODE_RADIUS_M)
        placed = self.place(ground, satellite, score_map, modes[0], found, region)
        scale = self.covariance_scale[[0, 0, 1]].double().sqrt()
        x, y, yaw = placed.pose.tolist()
        within = (placed.within.double() * scale * scale[:, None]).cpu().numpy()
        correlation = score[0][modes[0].cell].item()
        features = evidence_features(correlation, within)
        return Registration(
            x=x,
            y=y,
            yaw=yaw,
            within=within,
            beyond=placed.beyond.double().cpu().numpy(),
            score_map=score_map,
            modes=modes,
            correlation=correlation,
            evidence=float(self.evidence_weights.double().cpu().numpy() @ features),
        )

    def place(
        self,
        ground: Any,
        satellite: Any,
        score_map: ScoreMap,
        mode: Mode,
        found: Any,
        region: Region | None = None,
    ) -> Placed:
        """The pose at one of the modes of the score map, with what else `search` returned."""
        heading, variance = found
        beyond = score_map.beyond(mode.xy, MODE_RADIUS_M, region)
        return Placed(
            torch.cat([mode.xy, heading]),
            torch.block_diag(mode.covariance, variance.view(1, 1)),
            torch.block_diag(beyond, beyond.new_zeros(1, 1)),
        )

    def compile_extractors(self) -> None:
        """Compile the convolutional parts in place: on a GPU their kernels are then recorded once
        and replayed as one CUDA graph; the first image of each size pays for it.
        """
        on_gpu = self.temperature.device.type == "cuda"
        for name, part in self.named_children():
            if name.endswith("extractor"):
                part.compile(mode="reduce-overhead" if on_gpu else "default")

    def reduced(self, device: torch.device) -> torch.autocast:
        """The context in which extractors compute in `precision`."""
        lower = self.precision != torch.float32
        kind = self.precision if lower else torch.bfloat16
        return torch.autocast(device.type, kind, enabled=lower)


def evidence_features(correlation: float, within: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (4,) what evidence is linear in: the correlation at the peak, the logarithms of the
    standard deviations of position (m, geometric mean of the axes) and yaw (rad) within it, and 1.
    """
    position = 0.25 * math.log(max(float(np.linalg.det(within[:2, :2])), 1e-12))
    yaw = 0.5 * math.log(max(float(within[2, 2]), 1e-12))
    return np.array([correlation, position, yaw, 1.0])
