# SPDX-License-Identifier: Apache-2.0
"""Losses, as pure functions of scores. None takes a pose of the vehicle as its target.

The paper's (Shi et al., ECCV 2024) are written with the distance d = 2 - 2 score.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_SHARPNESS = 10.0
"""Factor of every difference of distances in the paper's losses."""


def weak_loss(scores: Tensor) -> Tensor:
    """Return the paper's weakly supervised contrastive loss.

    scores (B, B, n, n): of ground image j on satellite crop i at [i, j]. With the distance
    d = 2 - 2 score and D[i, j] its minimum over the offsets,
    sum over i, j of log(1 + exp(10 (D[i, i] - D[i, j]))) / (B (B - 1)):
    the right pair must match better somewhere than any wrong one. That the vehicle stands
    somewhere in its crop is all it uses.
    """
    batch = scores.shape[0]
    distance = _distance(scores).flatten(2).amin(dim=2)
    right = distance.diagonal()
    return F.softplus(_SHARPNESS * (right[:, None] - distance)).sum() / (batch * (batch - 1))


def gps_window_loss(scores: Tensor, cell: Tensor, half_width: Tensor) -> Tensor:
    """Return the paper's loss of a label known to a few metres: the best match must lie near it.

    scores (B, n, n) of the right pairs; cell (B, 2) integer (row, column) of the coarse label;
    half_width (B,) integer. Mean of |min of d over rows row - w to row + w - 1 and columns
    likewise - min of d over the map|. Raises ValueError naming a window that misses the map.
    """
    distance = _distance(scores)
    n = distance.shape[-1]
    gaps = []
    for one, (row, column), w in zip(distance, cell.tolist(), half_width.tolist(), strict=True):
        window = one[max(row - w, 0) : max(row + w, 0), max(column - w, 0) : max(column + w, 0)]
        if window.numel() == 0:
            raise ValueError(
                f"the window of {w} cells around ({row}, {column}) misses the map of {n} x {n}"
            )
        gaps.append((window.min() - one.min()).abs())
    return torch.stack(gaps).mean()


def dense_triplet_loss(scores: Tensor, cell: Tensor) -> Tensor:
    """Return the paper's supervised loss: the true cell against every other one.

    scores (B, H, W) of the right pairs, cell (B, 2) integer (row, column) of the true position:
    sum over cells of log(1 + exp(10 (d_true - d))) / (B (H W - 1)). Raises ValueError for a cell
    outside the map.
    """
    distance = _distance(scores)
    batch, height, width = distance.shape
    row, column = cell.unbind(dim=1)
    if bool(((cell < 0) | (cell >= cell.new_tensor([height, width]))).any()):
        raise ValueError(f"cells {cell.tolist()} must lie in the map of {height} x {width}")
    true = distance[torch.arange(batch, device=scores.device), row, column]
    terms = F.softplus(_SHARPNESS * (true[:, None, None] - distance))
    return terms.sum() / (batch * (height * width - 1))


def pose_loss(delta: Tensor, target: Tensor, triplet: Tensor, coefficients: Tensor) -> Tensor:
    """Return the loss of stage 0: pose regression and dense triplet, by learned weights.

    delta, target (B, 3): shift along u and v and heading, normalised; triplet: its
    `dense_triplet_loss`; coefficients (2,) = (a, b), starting from (-5, -3):
    exp(-a) mean(|du| + |dv| + |dheading|) + exp(-b) triplet + a + b.
    """
    a, b = coefficients
    pose = (delta - target).abs().sum(dim=1).mean()
    return torch.exp(-a) * pose + torch.exp(-b) * triplet + a + b


def yaw_loss(log_probability: Tensor, residuals: Tensor, yaw: Tensor) -> Tensor:
    """Return cross entropy of the yaw residuals (R,), evenly spaced, with residuals `yaw` (B,) in
    rad that were made, not measured; a target between two of them is shared by both.
    """
    step = residuals[1] - residuals[0]
    target = (1.0 - (yaw[:, None] - residuals).abs() / step).clamp_min(0.0)
    return -(target * log_probability).sum(dim=1).mean()


def position_loss(scores: Tensor, cell: Tensor, temperature: float) -> Tensor:
    """Return cross entropy of scores (B, n, n) with fractional cells (row, column) (B, 2)."""
    n = scores.shape[-1]
    index = torch.arange(n, device=scores.device)
    near = (1.0 - (cell[..., None] - index).abs()).clamp_min(0.0)
    target = near[:, 0, :, None] * near[:, 1, None, :]
    log_probability = torch.log_softmax(scores.flatten(1) * temperature, dim=1)
    return -(target.flatten(1) * log_probability).sum(dim=1).mean()


def _distance(scores: Tensor) -> Tensor:
    return 2.0 - 2.0 * scores
