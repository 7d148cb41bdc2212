# SPDX-License-Identifier: Apache-2.0
"""G2SNet: the compact network, for comparison: the heading by search, then the position."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from g2s_localizer.model.calibrated import CalibratedNet
from g2s_localizer.model.config import COMPACT, SearchConfig
from g2s_localizer.model.correlation import SatelliteSpectrum, correlate, satellite_spectrum
from g2s_localizer.model.preprocess import standardise
from g2s_localizer.model.projection import ground_to_overhead
from g2s_localizer.model.registration import CameraInput, Registration
from g2s_localizer.model.unet import CompactUNet, feature_intrinsics


@dataclass(frozen=True)
class CompactConfig(SearchConfig):
    preset: str = COMPACT

    formerly: ClassVar[dict[str, Any]] = {**SearchConfig.formerly, "extractor": "unet"}


class RotationNet(nn.Module):
    """Probability of each of a set of yaw residuals, from the best score each one reaches.

    log p(residual) = log softmax(temperature * max over positions of score). The temperature is
    learned on satellite-only pairs (stage 0) and calibrated after training.
    """

    residuals: Tensor

    def __init__(self, range_deg: float, step_deg: float) -> None:
        super().__init__()
        steps = math.ceil(range_deg / step_deg)
        residuals = torch.arange(-steps, steps + 1) * math.radians(step_deg)
        self.register_buffer("residuals", residuals, persistent=False)
        self.log_temperature = nn.Parameter(torch.tensor(math.log(50.0)))

    def log_probability(self, best_scores: Tensor) -> Tensor:
        """Convert best scores (B, R) of the R residuals to log-probabilities (B, R)."""
        return torch.log_softmax(best_scores * self.log_temperature.exp(), dim=1)

    def forward(self, best_scores: Tensor) -> tuple[Tensor, Tensor]:
        """Convert best scores (B, R) to residual yaw (B,) in rad and its variance (B,) in rad^2.

        Mean and variance of the distribution; the variance is at least that of the uniform
        distribution over one step.
        """
        probability = self.log_probability(best_scores).exp()
        mean = (probability * self.residuals).sum(dim=1)
        spread = (probability * (self.residuals - mean[:, None]).square()).sum(dim=1)
        step = self.residuals[1] - self.residuals[0]
        return mean, torch.maximum(spread, step.square() / 12.0)


@dataclass(frozen=True)
class SatelliteFeatures:
    """Everything of a satellite crop that registration needs, for B crops."""

    fine: SatelliteSpectrum
    coarse: SatelliteSpectrum
    """of the features averaged over 2 x 2 cells, for the search over yaw"""

    @property
    def nbytes(self) -> int:
        return self.fine.nbytes + self.coarse.nbytes


class G2SNet(CalibratedNet):
    """The network of the compact preset: two extractors, rotation by search, translation."""

    config: CompactConfig
    any_heading = False

    def __init__(self, config: CompactConfig) -> None:
        super().__init__(config)
        self.ground_extractor = CompactUNet(config.width, config.levels, config.features)
        self.satellite_extractor = CompactUNet(config.width, config.levels, config.features)
        self.rotation = RotationNet(config.yaw_range_deg, config.yaw_step_deg)

    @torch.inference_mode()
    def register(
        self,
        ground: Tensor | tuple[Tensor, Tensor],
        K: Tensor | None,
        T_base_camera: Tensor,
        yaw: float,
        satellite: SatelliteFeatures,
        gsd: float | None = None,
        yaw_range: float | None = None,
    ) -> Registration:
        """Register rotation first, then translation at the heading found; input and output are
        those of `RegistrationNet`.
        """
        if yaw_range is not None:
            raise ValueError(
                f"the preset {self.config.preset} looks for the heading within "
                f"{self.config.yaw_range_deg:g} degrees of the prior's, no further"
            )
        camera = CameraInput(K, T_base_camera)
        if isinstance(ground, Tensor):
            ground = self.encode_ground(ground, camera)
        prior_yaw = torch.full((1,), yaw, device=T_base_camera.device)
        residual, variance = self.residual_yaw(ground, camera, prior_yaw, satellite)
        heading = prior_yaw + residual
        view, weight = self.overhead(ground, camera, heading)
        scores = self.scores(view, weight, satellite)[0]
        score_map, modes = self.peaks(scores, gsd)
        peak = modes[0]
        return self.registration(
            torch.cat([peak.xy, heading]),
            torch.block_diag(peak.covariance, variance.view(1, 1)),
            scores[peak.cell].item(),
            score_map,
            modes,
            score_map.log_probability.exp()[None],
            heading,
        )

    def encode_satellite(self, image: Tensor) -> SatelliteFeatures:
        """Encode satellite crops (B, 3, S, S) uint8, north-up, S = crop_m / gsd."""
        return self.satellite_spectra(self.satellite_features(image))

    def satellite_features(self, image: Tensor) -> Tensor:
        """Convert satellite crops (B, 3, S, S) of any type to features (B, C, S / 2, S / 2)."""
        return self._extract(self.satellite_extractor, image)[0]

    def satellite_spectra(self, features: Tensor) -> SatelliteFeatures:
        """Return features (B, C, A, A) of satellite crops, ready to be correlated."""
        return SatelliteFeatures(
            satellite_spectrum(features), satellite_spectrum(F.avg_pool2d(features, 2))
        )

    def encode_ground(
        self, image: Tensor, camera: CameraInput | None = None
    ) -> tuple[Tensor, Tensor]:
        """Encode ground images (B, 3, h, w) uint8: features and confidence at half size."""
        return self._extract(self.ground_extractor, image)

    def overhead(
        self,
        ground: tuple[Tensor, Tensor],
        camera: CameraInput,
        yaw: Tensor,
        gsd: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return overhead view (B, C, k, k) and its weight (B, 1, k, k) at headings `yaw` (B,)."""
        return self._project(torch.cat(ground, dim=1), camera, yaw, coarse=False)

    def scores(self, view: Tensor, weight: Tensor, satellite: SatelliteFeatures) -> Tensor:
        """Return scores (B, n, n) of the positions of overhead views and their weights."""
        return correlate(view, weight, satellite.fine)

    def yaw_scores(
        self,
        ground: tuple[Tensor, Tensor],
        camera: CameraInput,
        yaw: Tensor,
        satellite: SatelliteFeatures,
    ) -> Tensor:
        """Return best score (B, R) over all positions for each yaw residual of the rotation net."""
        best = []
        together = torch.cat(ground, dim=1)
        for residual in self.rotation.residuals:
            view, weight = self._project(together, camera, yaw + residual, coarse=True)
            best.append(correlate(view, weight, satellite.coarse).amax(dim=(1, 2)))
        return torch.stack(best, dim=1)

    def residual_yaw(
        self,
        ground: tuple[Tensor, Tensor],
        camera: CameraInput,
        yaw: Tensor,
        satellite: SatelliteFeatures,
        gsd: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return residual (B,) and variance (B,) of the distribution over the headings tried."""
        found: tuple[Tensor, Tensor] = self.rotation(
            self.yaw_scores(ground, camera, yaw, satellite)
        )
        return found

    def _extract(self, extractor: CompactUNet, image: Tensor) -> tuple[Tensor, Tensor]:
        with self.reduced(image.device):
            features: tuple[Tensor, Tensor] = extractor(standardise(image))
        return features

    def _project(
        self, ground: Tensor, camera: CameraInput, yaw: Tensor, coarse: bool
    ) -> tuple[Tensor, Tensor]:
        """Project features and confidence (B, C + 1, h, w)."""
        if camera.K is None:
            raise ValueError("the compact preset takes pinhole images, not panoramas")
        factor = 2 if coarse else 1
        view, mask = ground_to_overhead(
            ground,
            feature_intrinsics(camera.K),
            camera.T_base_camera,
            yaw,
            self.config.overhead_cells // factor,
            self.config.cell_m * factor,
        )
        return view[:, :-1], view[:, -1:] * mask
