# SPDX-License-Identifier: Apache-2.0
"""Dense registration loss: where in the volume of headings and positions does a frame stand."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from g2s_localizer.model import CameraInput, LiftNet
from g2s_localizer.model.correlation import SatelliteSpectrum
from g2s_localizer.model.lift.refine import Residual, lacking
from training.lift.placed import PlacedBatch

_OTHER_HEADINGS = 3
"""Wrong headings that are asked beside the two around the right one."""
_NEAR_STEPS = 3.0
_NEAR_BONUS = 0.5
"""Wrong headings less than so many steps away are asked more often: they are the hard ones."""
_GUESSES = 8
"""Guesses for each image, around its pseudo-pose."""
_GUESS_SIGMA = (1.2, 1.2, math.radians(4.0))
"""Deviations of guesses around the pseudo-pose, where the scatter is largest (m, m, rad)."""


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
    """Return the loss of position and heading, over the two headings around the pseudo-pose's and
    some others of those around the prior's, and of what a guess near it lacks.
    """
    satellite = network.encode_satellite(batch.satellite)
    ground = network.encode_ground(batch.ground, CameraInput(batch.K, batch.T_base_camera))
    yaws = batch.prior_yaw[:, None] + network.residuals
    count = len(network.residuals)
    target = (batch.pose[:, 2] - yaws[:, 0]) / (network.residuals[1] - network.residuals[0])
    share = shares(target, count)
    steps = (torch.arange(count, device=target.device) - target[:, None]).abs()
    chance = torch.rand_like(share) + 2.0 * (share > 0) + _NEAR_BONUS * (steps < _NEAR_STEPS)
    asked = chance.topk(min(2 + _OTHER_HEADINGS, count), dim=1).indices
    scores = network.volume(ground, yaws.gather(1, asked), _chosen(satellite.fine, batch.crop))
    searched = volume_loss(
        scores,
        network.log_temperature.exp(),
        share.gather(1, asked),
        *_cells(batch.pose, scores.shape[-1], network.config.cell_m),
    )
    pose = batch.pose.repeat_interleave(_GUESSES, dim=0)
    scatter = torch.randn_like(pose) * torch.rand_like(pose[:, :1])
    guess = pose + scatter * torch.tensor(_GUESS_SIGMA, device=pose.device)
    residual = network.refine(ground, satellite.features, guess)
    return searched + refinement_loss(residual, lacking(guess, pose), network.refine.unit)


def pose_scores(network: LiftNet, batch: PlacedBatch) -> Tensor:
    """Return the scores (G, n, n) of all positions at the heading of the pseudo-pose."""
    satellite = network.encode_satellite(batch.satellite)
    ground = network.encode_ground(batch.ground, CameraInput(batch.K, batch.T_base_camera))
    volume = network.volume(ground, batch.pose[:, 2:], _chosen(satellite.fine, batch.crop))
    return volume[:, 0]


def refinement_loss(residual: Residual, truth: Tensor, unit: Tensor) -> Tensor:
    """Return the loss of the refinement. The likelihood teaches mean and covariance, but the mean
    slowly where the covariance is large: its error (in `unit`) is added.
    """
    error = ((residual.mean - truth) / unit).abs().sum(dim=1)
    constant = unit.log().sum()
    return (error + residual.negative_log_likelihood(truth) - constant).mean()


def _chosen(spectrum: SatelliteSpectrum, crop: Tensor) -> SatelliteSpectrum:
    return SatelliteSpectrum(spectrum.features[crop], spectrum.energy[crop], spectrum.side)


def _cells(pose: Tensor, side: int, cell_m: float) -> tuple[Tensor, Tensor]:
    """Fractional row and column (B,) of the poses in a score map `side` cells wide."""
    middle = (side - 1) / 2.0
    return middle - pose[:, 1] / cell_m, middle + pose[:, 0] / cell_m
