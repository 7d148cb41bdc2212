# SPDX-License-Identifier: Apache-2.0
"""G2SNet: this project's compact network; and which network a configuration asks for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from g2s_localizer.model.config import COMPACT, LIFT, ModelConfig
from g2s_localizer.model.correlation import SatelliteSpectrum, correlate, satellite_spectrum
from g2s_localizer.model.features import CompactUNet, feature_intrinsics
from g2s_localizer.model.lift_network import LiftNet
from g2s_localizer.model.paper import PaperNet
from g2s_localizer.model.preprocess import standardise
from g2s_localizer.model.projection import ground_to_overhead
from g2s_localizer.model.registration import CameraInput, RegistrationNet
from g2s_localizer.model.rotation import RotationNet


def build_network(config: ModelConfig) -> RegistrationNet:
    """The network of the configuration's preset, its weights random.

    In the memory order channels_last, several times faster for these convolutions on a CPU.
    """
    kinds: dict[str, type[RegistrationNet]] = {COMPACT: G2SNet, LIFT: LiftNet}
    network = kinds.get(config.preset, PaperNet)(config)
    return network.to(memory_format=torch.channels_last)


@dataclass(frozen=True)
class SatelliteFeatures:
    """Everything of a satellite crop that registration needs, for B crops."""

    fine: SatelliteSpectrum
    coarse: SatelliteSpectrum
    """of the features averaged over 2 x 2 cells, for the search over yaw"""

    @property
    def nbytes(self) -> int:
        return self.fine.nbytes + self.coarse.nbytes


class G2SNet(RegistrationNet):
    """The network of the compact preset: two extractors, rotation by search, translation."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.ground_extractor = CompactUNet(config.width, config.levels, config.features)
        self.satellite_extractor = CompactUNet(config.width, config.levels, config.features)
        self.rotation = RotationNet(config.yaw_range_deg, config.yaw_step_deg)

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

    def encode_ground(
        self, image: Tensor, camera: CameraInput | None = None
    ) -> tuple[Tensor, Tensor]:
        """Prepared ground images (B, 3, h, w) uint8 -> features and confidence at half size."""
        return self._extract(self.ground_extractor, image)

    def overhead(
        self,
        ground: tuple[Tensor, Tensor],
        camera: CameraInput,
        yaw: Tensor,
        gsd: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Overhead view (B, C, k, k) and its weight (B, 1, k, k) at headings `yaw` (B,)."""
        return self._project(torch.cat(ground, dim=1), camera, yaw, coarse=False)

    def yaw_scores(
        self,
        ground: tuple[Tensor, Tensor],
        camera: CameraInput,
        yaw: Tensor,
        satellite: SatelliteFeatures,
    ) -> Tensor:
        """Best score (B, R) over all positions for each yaw residual of the rotation net."""
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
        """Residual (B,) and variance (B,) of the distribution over the headings tried."""
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
        """Of features and confidence (B, C + 1, h, w)."""
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
