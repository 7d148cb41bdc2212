# SPDX-License-Identifier: Apache-2.0
"""LiftNet: as G2SNet, but the overhead view is lifted column by column, and heading and position
are searched together, at the resolution of the features.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from g2s_localizer.model.calibrated import CalibratedNet
from g2s_localizer.model.correlation import SatelliteSpectrum, correlate, satellite_spectrum
from g2s_localizer.model.lift.config import EFFICIENTNET, LiftNetConfig
from g2s_localizer.model.lift.efficientnet import EfficientUNet
from g2s_localizer.model.lift.lift import (
    ColumnLift,
    LiftedColumns,
    columns_to_overhead,
    overhead_views,
)
from g2s_localizer.model.lift.refine import PoseRefiner, moved
from g2s_localizer.model.preprocess import standardise
from g2s_localizer.model.registration import CameraInput, Registration
from g2s_localizer.model.unet import CompactUNet, feature_intrinsics

_NEAR_STEPS = 2
"""Steps of the heading around the best one that are averaged."""
_CHANNELS = 32
_REFINEMENTS = 2

Extractor = CompactUNet | EfficientUNet


@dataclass(frozen=True)
class LiftSatellite:
    """Everything of B satellite crops that registration needs."""

    features: Tensor
    """(B, C, A, A)"""
    fine: SatelliteSpectrum

    @property
    def nbytes(self) -> int:
        return self.features.nbytes + self.fine.nbytes


class LiftNet(CalibratedNet):
    """The network of the preset `lift`: two extractors, the lift, correlation.

    The temperature of the volume of scores is learned.
    """

    config: LiftNetConfig
    residuals: Tensor
    any_heading = True

    def __init__(self, config: LiftNetConfig) -> None:
        super().__init__(config)
        self.ground_extractor = _extractor(config, _CHANNELS)
        self.satellite_extractor = _extractor(config, config.features)
        self.lift = ColumnLift(
            _CHANNELS + 1, _CHANNELS, config.features, config.reach_m, config.cell_m
        )
        self.refine = PoseRefiner(config.features, config.reach_m, config.cell_m, _CHANNELS)
        residuals = self._residuals(math.radians(config.yaw_range_deg))
        self.register_buffer("residuals", residuals, persistent=False)
        self.log_temperature = nn.Parameter(torch.tensor(math.log(30.0)))

    def encode_satellite(self, image: Tensor) -> LiftSatellite:
        """Encode satellite crops (B, 3, S, S) uint8, north-up, S = crop_m / gsd."""
        features, _ = self._extract(self.satellite_extractor, image)
        return LiftSatellite(features, satellite_spectrum(features))

    def encode_ground(self, image: Tensor, camera: CameraInput | None = None) -> LiftedColumns:
        """Encode prepared ground images (B, 3, h, w) uint8. The lift needs the camera; raises
        ValueError without one, and for a panorama.
        """
        if camera is None or camera.K is None:
            raise ValueError("the preset lift takes pinhole images with their camera")
        features = torch.cat(self._extract(self.ground_extractor, image), dim=1)
        K = feature_intrinsics(camera.K)
        with self.reduced(image.device):
            columns = torch.cat(self.lift(features, K, camera.T_base_camera), dim=1).float()
        return LiftedColumns(columns, self.lift.step_m, K, camera.T_base_camera)

    def volume(self, ground: LiftedColumns, yaws: Tensor, satellite: SatelliteSpectrum) -> Tensor:
        """Return scores (B, R, n, n) at headings `yaws` (B, R), all positions of each."""
        size = self.config.overhead_cells, self.config.cell_m
        each: Iterable[tuple[Tensor, Tensor]]
        if len(yaws) == 1:
            views, masks = overhead_views(ground, yaws[0], *size)
            each = zip(views.split(1), masks.split(1), strict=True)
        else:
            each = (columns_to_overhead(ground, yaw, *size) for yaw in yaws.unbind(dim=1))
        # one heading after the other: all at once would not stay in the processor's cache
        scores = [correlate(view[:, :-1], view[:, -1:] * mask, satellite) for view, mask in each]
        return torch.stack(scores, dim=1)

    @torch.inference_mode()
    def register(
        self,
        ground: Tensor | LiftedColumns,
        K: Tensor | None,
        T_base_camera: Tensor,
        yaw: float,
        satellite: LiftSatellite,
        gsd: float | None = None,
        yaw_range: float | None = None,
    ) -> Registration:
        """Register one pair, step by step; input and output are those of `RegistrationNet`."""
        # 1. Features of the image, lifted column by column onto the ground before the camera.
        if isinstance(ground, Tensor):
            ground = self.encode_ground(ground, CameraInput(K, T_base_camera))

        # 2. The overhead view at every heading, correlated with every place of the crop.
        residuals = self.residuals
        if yaw_range is not None:
            residuals = self._residuals(min(yaw_range, math.pi)).to(residuals.device)
        headings = yaw + residuals
        scores = self.volume(ground, headings[None], satellite.fine)[0]

        # 3. The score of a place is that of its best heading; the vehicle is at the first peak.
        best = scores.amax(dim=0)
        score_map, modes = self.peaks(best, gsd)
        row, column = modes[0].cell

        # 4. Its heading: the mean of those around the best one there.
        at_peak = torch.softmax(scores[:, row, column] * self.log_temperature.exp(), 0)
        first = int(at_peak.argmax())
        near = slice(max(first - _NEAR_STEPS, 0), first + _NEAR_STEPS + 1)
        heading = (at_peak[near] * headings[near]).sum() / at_peak[near].sum()

        # 5. The pose, refined between cells and headings, and its covariance if the peak is right.
        guess = torch.cat([modes[0].xy, heading.view(1)])
        pose, within = self.refined(ground, satellite.features, guess)

        # 6. What the volume says of all other places goes along: `Registration.beyond`.
        probability = torch.softmax((scores * self.temperature).flatten(), 0).view_as(scores)
        correlation = best[row, column].item()
        return self.registration(pose, within, correlation, score_map, modes, probability, headings)

    def refined(
        self, ground: LiftedColumns, satellite: Tensor, guess: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return pose (3,) and covariance (3, 3), in the axes of the crop, from a guess (3,) and
        satellite features (1, C, A, A).
        """
        pose = guess[None]
        for _ in range(_REFINEMENTS):
            residual = self.refine(ground, satellite, pose)
            axes = pose[0, 2]
            pose = moved(pose, residual.mean)
        # the residual is in the axes of the vehicle as it was guessed
        c, s = torch.cos(axes), torch.sin(axes)
        turn = torch.eye(3, device=axes.device)
        turn[:2, :2] = torch.stack([torch.stack([c, -s]), torch.stack([s, c])])
        return pose[0], turn @ residual.covariance[0] @ turn.T

    def _residuals(self, yaw_range: float) -> Tensor:
        """Return headings, from the prior's, that are tried for a range in rad."""
        step = math.radians(self.config.yaw_step_deg)
        steps = math.ceil(yaw_range / step - 1e-6)
        return torch.arange(-steps, steps + 1) * step

    def _extract(self, extractor: Extractor, image: Tensor) -> tuple[Tensor, Tensor]:
        with self.reduced(image.device):
            features: tuple[Tensor, Tensor] = extractor(standardise(image))
        return features


def _extractor(config: LiftNetConfig, features: int) -> Extractor:
    if config.extractor == EFFICIENTNET:
        return EfficientUNet(features)
    return CompactUNet(config.width, config.levels, features)
