# SPDX-License-Identifier: Apache-2.0
"""G2SNet: registers a ground image with a satellite crop."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from g2s_localizer.model.correlation import SatelliteSpectrum, correlate, satellite_spectrum
from g2s_localizer.model.features import STRIDE, CompactUNet
from g2s_localizer.model.preprocess import standardise
from g2s_localizer.model.projection import ground_to_overhead
from g2s_localizer.model.rotation import RotationNet
from g2s_localizer.model.score_map import ScoreMap

PRESETS = ("compact", "lift")


@dataclass(frozen=True)
class ModelConfig:
    """What a checkpoint's network is built from. Raises ValueError naming a field out of range."""

    preset: str = "compact"
    """compact: G2SNet, over a ground plane; lift: LiftNet, whose overhead view is lifted column by
    column"""
    crop_m: float = 96.0
    """side of the satellite crop (m)"""
    gsd: float = 0.25
    """ground sample distance of the satellite crop (m per pixel)"""
    reach_m: float = 24.0
    """radius of the overhead view (m); positions up to crop_m / 2 - reach_m from the crop's
    centre can be scored"""
    ground_height: int = 128
    ground_width: int = 512
    width: int = 16
    """channels of the extractors' finest level; level l has (l + 1) times as many"""
    levels: int = 5
    features: int = 16
    yaw_range_deg: float = 12.0
    yaw_step_deg: float = 2.0

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise ValueError(
                f"ModelConfig.preset must be one of {', '.join(PRESETS)}, got {self.preset!r}"
            )
        for name, value in asdict(self).items():
            if name != "preset" and not value > 0:
                raise ValueError(f"ModelConfig.{name} must be positive, got {value}")
        if self.satellite_cells % 2 or self.overhead_cells % 2:
            raise ValueError(
                f"crop_m {self.crop_m} and reach_m {self.reach_m} must span an even number of "
                f"cells of {self.cell_m} m, got {self.satellite_cells} and {self.overhead_cells}"
            )
        if self.search_m <= 0:
            raise ValueError(f"reach_m {self.reach_m} leaves nothing of crop_m {self.crop_m}")

    @property
    def cell_m(self) -> float:
        return self.gsd * STRIDE

    @property
    def satellite_cells(self) -> int:
        return round(self.crop_m / self.cell_m)

    @property
    def overhead_cells(self) -> int:
        return round(2.0 * self.reach_m / self.cell_m)

    @property
    def search_m(self) -> float:
        """Largest offset from the crop's centre, along each axis, that can be scored (m)."""
        return (self.satellite_cells - self.overhead_cells) / 2 * self.cell_m

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """Raises ValueError naming unknown keys."""
        unknown = sorted(set(values) - set(cls.__dataclass_fields__))
        if unknown:
            raise ValueError(f"unknown keys in the model's configuration: {', '.join(unknown)}")
        return cls(**values)


@dataclass(frozen=True)
class SatelliteFeatures:
    """Everything of a satellite crop that registration needs, for B crops."""

    fine: SatelliteSpectrum
    coarse: SatelliteSpectrum | None
    """of the features averaged over 2 x 2 cells, for the search over yaw; LiftNet has none"""

    @property
    def nbytes(self) -> int:
        spectra = [spectrum for spectrum in (self.fine, self.coarse) if spectrum is not None]
        return sum(spectrum.features.nbytes + spectrum.energy.nbytes for spectrum in spectra)


@dataclass(frozen=True)
class Registration:
    """What the network says of one pair, in map axes."""

    yaw: float
    """heading of the vehicle (rad)"""
    yaw_variance: float
    """rad^2"""
    score_map: ScoreMap


