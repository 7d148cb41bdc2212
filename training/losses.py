# SPDX-License-Identifier: Apache-2.0
"""Losses, as pure functions of scores. None takes a pose of the vehicle as its target."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def weak_loss(scores: Tensor) -> Tensor:
    """Weakly supervised contrastive loss of Shi et al., ECCV 2024.

    scores (B, B, n, n): of ground image j on satellite crop i at [i, j]. With the distance
    d = 2 - 2 score and D[i, j] its minimum over the offsets,
    sum over i, j of log(1 + exp(10 (D[j, j] - D[i, j]))) / (B (B - 1)):
    the right crop must match better somewhere than any wrong one. That the vehicle stands
    somewhere in its crop is all it uses.
    """
    batch = scores.shape[0]
    distance = 2.0 - 2.0 * scores.flatten(2).amax(dim=2)
    right = distance.diagonal()
    return F.softplus(10.0 * (right[None, :] - distance)).sum() / (batch * (batch - 1))


def yaw_loss(log_probability: Tensor, residuals: Tensor, yaw: Tensor) -> Tensor:
    """Cross entropy of the yaw residuals (R,), evenly spaced, with residuals `yaw` (B,) in rad
    that were made, not measured; a target between two of them is shared by both.
    """
    step = residuals[1] - residuals[0]
    target = (1.0 - (yaw[:, None] - residuals).abs() / step).clamp_min(0.0)
    return -(target * log_probability).sum(dim=1).mean()


def position_loss(scores: Tensor, cell: Tensor, temperature: float) -> Tensor:
    """Cross entropy of scores (B, n, n) with the fractional cells (B, 2) as (row, column)."""
    n = scores.shape[-1]
    index = torch.arange(n, device=scores.device)
    near = (1.0 - (cell[..., None] - index).abs()).clamp_min(0.0)
    target = near[:, 0, :, None] * near[:, 1, None, :]
    log_probability = torch.log_softmax(scores.flatten(1) * temperature, dim=1)
    return -(target.flatten(1) * log_probability).sum(dim=1).mean()
