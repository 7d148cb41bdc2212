# SPDX-License-Identifier: Apache-2.0
"""The two stages of training, each one optimisation step as a function of a batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from g2s_localizer.model import G2SNet
from g2s_localizer.model.correlation import correlate, correlate_all
from g2s_localizer.model.network import feature_intrinsics
from g2s_localizer.model.projection import (
    ground_to_overhead,
    overhead_xy,
    rotate_xy,
    turn_overhead,
)
from training.config import LossConfig, TrainingConfig
from training.datasets.sample import Batch, PairDataset
from training.losses import position_loss, weak_loss, yaw_loss
from training.targets import Targets

STAGES = ("rotation", "translation")
"""In the order they are trained."""

_POSITION_TEMPERATURE = 30.0
_WEAK_ALONE = LossConfig()


@dataclass(frozen=True)
class Losses:
    """training   what a stage minimises
    criterion  what tells when to stop and which network to keep; it sees no label but the weak
    scores     (network, batch) -> (B, B, n, n) of all pairs, for pictures; None: there are none
    """

    training: Callable[[G2SNet, Batch], Tensor]
    criterion: Callable[[G2SNet, Batch], Tensor]
    scores: Callable[[G2SNet, Batch], Tensor] | None = None


def stage_losses(name: str, config: TrainingConfig, dataset: PairDataset) -> Losses:
    """Raises ValueError when a term looks at positions that the dataset does not know."""
    if name == "rotation" or config.translation is None:
        return Losses(rotation_loss, rotation_loss)
    terms, targets = config.translation.loss, None
    return Losses(
        partial(translation_loss, terms=terms, targets=targets), translation_loss, pair_scores
    )


def trained_parameters(network: G2SNet, stage: str) -> list[nn.Parameter]:
    """What the stage of that name trains; all else is frozen."""
    other = network.rotation if stage == "rotation" else network.ground_extractor
    return [*network.satellite_extractor.parameters(), *other.parameters()]


def hand_over(network: G2SNet) -> None:
    """From rotation to translation: both views of a place begin with the same features, as in
    the paper's shared extractor.
    """
    network.ground_extractor.load_state_dict(network.satellite_extractor.state_dict())


def rotation_loss(network: G2SNet, batch: Batch) -> Tensor:
    """Stage 0: yaw and position between satellite crops and moved copies of themselves.

    The copy is turned by a known angle within the yaw range, moved within the search window and
    recoloured, its features masked to what the camera would see, so that it stands in for the
    overhead view. Neither ground image nor pose is used.
    """
    config = network.config
    size, device = len(batch.satellite), batch.satellite.device
    yaw = (2 * torch.rand(size, device=device) - 1) * math.radians(config.yaw_range_deg) * 0.9
    offset = (2 * torch.rand(size, 2, device=device) - 1) * config.search_m * 0.9
    crops = recolour(batch.satellite.float())
    copies = recolour(_moved(batch.satellite.float(), yaw, offset, config.gsd))
    features = network.satellite_features(torch.cat([crops, copies]))
    satellite = network.satellite_spectra(features[:size])
    view = F.avg_pool2d(features[size:], 2)
    cells = config.overhead_cells // 2
    heading = torch.rand(size, device=device) * 2 * math.pi
    blank = batch.ground.new_ones(
        (size, 1, config.ground_height // 2, config.ground_width // 2), dtype=torch.float32
    )
    _, weight = ground_to_overhead(
        blank,
        feature_intrinsics(batch.K),
        batch.T_base_camera,
        heading,
        cells,
        config.cell_m * 2,
    )
    best = [
        correlate(turn_overhead(view, residual.expand(size), cells), weight, satellite.coarse).amax(
            dim=(1, 2)
        )
        for residual in network.rotation.residuals
    ]
    log_probability = network.rotation.log_probability(torch.stack(best, dim=1))
    aligned = correlate(turn_overhead(view, yaw, cells), weight, satellite.coarse)
    middle = (aligned.shape[-1] - 1) / 2.0
    coarse_m = config.cell_m * 2
    cell = torch.stack([middle - offset[:, 1] / coarse_m, middle + offset[:, 0] / coarse_m], dim=1)
    return yaw_loss(log_probability, network.rotation.residuals, yaw) + position_loss(
        aligned, cell, _POSITION_TEMPERATURE
    )


def translation_loss(
    network: G2SNet,
    batch: Batch,
    terms: LossConfig = _WEAK_ALONE,
    targets: Targets | None = None,
) -> Tensor:
    """Stage 1: the weighted terms of the loss, at the heading that the rotation net finds.

    Both views are turned together by a random number of quarter turns: there is no north in
    what is learned. `targets` are asked by the terms that look at a position, and by no other.
    """
    batch = quarter_turns(batch)
    scores = pair_scores(network, batch)
    return terms.weak * weak_loss(scores)


def pair_scores(network: G2SNet, batch: Batch) -> Tensor:
    """Scores (B, B, n, n) of ground image j on satellite crop i at [i, j], for north-up crops.

    The heading is that of the rotation net, and no gradient goes through it.
    """
    satellite = network.encode_satellite(batch.satellite)
    ground = network.encode_ground(batch.ground)
    with torch.no_grad():
        scores = network.yaw_scores(ground, batch.K, batch.T_base_camera, batch.yaw, satellite)
        residual = network.rotation.residuals[scores.argmax(dim=1)]
    view, weight = network.overhead(ground, batch.K, batch.T_base_camera, batch.yaw + residual)
    return correlate_all(view, weight, satellite.fine)


def quarter_turns(batch: Batch) -> Batch:
    """The batch with each crop and its label's heading turned by 0, 90, 180 or 270 degrees."""
    turns = torch.randint(4, (len(batch.yaw),)).tolist()
    satellite = torch.stack(
        [torch.rot90(crop, k, (1, 2)) for crop, k in zip(batch.satellite, turns, strict=True)]
    )
    turned = torch.tensor(turns, device=batch.yaw.device) * (math.pi / 2)
    return replace(
        batch, satellite=satellite, yaw=batch.yaw + turned, crop_yaw=batch.crop_yaw - turned
    )


def recolour(images: Tensor) -> Tensor:
    """Images (B, 3, H, W) under another light: channels mixed, blurred or not, noisy.

    The two views of a place share neither colour nor texture; without this the satellite-only
    pairs would be matched by pixels.
    """
    size = len(images)
    mix = torch.eye(3, device=images.device) + 0.4 * torch.randn(size, 3, 3, device=images.device)
    value = torch.einsum("bij,bjhw->bihw", mix, images - 127.0)
    blurred = F.avg_pool2d(value, 5, stride=1, padding=2, count_include_pad=False)
    share = torch.rand(size, 1, 1, 1, device=images.device)
    value = share * blurred + (1 - share) * value
    strength = 20.0 * torch.rand(size, 1, 1, 1, device=images.device)
    return value + strength * torch.randn_like(value)


def _moved(images: Tensor, yaw: Tensor, offset: Tensor, gsd: float) -> Tensor:
    """North-up images (B, 3, S, S) around the point `offset` (B, 2) m east and north of their
    centre, turned so that the copy at xy shows R(yaw) xy + offset; one bilinear resampling.
    """
    side = images.shape[-1]
    xy = rotate_xy(overhead_xy(side, gsd, images.device), yaw) + offset[:, None, None]
    grid = torch.stack([xy[..., 0], -xy[..., 1]], dim=-1) * (2.0 / (side * gsd))
    return F.grid_sample(images, grid, mode="bilinear", align_corners=False)
