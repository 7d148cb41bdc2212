# SPDX-License-Identifier: Apache-2.0
"""Dense registration loss: where in the volume of headings and positions does a frame stand."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from g2s_localizer.model.correlation import SatelliteSpectrum
from g2s_localizer.model.lift_network import FINE_STEP_DEG, LiftNet
from training.datasets.placed import PlacedBatch


def volume_loss(scores: Tensor, temperature: Tensor, cell: Tensor) -> Tensor:
    """Cross entropy of volumes of scores (B, R, n, n) with fractional cells (B, 3) as (heading,
    row, column). A target between cells is shared by those around it, so that what is learned is
    finer than a cell.
    """
    log_probability = torch.log_softmax(scores.flatten(1) * temperature, dim=1).view_as(scores)
    heading, row, column = (
        (1.0 - (cell[:, axis, None] - torch.arange(size, device=cell.device)).abs()).clamp_min(0.0)
        for axis, size in enumerate(scores.shape[1:])
    )
    target = heading[:, :, None, None] * row[:, None, :, None] * column[:, None, None, :]
    return -(target * log_probability).sum(dim=(1, 2, 3)).mean()


def registration_loss(network: LiftNet, batch: PlacedBatch) -> Tensor:
    """Of the coarse search over all headings around the prior's, and of the fine search over
    three headings around the pseudo-pose's, moved by up to a step, as the coarse search may be.
    """
    config = network.config
    satellite = network.encode_satellite(batch.satellite)
    ground = network.encode_ground(batch.ground, batch.K, batch.T_base_camera)
    yaw = batch.pose[:, 2]
    coarse_yaws = batch.prior_yaw[:, None] + network.residuals
    coarse = network.volume(ground, coarse_yaws, _chosen(satellite.coarse, batch.crop), True)
    step = math.radians(FINE_STEP_DEG)
    astray = (2.0 * torch.rand_like(yaw) - 1.0) * step
    fine_yaws = (yaw + astray)[:, None] + network.fine_residuals[1:-1]
    fine = network.volume(ground, fine_yaws, _chosen(satellite.fine, batch.crop), False)
    return volume_loss(
        coarse,
        network.coarse_log_temperature.exp(),
        _cells(batch.pose, coarse_yaws, coarse.shape[-1], config.cell_m * 2),
    ) + volume_loss(
        fine,
        network.fine_log_temperature.exp(),
        _cells(batch.pose, fine_yaws, fine.shape[-1], config.cell_m),
    )


def _chosen(spectrum: SatelliteSpectrum, crop: Tensor) -> SatelliteSpectrum:
    return SatelliteSpectrum(spectrum.features[crop], spectrum.energy[crop], spectrum.side)


def _cells(pose: Tensor, yaws: Tensor, side: int, cell_m: float) -> Tensor:
    middle = (side - 1) / 2.0
    heading = (pose[:, 2] - yaws[:, 0]) / (yaws[:, 1] - yaws[:, 0])
    return torch.stack([heading, middle - pose[:, 1] / cell_m, middle + pose[:, 0] / cell_m], 1)
