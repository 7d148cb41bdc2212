# SPDX-License-Identifier: Apache-2.0
"""PaperNet: the network of Shi et al., ECCV 2024, number for number, for its checkpoints.

Presets paper-kitti (pinhole image, rotation by regression) and paper-vigor (panorama). Its crops
have the heading of the prior along their u axis, so `yaw` is about 0 there. Its conventions are
kept where they differ from this project's: feature cells are sampled at absolute pixel
coordinates of a plainly scaled K, without the half pixel of their centres, and the vehicle
stands on cell A // 2 of the overhead view (KITTI) or between the middle ones (VIGOR).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from g2s_localizer.model.calibrated import CalibratedNet
from g2s_localizer.model.config import PAPER_KITTI
from g2s_localizer.model.correlation import SatelliteSpectrum, correlate, satellite_spectrum
from g2s_localizer.model.grid import overhead_xy, rotate_xy
from g2s_localizer.model.paper.config import PaperNetConfig
from g2s_localizer.model.paper.swin import SwinRegressor
from g2s_localizer.model.paper.vgg import LEVEL_CHANNELS, VGGUNet
from g2s_localizer.model.projection import panorama_turns
from g2s_localizer.model.registration import CameraInput, Registration
from g2s_localizer.model.sampling import camera_points, inside, pinhole_pixels, sample_features

_YAW_SIGMA = math.radians(1.0)
"""The regressor gives no variance of its own; `covariance_scale` calibrates this one."""

_MINIMUM_DEPTH = 1e-6
_HORIZON_M = 1e4
_RIM = 360
"""Points on the rim of an overhead view that tell which rows of the image show it."""


@dataclass(frozen=True)
class PaperSatellite:
    """Everything of B satellite crops that registration needs."""

    fine: SatelliteSpectrum
    rotation: Tensor | None
    """(B, C, A, A) normalised features of the rotation network"""

    @property
    def nbytes(self) -> int:
        return self.fine.nbytes + (0 if self.rotation is None else self.rotation.nbytes)


@dataclass(frozen=True)
class FeatureRows:
    """The lower part of a feature map of `height` rows, from row `first` on."""

    features: Tensor
    """(B, C, height - first, w)"""
    first: int
    height: int


@dataclass(frozen=True)
class PaperGround:
    translation: FeatureRows
    """features, and the confidence as one more channel"""
    rotation: FeatureRows | None


class PaperNet(CalibratedNet):
    """The VGG-16 U-Nets, the Swin regressor and the correlation of the paper."""

    config: PaperNetConfig
    any_heading = False

    def __init__(self, config: PaperNetConfig) -> None:
        super().__init__(config)
        if config.yaw_range_deg > 0:
            self.rotation_extractor = VGGUNet()
            self.rotation = SwinRegressor(LEVEL_CHANNELS[config.level])
        if config.share:
            self.translation_extractor = VGGUNet()
        else:
            self.ground_extractor = VGGUNet()
            self.satellite_extractor = VGGUNet()

    @torch.inference_mode()
    def register(
        self,
        ground: Tensor | PaperGround,
        K: Tensor | None,
        T_base_camera: Tensor,
        yaw: float,
        satellite: PaperSatellite,
        gsd: float | None = None,
        yaw_range: float | None = None,
    ) -> Registration:
        """Register as `RegistrationNet` says: rotation, then translation at the heading found."""
        if yaw_range is not None:
            raise ValueError(
                f"the preset {self.config.preset} looks for the heading within "
                f"{self.config.yaw_range_deg:g} degrees of the prior's, no further"
            )
        camera = CameraInput(K, T_base_camera)
        if isinstance(ground, Tensor):
            ground = self.encode_ground(ground, camera)
        prior_yaw = torch.full((1,), yaw, device=T_base_camera.device)
        gsds = None if gsd is None else torch.full_like(prior_yaw, gsd)
        residual, variance = self.residual_yaw(ground, camera, prior_yaw, satellite, gsds)
        heading = prior_yaw + residual
        view, weight = self.overhead(ground, camera, heading, gsds)
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

    def encode_satellite(self, image: Tensor) -> PaperSatellite:
        """Encode satellite crops (B, 3, 512, 512), uint8 or float in [0, 1]."""
        extractor = self.translation_extractor if self.config.share else self.satellite_extractor
        features, confidence = self._extract(extractor, image)
        features = normalised(features)
        if self.config.satellite_confidence:
            features = features * confidence
        rotation = None
        if self.config.yaw_range_deg > 0:
            rotation = normalised(self._extract(self.rotation_extractor, image)[0])
        return PaperSatellite(satellite_spectrum(features), rotation)

    def encode_ground(self, image: Tensor, camera: CameraInput | None = None) -> PaperGround:
        """Encode ground images (B, 3, h, w), uint8 or float in [0, 1]. Features are not normalised:
        both the regressor and the score divide by the length of what they are given.

        Given the camera, rows above all that the overhead view can show are not computed.
        """
        extractor = self.translation_extractor if self.config.share else self.ground_extractor
        translation = self._rows(extractor, image, camera, self.config.overhead_cells, True)
        rotation = None
        if self.config.yaw_range_deg > 0:
            cells = self.config.satellite_cells
            rotation = self._rows(self.rotation_extractor, image, camera, cells, False)
        return PaperGround(translation, rotation)

    def residual_yaw(
        self,
        ground: PaperGround,
        camera: CameraInput,
        yaw: Tensor,
        satellite: PaperSatellite,
        gsd: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Regress it from the whole overhead view minus the crop's features; 0 without rotation."""
        if ground.rotation is None:
            return torch.zeros_like(yaw), torch.full_like(yaw, _YAW_SIGMA**2)
        assert satellite.rotation is not None
        view = self.view(ground.rotation, camera, yaw, self.config.satellite_cells, gsd)
        residual = self.regress(view, satellite.rotation)[:, 2]
        return residual, torch.full_like(residual, _YAW_SIGMA**2)

    def regress(self, view: Tensor, satellite: Tensor) -> Tensor:
        """Regress (B, 3) from overhead view and satellite features (B, C, A, A): shift along u and
        v in units of the shift range, and the residual yaw in rad.
        """
        delta = self.rotation(normalised(view) - satellite)
        unit = delta.new_tensor([1.0, 1.0, math.radians(self.config.yaw_range_deg)])
        scaled: Tensor = delta * unit
        return scaled

    def overhead(
        self, ground: PaperGround, camera: CameraInput, yaw: Tensor, gsd: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the view's centre crop (B, C, k, k) that is correlated, and its weight:
        confidence, or 1 without it, where the camera sees the cell.
        """
        cells = self.config.overhead_cells
        uv, visible = self.pixels(camera, yaw, cells, ground.translation, gsd)
        view = self._sample(ground.translation, uv, visible)
        weight = view[:, -1:] if self.config.ground_confidence else visible[:, None].to(view.dtype)
        return view[:, :-1], weight

    def scores(self, view: Tensor, weight: Tensor, satellite: PaperSatellite) -> Tensor:
        """Return scores (B, n, n) of the middle score_cells x score_cells positions."""
        scores, kept = correlate(view, weight, satellite.fine), self.config.score_cells
        first = (scores.shape[-1] - kept) // 2
        return scores[..., first : first + kept, first : first + kept]

    def view(
        self,
        rows: FeatureRows,
        camera: CameraInput,
        yaw: Tensor,
        cells: int,
        gsd: Tensor | None = None,
    ) -> Tensor:
        """Resample features onto `cells` x `cells` of the ground plane around the vehicle."""
        uv, visible = self.pixels(camera, yaw, cells, rows, gsd)
        return self._sample(rows, uv, visible)

    def pixels(
        self,
        camera: CameraInput,
        yaw: Tensor,
        cells: int,
        rows: FeatureRows,
        gsd: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return where the cells lie in the whole feature map: uv (B, cells, cells, 2), and whether
        the original samples there: in front of the camera, between the centres of the border cells.
        """
        xy = self._cells_xy(cells, yaw, gsd)
        height, width = rows.height, rows.features.shape[-1]
        points = camera_points(rotate_xy(xy, -yaw), camera.T_base_camera)
        if camera.K is None:
            uv = panorama_turns(points) * points.new_tensor([width, height])
            last = width if self.config.wrap_panorama else width - 1
            return uv, (uv[..., 0] <= last) & (uv[..., 1] >= 0) & (uv[..., 1] <= height - 1)
        uv, depth = pinhole_pixels(points, self._feature_K(camera.K))
        return uv, (depth > _MINIMUM_DEPTH) & inside(uv, width, height)

    def visibility(self, camera: CameraInput, yaw: Tensor, width: int, height: int) -> Tensor:
        """Return (B, 1, A, A): cells that a camera with a feature map of that size sees, its
        outermost half cells included. Masks satellite features that stand in for an overhead view.
        """
        assert camera.K is not None
        xy = self._cells_xy(self.config.satellite_cells, yaw, None)
        points = camera_points(rotate_xy(xy, -yaw), camera.T_base_camera)
        uv, depth = pinhole_pixels(points, self._feature_K(camera.K))
        u, v = uv[..., 0], uv[..., 1]
        seen = (depth > _MINIMUM_DEPTH) & (u >= 0) & (u < width) & (v >= 0) & (v < height)
        return seen[:, None].to(xy.dtype)

    def stand_in(self, features: Tensor, confidence: Tensor, seen: Tensor, yaw: Tensor) -> Tensor:
        """Return for stage 0 satellite features (B, C, A, A) of the aligned crop, and their
        confidence as one more channel, masked to what a camera would see and turned like an
        overhead view at heading `yaw` (B,) from the query's u axis.
        """
        A = self.config.satellite_cells
        xy = rotate_xy(self._cells_xy(A, yaw, None) / self.config.cell_m, -yaw)
        uv = torch.stack([A // 2 + xy[..., 0], A // 2 - xy[..., 1]], dim=-1)
        # The original loses the far column to rounding even at heading 0.
        kept = inside(uv, A, A) & (uv[..., 0] < A - 1)
        return sample_features(torch.cat([features, confidence], dim=1) * seen, uv, kept)

    def _cells_xy(self, cells: int, yaw: Tensor, gsd: Tensor | None) -> Tensor:
        """Return (B or 1, cells, cells, 2) metres along the crop's u and against its v axis, from
        the vehicle to the middle `cells` x `cells` of the A x A overhead view.
        """
        A = self.config.satellite_cells
        first = (A - cells) // 2
        vehicle = A // 2 if self.config.preset == PAPER_KITTI else A / 2 - 0.5
        middle = first + (cells - 1) / 2 - vehicle
        xy = overhead_xy(cells, 1.0, yaw.device) + torch.tensor(
            [middle, -middle], device=yaw.device
        )
        if gsd is None:
            return xy[None] * self.config.cell_m
        return xy[None] * (gsd * self.config.stride)[:, None, None, None]

    def _feature_K(self, K: Tensor) -> Tensor:
        return K / K.new_tensor([self.config.stride, self.config.stride, 1.0])[:, None]

    def _sample(self, rows: FeatureRows, uv: Tensor, visible: Tensor) -> Tensor:
        features = rows.features
        if self.config.wrap_panorama:
            features = torch.cat([features, features[..., :1]], dim=-1)
        # Rows above `first` were not computed: nothing within reach lies there.
        shifted = uv - uv.new_tensor([0.0, float(rows.first)])
        return sample_features(features, shifted, visible)

    def _rows(
        self,
        extractor: VGGUNet,
        image: Tensor,
        camera: CameraInput | None,
        cells: int,
        with_confidence: bool,
    ) -> FeatureRows:
        height = image.shape[-2] // self.config.stride
        first = 0 if camera is None else self._first_row(camera, cells, height)
        features, confidence = self._extract(extractor, image, first)
        if with_confidence:
            features = torch.cat([features, confidence], dim=1)
        return FeatureRows(features, first, height)

    def _first_row(self, camera: CameraInput, cells: int, height: int) -> int:
        """Return the highest row of the feature map that shows ground within the view's corners."""
        # A panorama's crops differ in metres per cell; its rows below the horizon serve them all.
        corner = math.sqrt(0.5) * (cells + 1) * self.config.cell_m
        reach = corner if camera.K is not None else _HORIZON_M
        device = camera.T_base_camera.device
        angle = torch.arange(_RIM, device=device) * (2 * math.pi / _RIM)
        rim = torch.stack([angle.cos(), angle.sin()], dim=-1)[None, None] * reach
        points = camera_points(
            rim.expand(len(camera.T_base_camera), -1, -1, -1), camera.T_base_camera
        )
        if camera.K is None:
            v = panorama_turns(points)[..., 1] * height
        else:
            uv, depth = pinhole_pixels(points, self._feature_K(camera.K))
            v = torch.where(depth > _MINIMUM_DEPTH, uv[..., 1], uv.new_full((), float(height)))
        return min(max(int(v.min()), 0), height - 1)

    def _extract(self, extractor: VGGUNet, image: Tensor, first: int = 0) -> tuple[Tensor, Tensor]:
        value = image / 255.0 if image.dtype == torch.uint8 else image
        with self.reduced(image.device):
            found: tuple[Tensor, Tensor] = extractor(value, self.config.level, first)
        return found


def normalised(features: Tensor) -> Tensor:
    """Return features (B, C, H, W) divided by their length over all channels and cells together."""
    length = torch.linalg.vector_norm(features, dim=(1, 2, 3), keepdim=True)
    return features / length.clamp_min(1e-12)
