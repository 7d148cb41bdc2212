# SPDX-License-Identifier: Apache-2.0
"""Dense registration loss: where in the volume of headings and positions does a frame stand."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from g2s_localizer.model.correlation import SatelliteSpectrum
from g2s_localizer.model.lift_network import FINE_STEP_DEG, LiftNet
from training.datasets.placed import PlacedBatch

_OTHER_HEADINGS = 3
"""Wrong headings that the coarse search is asked beside the two around the right one."""


def volume_loss(
    scores: Tensor, temperature: Tensor, heading: Tensor, row: Tensor, column: Tensor
) -> Tensor:
    """Cross entropy of volumes of scores (B, R, n, n): with the share (B, R) that each heading has
    of the target, and its fractional row and column (B,). A target between cells is shared by
    those around it, so that what is learned is finer than a cell.
    """
    log_probability = torch.log_softmax(scores.flatten(1) * temperature, dim=1).view_as(scores)
    side = scores.shape[-1]
    target = (
        heading[:, :, None, None]
        * shares(row, side)[:, None, :, None]
        * shares(column, side)[:, None, None, :]
    )
    return -(target * log_probability).sum(dim=(1, 2, 3)).mean()


def shares(index: Tensor, size: int) -> Tensor:
    """Fractional indices (B,) -> shares (B, size) of the whole indices around them."""
    whole = torch.arange(size, device=index.device)
    return (1.0 - (index[:, None] - whole).abs()).clamp_min(0.0)


def registration_loss(network: LiftNet, batch: PlacedBatch) -> Tensor:
    """Of the coarse search, over the headings around the pseudo-pose's and some others of those
    around the prior's, and of the fine search, over three headings around the pseudo-pose's,
    moved by up to a step, as the coarse search may be.
    """
    cell_m = network.config.cell_m
    satellite = network.encode_satellite(batch.satellite)
    ground = network.encode_ground(batch.ground, batch.K, batch.T_base_camera)
    yaw = batch.pose[:, 2]
    every_yaw = batch.prior_yaw[:, None] + network.residuals
    every_share = shares(
        (batch.pose[:, 2] - every_yaw[:, 0]) / (network.residuals[1] - network.residuals[0]),
        len(network.residuals),
    )
    chance = torch.rand_like(every_share) + 2.0 * (every_share > 0)
    asked = chance.topk(min(2 + _OTHER_HEADINGS, len(network.residuals)), dim=1).indices
    coarse = network.volume(
        ground, every_yaw.gather(1, asked), _chosen(satellite.coarse, batch.crop), True
    )
    step = math.radians(FINE_STEP_DEG)
    astray = (2.0 * torch.rand_like(yaw) - 1.0) * step
    fine_yaws = (yaw + astray)[:, None] + network.fine_residuals[1:-1]
    fine = network.volume(ground, fine_yaws, _chosen(satellite.fine, batch.crop), False)
    return volume_loss(
        coarse,
        network.coarse_log_temperature.exp(),
        every_share.gather(1, asked),
        *_cells(batch.pose, coarse.shape[-1], cell_m * 2),
    ) + volume_loss(
        fine,
        network.fine_log_temperature.exp(),
        shares((yaw - fine_yaws[:, 0]) / step, fine_yaws.shape[1]),
        *_cells(batch.pose, fine.shape[-1], cell_m),
    )


def _chosen(spectrum: SatelliteSpectrum, crop: Tensor) -> SatelliteSpectrum:
    return SatelliteSpectrum(spectrum.features[crop], spectrum.energy[crop], spectrum.side)


def _cells(pose: Tensor, side: int, cell_m: float) -> tuple[Tensor, Tensor]:
    """Fractional row and column (B,) of the poses in a score map `side` cells wide."""
    middle = (side - 1) / 2.0
    return middle - pose[:, 1] / cell_m, middle + pose[:, 0] / cell_m
