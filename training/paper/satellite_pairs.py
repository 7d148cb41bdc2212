# SPDX-License-Identifier: Apache-2.0
"""Stage 0: rotation from two views of the same satellite imagery, without any label."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from g2s_localizer.model import CameraInput, G2SNet, PaperNet
from g2s_localizer.model.correlation import correlate, satellite_spectrum
from g2s_localizer.model.grid import rotate_xy
from g2s_localizer.model.paper.network import normalised
from g2s_localizer.model.projection import ground_to_overhead, turn_overhead
from g2s_localizer.model.unet import feature_intrinsics
from training.data.sample import Batch
from training.paper.losses import dense_triplet_loss, pose_loss, position_loss, yaw_loss
from training.paper.pseudo_pairs import motion_range, two_views
from training.paper.targets import offset_cells

_POSITION_TEMPERATURE = 30.0


def rotation_loss(network: G2SNet, batch: Batch) -> Tensor:
    """Return loss of stage 0: yaw and position between two views of the same satellite imagery."""
    log_probability, yaw, scores, cell = own_pairs(network, batch)
    return yaw_loss(log_probability, network.rotation.residuals, yaw) + position_loss(
        scores, cell, _POSITION_TEMPERATURE
    )


def rotation_errors(network: G2SNet, batch: Batch) -> dict[str, float]:
    """Return median errors of pairs as in `rotation_loss`: degrees and, at the true heading, m."""
    log_probability, yaw, scores, cell = own_pairs(network, batch)
    found = network.rotation.residuals[log_probability.argmax(dim=1)]
    return _median_errors(found - yaw, _peaks(scores) - cell, 2 * network.config.cell_m)


def own_pairs(network: G2SNet, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return log-probability (B, R) of the network's headings, the true one (B,); scores (B, n, n)
    of the positions at the true heading, in cells twice as large, and the true cell (B, 2).

    The second view is turned against the first by a known angle within the yaw range, moved within
    the search window and recoloured, its features masked to what the camera would see, so that
    it stands in for the overhead view. Neither ground image nor pose is used. batch: its crops
    as wide as `wide_pixels` says.
    """
    config = network.config
    size, device = len(batch.satellite), batch.satellite.device
    largest_offset, largest_yaw = motion_range(config)
    yaw = (2 * torch.rand(size, device=device) - 1) * largest_yaw
    offset = (2 * torch.rand(size, 2, device=device) - 1) * largest_offset
    views = two_views(batch.satellite.float(), yaw, offset, config)
    features = network.satellite_features(torch.cat([recolour(view) for view in views]))
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
    cell = offset_cells(offset, aligned.shape[-1], config.cell_m * 2)
    return log_probability, yaw, aligned, cell


class PaperRotationLoss(nn.Module):
    """Stage 0 of the paper for a PaperNet, with the two learned weights of its terms.

    One view of the imagery plays the aligned image, its features masked to what the camera
    would see; another, shifted within the prior's range and turned within the yaw range, plays
    the query.
    """

    def __init__(self) -> None:
        super().__init__()
        self.coefficients = nn.Parameter(torch.tensor([-5.0, -3.0]))

    def forward(self, network: PaperNet, batch: Batch) -> Tensor:
        delta, target, scores, cell = paper_pairs(network, batch)
        return pose_loss(delta, target, dense_triplet_loss(scores, cell), self.coefficients)


def paper_rotation_error(network: PaperNet, batch: Batch) -> Tensor:
    """Return the mean of |du| + |dv| + |dheading|, normalised, over pairs made as in
    PaperRotationLoss.
    """
    delta, target, _, _ = paper_pairs(network, batch)
    return (delta - target).abs().sum(dim=1).mean()


def paper_rotation_errors(network: PaperNet, batch: Batch) -> dict[str, float]:
    """Return median errors of pairs made as in PaperRotationLoss: in degrees and m."""
    delta, target, _, _ = paper_pairs(network, batch)
    shift_m, yaw = motion_range(network.config)
    missed = delta - target
    return _median_errors(missed[:, 2] * yaw, missed[:, :2], shift_m)


def paper_pairs(network: PaperNet, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return regressed and true (shift u, shift v, heading), (B, 3) normalised; scores (B, n, n) of
    the positions at the true heading, and the true cell (B, 2).

    A point a of the aligned image lies at R(t) (a + g) in the query, g the shift, t the heading.
    batch: its crops as wide as `wide_pixels` says.
    """
    config, device = network.config, batch.satellite.device
    size = len(batch.satellite)
    target = 2 * torch.rand(size, 3, device=device) - 1
    largest_shift, largest_yaw = motion_range(config)
    yaw = target[:, 2] * largest_yaw
    shift = target[:, :2] * largest_shift
    aligned, query = two_views(batch.satellite.float(), -yaw, -shift, config)
    with network.reduced(device):
        extracted = network.rotation_extractor(torch.cat([aligned, query]) / 255.0, config.level)
    features, confidence = extracted
    queries, straight = normalised(features[size:]), torch.zeros_like(yaw)
    view = normalised(features[:size]), confidence[:size]
    seen = _seen(network, batch)
    delta = network.regress(network.stand_in(*view, seen, straight)[:, :-1], queries)
    delta = delta / delta.new_tensor([1.0, 1.0, largest_yaw])
    turned = network.stand_in(*view, seen, yaw)
    first = (config.satellite_cells - config.overhead_cells) // 2
    middle = slice(first, first + config.overhead_cells)
    kernel = turned[..., middle, middle]
    scores = correlate(kernel[:, :-1], kernel[:, -1:], satellite_spectrum(queries))
    true = rotate_xy(shift[:, None, None], yaw)[:, 0, 0]
    cell = offset_cells(true, scores.shape[-1], config.cell_m).round().long()
    return delta, target, scores, cell


def _seen(network: PaperNet, batch: Batch) -> Tensor:
    """Return (B, 1, A, A): cells of a crop that the camera sees at its centre, heading along u."""
    config = network.config
    if batch.K is None:  # a panorama sees all around
        A = config.satellite_cells
        return torch.ones(len(batch), 1, A, A, device=batch.satellite.device)
    camera = CameraInput(batch.K, batch.T_base_camera)
    width, height = config.ground_width // config.stride, config.ground_height // config.stride
    return network.visibility(camera, torch.zeros_like(batch.yaw), width, height)


def recolour(images: Tensor) -> Tensor:
    """Recolour images (B, 3, H, W) as in another light: channels mixed, blurred or not, noisy.

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


def _peaks(scores: Tensor) -> Tensor:
    """Return (B, 2) row and column of the highest of scores (B, n, n)."""
    peak = scores.flatten(1).argmax(dim=1)
    return torch.stack([peak // scores.shape[-1], peak % scores.shape[-1]], dim=1)


def _median_errors(yaw: Tensor, place: Tensor, unit_m: float) -> dict[str, float]:
    """Return medians of yaw errors (B,) in rad and place errors (B, 2) in units of `unit_m`."""
    return {
        "pair_yaw_median_deg": math.degrees(float(yaw.abs().median())),
        "pair_median_m": unit_m * float(place.norm(dim=1).median()),
    }