class G2SNet(nn.Module):
    """The network of the compact preset: two extractors, rotation, translation.

    Buffers that calibration sets after training: `temperature` of the score map, and
    `covariance_scale` of position and yaw.
    """

    temperature: Tensor
    covariance_scale: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.precision = torch.float32
        """Type the extractors compute in; geometry and correlation are always float32."""
        self.ground_extractor = CompactUNet(config.width, config.levels, config.features)
        self.satellite_extractor = CompactUNet(config.width, config.levels, config.features)
        self.rotation = RotationNet(config.yaw_range_deg, config.yaw_step_deg)
        self.register_buffer("temperature", torch.tensor(50.0))
        self.register_buffer("covariance_scale", torch.ones(2))

    def encode_satellite(self, image: Tensor) -> SatelliteFeatures:
        """Satellite crops (B, 3, S, S) uint8, north-up, S = crop_m / gsd."""
        return self.satellite_spectra(self.satellite_features(image))

    def satellite_features(self, image: Tensor) -> Tensor:
        """Satellite crops (B, 3, S, S) of any numeric type -> features (B, C, S / 2, S / 2)."""
        return self._extract(self.satellite_extractor, image)[0]

    def satellite_spectra(self, features: Tensor) -> SatelliteFeatures:
        """Features (B, C, A, A) of satellite crops, ready to be correlated."""
        return SatelliteFeatures(
            satellite_spectrum(features), satellite_spectrum(F.avg_pool2d(features, 2))
        )

    def encode_ground(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Prepared ground images (B, 3, h, w) uint8 -> features and confidence at half size."""
        return self._extract(self.ground_extractor, image)

    def overhead(
        self, ground: tuple[Tensor, Tensor], K: Tensor, T_base_camera: Tensor, yaw: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Overhead view (B, C, k, k) and its weight (B, 1, k, k) at headings `yaw` (B,)."""
        return self._project(ground, K, T_base_camera, yaw, coarse=False)

    def yaw_scores(
        self,
        ground: tuple[Tensor, Tensor],
        K: Tensor,
        T_base_camera: Tensor,
        yaw: Tensor,
        satellite: SatelliteFeatures,
    ) -> Tensor:
        """Best score (B, R) over all positions for each yaw residual of the rotation net."""
        best = []
        for residual in self.rotation.residuals:
            view, weight = self._project(ground, K, T_base_camera, yaw + residual, coarse=True)
            best.append(correlate(view, weight, satellite.coarse).amax(dim=(1, 2)))
        return torch.stack(best, dim=1)

    @torch.inference_mode()
    def register(
        self,
        ground: Tensor,
        K: Tensor,
        T_base_camera: Tensor,
        yaw: float,
        satellite: SatelliteFeatures,
    ) -> Registration:
        """One pair: prepared ground image (1, 3, h, w) uint8 with its K (1, 3, 3) and
        T_base_camera (1, 4, 4), heading `yaw` (rad) of the prior, features of one crop.
        """
        features = self.encode_ground(ground)
        prior_yaw = torch.full((1,), yaw, device=ground.device)
        scores = self.yaw_scores(features, K, T_base_camera, prior_yaw, satellite)
        residual, variance = self.rotation(scores)
        heading = prior_yaw + residual
        view, weight = self.overhead(features, K, T_base_camera, heading)
        score = correlate(view, weight, satellite.fine)[0]
        return Registration(
            yaw=float(heading),
            yaw_variance=float(variance * self.covariance_scale[1]),
            score_map=ScoreMap.from_scores(score, self.temperature, self.config.cell_m),
        )

    def _extract(self, extractor: CompactUNet, image: Tensor) -> tuple[Tensor, Tensor]:
        reduced = self.precision != torch.float32
        kind = self.precision if reduced else torch.bfloat16
        with torch.autocast(image.device.type, kind, enabled=reduced):
            features: tuple[Tensor, Tensor] = extractor(standardise(image))
        return features

    def _project(
        self,
        ground: tuple[Tensor, Tensor],
        K: Tensor,
        T_base_camera: Tensor,
        yaw: Tensor,
        coarse: bool,
    ) -> tuple[Tensor, Tensor]:
        factor = 2 if coarse else 1
        stacked = torch.cat(ground, dim=1)
        view, mask = ground_to_overhead(
            stacked,
            feature_intrinsics(K),
            T_base_camera,
            yaw,
            self.config.overhead_cells // factor,
            self.config.cell_m * factor,
        )
        return view[:, :-1], view[:, -1:] * mask


def feature_intrinsics(K: Tensor) -> Tensor:
    """Intrinsics (B, 3, 3) of an image -> those of its feature map, STRIDE times smaller."""
    scale = torch.tensor([1.0 / STRIDE, 1.0 / STRIDE, 1.0], device=K.device)[:, None]
    scaled = K * scale
    half = 0.5 / STRIDE - 0.5
    return scaled + K.new_tensor([[0.0, 0.0, half], [0.0, 0.0, half], [0.0, 0.0, 0.0]])
