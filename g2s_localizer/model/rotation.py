# SPDX-License-Identifier: Apache-2.0
"""Rotation: the residual yaw by correlation of the overhead view at several headings."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class RotationNet(nn.Module):
    """Probability of each of a set of yaw residuals, from the best score each one reaches.

    log p(residual) = log softmax(temperature * max over positions of score). The temperature is
    learned on satellite-only pairs (stage 0) and calibrated after training.
    """

    residuals: Tensor

    def __init__(self, range_deg: float, step_deg: float) -> None:
        super().__init__()
        steps = math.ceil(range_deg / step_deg)
        residuals = torch.arange(-steps, steps + 1) * math.radians(step_deg)
        self.register_buffer("residuals", residuals, persistent=False)
        self.log_temperature = nn.Parameter(torch.tensor(math.log(50.0)))

    def log_probability(self, best_scores: Tensor) -> Tensor:
        """Best scores (B, R) of the R residuals -> log-probabilities (B, R)."""
        return torch.log_softmax(best_scores * self.log_temperature.exp(), dim=1)

    def forward(self, best_scores: Tensor) -> tuple[Tensor, Tensor]:
        """Best scores (B, R) -> residual yaw (B,) in rad and its variance (B,) in rad^2.

        Mean and variance of the distribution; the variance is at least that of the uniform
        distribution over one step.
        """
        probability = self.log_probability(best_scores).exp()
        mean = (probability * self.residuals).sum(dim=1)
        spread = (probability * (self.residuals - mean[:, None]).square()).sum(dim=1)
        step = self.residuals[1] - self.residuals[0]
        return mean, torch.maximum(spread, step.square() / 12.0)
