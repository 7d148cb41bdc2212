# SPDX-License-Identifier: Apache-2.0
"""LiftNet: as G2SNet, but the overhead view is lifted column by column, and heading and position
are searched together, at the resolution of the features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from g2s_localizer.model.config import EFFICIENTNET, ModelConfig
from g2s_localizer.model.correlation import SatelliteSpectrum, correlate, satellite_spectrum
from g2s_localizer.model.lift.efficientnet import EfficientUNet
from g2s_localizer.model.lift.lift import (
    ColumnLift,
    LiftedColumns,
    columns_to_overhead,
    overhead_views,
)
from g2s_localizer.model.lift.refine import PoseRefiner, moved
from g2s_localizer.model.preprocess import standardise
from g2s_localizer.model.registration import (
    MODE_RADIUS_M,
    CameraInput,
    Placed,
    RegistrationNet,
)
from g2s_localizer.model.score_map import Mode, Region, ScoreMap
from g2s_localizer.model.unet import CompactUNet, feature_intrinsics

_NEAR_STEPS = 2
"""Steps of the heading around the best one that are averaged."""
_PEAK_HEADINGS = math.radians(10.0)
"""Headings farther from the refined one are another peak's."""
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


class Volume(NamedTuple):
    """What the search saw of one image."""

    scores: Tensor
    """(R, n, n)"""
    headings: Tensor
    """(R,) rad"""


class LiftNet(RegistrationNet):
    """The network of the preset `lift`: two extractors, the lift, correlation.

    The temperature of the volume of scores is learned.
    """

    residuals: Tensor
    any_heading = True

    def __init__(self, config: ModelConfig) -> None:
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
        """Satellite crops (B, 3, S, S) uint8, north-up, S = crop_m / gsd."""
        features, _ = self._extract(self.satellite_extractor, image)
        return LiftSatellite(features, satellite_spectrum(features))

    def encode_ground(self, image: Tensor, camera: CameraInput | None = None) -> LiftedColumns:
        """Prepared ground images (B, 3, h, w) uint8. The lift needs the camera; raises ValueError
        without one, and for a panorama.
        """
        if camera is None or camera.K is None:
            raise ValueError("the preset lift takes pinhole images with their camera")
        features = torch.cat(self._extract(self.ground_extractor, image), dim=1)
        K = feature_intrinsics(camera.K)
        with self.reduced(image.device):
            columns = torch.cat(self.lift(features, K, camera.T_base_camera), dim=1).float()
        return LiftedColumns(columns, self.lift.step_m, K, camera.T_base_camera)

    def volume(self, ground: LiftedColumns, yaws: Tensor, satellite: SatelliteSpectrum) -> Tensor:
        """Scores (B, R, n, n) at headings `yaws` (B, R), all positions of each."""
        size = self.config.overhead_cells, self.config.cell_m
        if len(yaws) == 1:
            views, masks = overhead_views(ground, yaws[0], *size)
            each = zip(views.split(1), masks.split(1), strict=True)
        else:
            each = (columns_to_overhead(ground, yaw, *size) for yaw in yaws.unbind(dim=1))
        # one heading after the other: all at once would not stay in the processor's cache
        scores = [correlate(view[:, :-1], view[:, -1:] * mask, satellite) for view, mask in each]
        return torch.stack(scores, dim=1)

    def search(
        self,
        ground: LiftedColumns,
        camera: CameraInput,
        yaw: Tensor,
        satellite: LiftSatellite,
        gsd: Tensor | None = None,
        yaw_range: float | None = None,
    ) -> tuple[Tensor, Volume]:
        """Heading and position together, one image at a time: the score of a position is that of
        its best heading.
        """
        residuals = self.residuals
        if yaw_range is not None:
            residuals = self._residuals(min(yaw_range, math.pi)).to(residuals.device)
        scores = self.volume(ground, yaw[:, None] + residuals, satellite.fine)
        return scores.amax(dim=1), Volume(scores[0], yaw + residuals)

    def place(
        self,
        ground: LiftedColumns,
        satellite: LiftSatellite,
        score_map: ScoreMap,
        mode: Mode,
        found: Volume,
        region: Region | None = None,
    ) -> Placed:
        """The peak and its heading, refined; the refinement knows its own covariance."""
        row, column = mode.cell
        at_peak = torch.softmax(found.scores[:, row, column] * self.log_temperature.exp(), 0)
        best = int(at_peak.argmax())
        near = slice(max(best - _NEAR_STEPS, 0), best + _NEAR_STEPS + 1)
        heading = (at_peak[near] * found.headings[near]).sum() / at_peak[near].sum()
        guess = torch.cat([mode.xy, heading.view(1)])[None]
        for _ in range(_REFINEMENTS):
            residual = self.refine(ground, satellite.features, guess)
            axes = guess[0, 2]
            guess = moved(guess, residual.mean)
        c, s = torch.cos(axes), torch.sin(axes)
        turn = torch.eye(3, device=axes.device)
        turn[:2, :2] = torch.stack([torch.stack([c, -s]), torch.stack([s, c])])
        pose, within = guess[0], turn @ residual.covariance[0] @ turn.T
        return Placed(pose, within, self._beyond(pose, score_map, found, region))

    def _beyond(
        self, pose: Tensor, score_map: ScoreMap, found: Volume, region: Region | None
    ) -> Tensor:
        """Second moment (3, 3) about the pose of what lies outside its own peak."""
        probability = torch.softmax((found.scores * self.temperature).flatten(), 0)
        probability = probability.view_as(found.scores)
        cells = score_map.cell_xy()
        if region is not None:
            probability = region.share(probability, cells)
        apart = cells - pose[:2]
        turn = torch.remainder(found.headings - pose[2] + math.pi, 2.0 * math.pi) - math.pi
        distant = apart.square().sum(dim=-1) > MODE_RADIUS_M**2
        outside = distant | (turn.abs() > _PEAK_HEADINGS)[:, None, None]
        weight = probability * outside
        across = torch.einsum("rij,ija,r->a", weight, apart, turn)
        moment = pose.new_empty(3, 3)
        moment[:2, :2] = torch.einsum("ij,ija,ijb->ab", weight.sum(dim=0), apart, apart)
        moment[2, :2] = moment[:2, 2] = across
        moment[2, 2] = (weight.sum(dim=(1, 2)) * turn.square()).sum()
        return moment

    def _residuals(self, yaw_range: float) -> Tensor:
        """Headings, from the prior's, that are tried for a range in rad."""
        step = math.radians(self.config.yaw_step_deg)
        steps = math.ceil(yaw_range / step - 1e-6)
        return torch.arange(-steps, steps + 1) * step

    def _extract(self, extractor: Extractor, image: Tensor) -> tuple[Tensor, Tensor]:
        with self.reduced(image.device):
            features: tuple[Tensor, Tensor] = extractor(standardise(image))
        return features


def _extractor(config: ModelConfig, features: int) -> Extractor:
    if config.extractor == EFFICIENTNET:
        return EfficientUNet(features)
    return CompactUNet(config.width, config.levels, features)
