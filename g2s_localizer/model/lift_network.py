# SPDX-License-Identifier: Apache-2.0
"""LiftNet: as G2SNet, but the overhead view is lifted column by column, and the heading is
searched twice: coarsely over the whole range, then finely around the best.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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

FINE_STEP_DEG = 0.8
_FINE_STEPS = 2
_COARSE_WINDOW = 2
"""Steps around the best coarse residual whose mean the fine search is centred on."""
_CHANNELS = 32


class LiftedColumns:
    """Columns (B, C + 1, depths, w) of ground images, confidence last, with their cameras."""

    def __init__(self, columns: Tensor, K: Tensor, T_base_camera: Tensor) -> None:
        self.columns, self.K, self.T_base_camera = columns, K, T_base_camera


class LiftNet(nn.Module):
    """The network of the preset `lift`: two extractors, the lift, correlation.

    Temperatures of the two volumes of scores are learned; the buffers `temperature` of the score
    map and `covariance_scale` of position and yaw are set by calibration after training.
    """

    temperature: Tensor
    covariance_scale: Tensor
    residuals: Tensor
    fine_residuals: Tensor

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
        coarse = torch.arange(-steps, steps + 1) * math.radians(config.yaw_step_deg)
        fine = torch.arange(-_FINE_STEPS, _FINE_STEPS + 1) * math.radians(FINE_STEP_DEG)
        self.register_buffer("residuals", coarse, persistent=False)
        self.register_buffer("fine_residuals", fine, persistent=False)
        self.coarse_log_temperature = nn.Parameter(torch.tensor(math.log(30.0)))
        self.fine_log_temperature = nn.Parameter(torch.tensor(math.log(30.0)))
        self.register_buffer("temperature", torch.tensor(50.0))
        self.register_buffer("covariance_scale", torch.ones(2))

    def encode_satellite(self, image: Tensor) -> SatelliteFeatures:
        """Satellite crops (B, 3, S, S) uint8, north-up, S = crop_m / gsd."""
        features, _ = self._extract(self.satellite_extractor, image)
        return SatelliteFeatures(
            satellite_spectrum(features), satellite_spectrum(F.avg_pool2d(features, 2))
        )

    def encode_ground(self, image: Tensor, K: Tensor, T_base_camera: Tensor) -> LiftedColumns:
        """Prepared ground images (B, 3, h, w) uint8 with K (B, 3, 3) and T_base_camera."""
        features = torch.cat(self._extract(self.ground_extractor, image), dim=1)
        K = feature_intrinsics(K)
        columns = torch.cat(self.lift(features, K, T_base_camera), dim=1)
        return LiftedColumns(columns, K, T_base_camera)

    def volume(
        self, ground: LiftedColumns, yaws: Tensor, satellite: SatelliteSpectrum, coarse: bool
    ) -> Tensor:
        """Scores (B, R, n, n) at headings `yaws` (B, R), all positions of each."""
        factor = 2 if coarse else 1
        scores = []
        for yaw in yaws.unbind(dim=1):
            view, mask = columns_to_overhead(
                ground.columns,
                self.lift.step_m,
                ground.K,
                ground.T_base_camera,
                yaw,
                self.config.overhead_cells // factor,
                self.config.cell_m * factor,
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
        """As `G2SNet.register`."""
        columns = self.encode_ground(ground, K, T_base_camera)
        prior_yaw = torch.full((1,), yaw, device=ground.device)
        coarse = self.volume(columns, prior_yaw[:, None] + self.residuals, satellite.coarse, True)
        p = _marginal(coarse, self.coarse_log_temperature)
        best = int(p.argmax())
        window = slice(max(best - _COARSE_WINDOW, 0), best + _COARSE_WINDOW + 1)
        near = p[window] / p[window].sum()
        start = prior_yaw + (near * self.residuals[window]).sum()
        fine = self.volume(columns, start[:, None] + self.fine_residuals, satellite.fine, False)
        p_fine = _marginal(fine, self.fine_log_temperature)
        residual = (p_fine * self.fine_residuals).sum()
        variance = _variance(p_fine, self.fine_residuals) + _lost(p, window, self.residuals)
        return Registration(
            yaw=float(start + residual),
            yaw_variance=float(variance * self.covariance_scale[1]),
            score_map=ScoreMap.from_scores(
                fine[0].amax(dim=0), self.temperature, self.config.cell_m
            ),
        )

    def _extract(self, extractor: CompactUNet, image: Tensor) -> tuple[Tensor, Tensor]:
        reduced = self.precision != torch.float32
        kind = self.precision if reduced else torch.bfloat16
        with torch.autocast(image.device.type, kind, enabled=reduced):
            features: tuple[Tensor, Tensor] = extractor(standardise(image))
        return features


def _marginal(scores: Tensor, log_temperature: Tensor) -> Tensor:
    """Probability (R,) of each heading from the scores (1, R, n, n) of all positions."""
    return torch.softmax(scores.flatten() * log_temperature.exp(), 0).view_as(scores).sum((0, 2, 3))


def _variance(probability: Tensor, residuals: Tensor) -> Tensor:
    mean = (probability * residuals).sum()
    step = residuals[1] - residuals[0]
    return (probability * (residuals - mean).square()).sum() + step.square() / 12.0


def _lost(probability: Tensor, window: slice, residuals: Tensor) -> Tensor:
    """Variance from the headings outside the window: what the fine search cannot see."""
    outside = probability.clone()
    outside[window] = 0.0
    centre = (probability[window] * residuals[window]).sum() / probability[window].sum()
    return (outside * (residuals - centre).square()).sum()
