# SPDX-License-Identifier: Apache-2.0
"""LiftNet: as G2SNet, but the overhead view is lifted column by column, and heading and position
are searched together, at the resolution of the features.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from g2s_localizer.model.correlation import SatelliteSpectrum, correlate, satellite_spectrum
from g2s_localizer.model.features import CompactUNet
from g2s_localizer.model.lift import ColumnLift, columns_to_overhead
from g2s_localizer.model.network import (
    ModelConfig,
    Registration,
    SatelliteFeatures,
    feature_intrinsics,
)
from g2s_localizer.model.preprocess import standardise
from g2s_localizer.model.score_map import ScoreMap

_NEAR_STEPS = 2
"""Steps of the heading around the best one that are averaged."""
_CHANNELS = 32


class LiftedColumns:
    """Columns (B, C + 1, depths, w) of ground images, confidence last, with their cameras."""

    def __init__(self, columns: Tensor, K: Tensor, T_base_camera: Tensor) -> None:
        self.columns, self.K, self.T_base_camera = columns, K, T_base_camera


class LiftNet(nn.Module):
    """The network of the preset `lift`: two extractors, the lift, correlation.

    The temperature of the volume of scores is learned; the buffers `temperature` of the score map
    and `covariance_scale` of position and yaw are set by calibration after training.
    """

    temperature: Tensor
    covariance_scale: Tensor
    residuals: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.precision = torch.float32
        """Type the extractors compute in; geometry and correlation are always float32."""
        self.ground_extractor = CompactUNet(config.width, config.levels, _CHANNELS)
        self.satellite_extractor = CompactUNet(config.width, config.levels, config.features)
        self.lift = ColumnLift(
            _CHANNELS + 1, _CHANNELS, config.features, config.reach_m, config.cell_m
        )
        steps = math.ceil(config.yaw_range_deg / config.yaw_step_deg)
        residuals = torch.arange(-steps, steps + 1) * math.radians(config.yaw_step_deg)
        self.register_buffer("residuals", residuals, persistent=False)
        self.log_temperature = nn.Parameter(torch.tensor(math.log(30.0)))
        self.register_buffer("temperature", torch.tensor(50.0))
        self.register_buffer("covariance_scale", torch.ones(2))

    def encode_satellite(self, image: Tensor) -> SatelliteFeatures:
        """Satellite crops (B, 3, S, S) uint8, north-up, S = crop_m / gsd."""
        features, _ = self._extract(self.satellite_extractor, image)
        return SatelliteFeatures(satellite_spectrum(features), None)

    def encode_ground(self, image: Tensor, K: Tensor, T_base_camera: Tensor) -> LiftedColumns:
        """Prepared ground images (B, 3, h, w) uint8 with K (B, 3, 3) and T_base_camera."""
        features = torch.cat(self._extract(self.ground_extractor, image), dim=1)
        K = feature_intrinsics(K)
        columns = torch.cat(self.lift(features, K, T_base_camera), dim=1)
        return LiftedColumns(columns, K, T_base_camera)

    def volume(self, ground: LiftedColumns, yaws: Tensor, satellite: SatelliteSpectrum) -> Tensor:
        """Scores (B, R, n, n) at headings `yaws` (B, R), all positions of each."""
        scores = []
        for yaw in yaws.unbind(dim=1):
            view, mask = columns_to_overhead(
                ground.columns,
                self.lift.step_m,
                ground.K,
                ground.T_base_camera,
                yaw,
                self.config.overhead_cells,
                self.config.cell_m,
            )
            scores.append(correlate(view[:, :-1], view[:, -1:] * mask, satellite))
        return torch.stack(scores, dim=1)

    @torch.inference_mode()
    def register(
        self,
        ground: Tensor,
        K: Tensor,
        T_base_camera: Tensor,
        yaw: float,
        satellite: SatelliteFeatures,
    ) -> Registration:
        """As `G2SNet.register`. The heading is that of the likeliest place, and the score map
        that of the headings near it.
        """
        columns = self.encode_ground(ground, K, T_base_camera)
        prior_yaw = torch.full((1,), yaw, device=ground.device)
        scores = self.volume(columns, prior_yaw[:, None] + self.residuals, satellite.fine)[0]
        probability = torch.softmax(scores.flatten() * self.log_temperature.exp(), 0)
        probability = probability.view_as(scores)
        place = int(probability.sum(dim=0).argmax())
        at_place = probability.flatten(1)[:, place]
        best = int(at_place.argmax())
        near = slice(max(best - _NEAR_STEPS, 0), best + _NEAR_STEPS + 1)
        share = at_place[near] / at_place[near].sum()
        residual = (share * self.residuals[near]).sum()
        # the variance is over all places: it knows of other peaks
        spread = (probability.sum(dim=(1, 2)) * (self.residuals - residual).square()).sum()
        return Registration(
            yaw=float(prior_yaw + residual),
            yaw_variance=float(spread * self.covariance_scale[1]),
            score_map=ScoreMap.from_scores(
                scores[near].amax(dim=0), self.temperature, self.config.cell_m
            ),
        )

    def _extract(self, extractor: CompactUNet, image: Tensor) -> tuple[Tensor, Tensor]:
        reduced = self.precision != torch.float32
        kind = self.precision if reduced else torch.bfloat16
        with torch.autocast(image.device.type, kind, enabled=reduced):
            features: tuple[Tensor, Tensor] = extractor(standardise(image))
        return features
