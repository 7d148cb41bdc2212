# SPDX-License-Identifier: Apache-2.0
"""The two stages of training, each one optimisation step as a function of a batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from g2s_localizer.model import CameraInput, G2SNet, Network, PaperNet
from g2s_localizer.model.config import COMPACT
from g2s_localizer.model.correlation import correlate_all
from training.data.sample import Batch, PairDataset
from training.loop.learner import LossOf
from training.paper.config import LossConfig, PaperConfig
from training.paper.label_cells import window_half_width
from training.paper.losses import dense_triplet_loss, gps_window_loss, weak_loss
from training.paper.satellite_pairs import (
    PaperRotationLoss,
    paper_rotation_error,
    paper_rotation_errors,
    rotation_errors,
    rotation_loss,
)
from training.paper.targets import Targets, offset_cells

STAGES = ("rotation", "translation")
"""In the order they are trained."""

_WEAK_ALONE = LossConfig()


@dataclass(frozen=True)
class Losses:
    """training   what a stage minimises; a module where it has parameters of its own
    criterion  the same loss of held-out pairs: what tells when to stop and which network to keep.
               It sees exact poses only where the loss does
    scores     (network, batch) -> (B, B, n, n) of all pairs, for pictures; None: there are none
    errors     (network, batch) -> errors of made pairs by their names, to look at; None: there are
               no made pairs
    """

    training: LossOf
    criterion: LossOf
    scores: LossOf | None = None
    errors: Callable[[Any, Batch], dict[str, float]] | None = None


def stage_losses(
    name: str, config: PaperConfig, dataset: PairDataset, held_out: PairDataset
) -> Losses:
    """Return the losses of a stage on the pairs that are trained on and on those held out.

    Raises ValueError when a term looks at positions that one of the datasets does not know.
    """
    if name == "rotation" and config.model.preset == COMPACT:
        return Losses(rotation_loss, rotation_loss, errors=rotation_errors)
    if name == "rotation":
        return Losses(PaperRotationLoss(), paper_rotation_error, errors=paper_rotation_errors)
    assert config.translation is not None
    terms = config.translation.loss
    training, criterion = (
        partial(
            translation_loss,
            terms=terms,
            fixes=Targets.fixes(pairs, terms.gps_error_m, config.seed)
            if terms.gps_window
            else None,
            exact=Targets.exact(pairs) if terms.supervised else None,
        )
        for pairs in (dataset, held_out)
    )
    return Losses(training, criterion, pair_scores)


def trained_parameters(network: Network, stage: str) -> list[nn.Parameter]:
    """Return what the stage of that name trains; all else is frozen."""
    if isinstance(network, PaperNet):
        if stage == "rotation":
            parts: list[nn.Module] = [network.rotation_extractor, network.rotation]
        elif network.config.share:
            parts = [network.translation_extractor]
        else:
            parts = [network.ground_extractor, network.satellite_extractor]
    else:
        assert isinstance(network, G2SNet)
        other = network.rotation if stage == "rotation" else network.ground_extractor
        parts = [network.satellite_extractor, other]
    return [parameter for part in parts for parameter in part.parameters()]


def hand_over(network: Network) -> None:
    """From rotation to translation: in the compact network both views of a place begin with the
    same features. The paper's translation has extractors of its own.
    """
    if isinstance(network, G2SNet):
        network.ground_extractor.load_state_dict(network.satellite_extractor.state_dict())


def translation_loss(
    network: Network,
    batch: Batch,
    terms: LossConfig = _WEAK_ALONE,
    fixes: Targets | None = None,
    exact: Targets | None = None,
) -> Tensor:
    """Stage 1: the weighted terms of the loss, at the heading that the rotation net finds.

    fixes, exact: positions for `terms.gps_window` and `terms.supervised`; no other term looks
    at a position. North-up views are turned together by a random number of quarter turns: there
    is no north in what is learned.
    """
    if network.config.preset == COMPACT:
        batch = quarter_turns(batch)
    scores = pair_scores(network, batch)
    own = scores.diagonal().permute(2, 0, 1)
    loss = scores.new_zeros(())
    if terms.weak > 0:
        loss = loss + terms.weak * weak_loss(scores)
    if terms.gps_window > 0:
        assert fixes is not None
        half_width = window_half_width(batch.gsd * network.config.stride, terms.gps_error_m)
        cell = _cells(network, batch, own, fixes)
        loss = loss + terms.gps_window * gps_window_loss(own, cell, half_width)
    if terms.supervised > 0:
        assert exact is not None
        cell = _cells(network, batch, own, exact)
        loss = loss + terms.supervised * dense_triplet_loss(own, cell)
    return loss


def pair_scores(network: Network, batch: Batch) -> Tensor:
    """Scores (B, B, n, n) of ground image j on satellite crop i at [i, j].

    The heading is that of the rotation net, and no gradient goes through it.
    """
    camera = CameraInput(batch.K, batch.T_base_camera)
    satellite = network.encode_satellite(batch.satellite)
    ground = network.encode_ground(batch.ground, camera)
    with torch.no_grad():
        if isinstance(network, G2SNet):
            tried = network.yaw_scores(ground, camera, batch.yaw, satellite)
            residual = network.rotation.residuals[tried.argmax(dim=1)]
        else:
            residual, _ = network.residual_yaw(ground, camera, batch.yaw, satellite, batch.gsd)
    view, weight = network.overhead(ground, camera, batch.yaw + residual, batch.gsd)
    return correlate_all(view, weight, satellite.fine)


def _cells(network: Network, batch: Batch, own: Tensor, targets: Targets) -> Tensor:
    """(B, 2) integer (row, column) of the targets in score maps `own` (B, n, n)."""
    cell_m = (batch.gsd * network.config.stride)[:, None]
    side = own.shape[-1]
    return offset_cells(targets.offsets(batch), side, cell_m).round().long().clamp(0, side - 1)


def quarter_turns(batch: Batch) -> Batch:
    """Return the batch, each crop and its label's heading turned by 0, 90, 180 or 270 degrees."""
    turns = torch.randint(4, (len(batch.yaw),)).tolist()
    satellite = torch.stack(
        [torch.rot90(crop, k, (1, 2)) for crop, k in zip(batch.satellite, turns, strict=True)]
    )
    turned = torch.tensor(turns, device=batch.yaw.device) * (math.pi / 2)
    return replace(
        batch, satellite=satellite, yaw=batch.yaw + turned, crop_yaw=batch.crop_yaw - turned
    )
