# SPDX-License-Identifier: Apache-2.0
"""The score map: log-probability of the vehicle's position over the cells of a crop."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mode:
    """A peak of the score map and the probability around it."""

    xy: Tensor
    """(2,) mean position within the peak's window, metres east and north of the crop's centre"""
    covariance: Tensor
    """(2, 2) covariance within the window (m^2), with the variance inside one cell"""
    mass: float
    """probability within the window"""
    cell: tuple[int, int]
    """row and column of the peak"""
    border_cells: int
    """cells between the peak and the nearest edge of the map"""


@dataclass(frozen=True)
class ScoreMap:
    """log_probability (H, W), row 0 = north, normalised over the map; cell_m metres a cell.

    The centre of the map is the centre of the crop.
    """

    log_probability: Tensor
    cell_m: float

    @classmethod
    def from_scores(cls, scores: Tensor, temperature: float | Tensor, cell_m: float) -> ScoreMap:
        """Return the softmax of scores (H, W) times the temperature."""
        logits = scores.float() * temperature
        return cls(torch.log_softmax(logits.flatten(), 0).view_as(logits), cell_m)

    def cell_xy(self) -> Tensor:
        """Return (H, W, 2) centres of the cells, metres east and north of the crop's centre."""
        rows, columns = self.log_probability.shape
        device = self.log_probability.device
        north = ((rows - 1) / 2.0 - torch.arange(rows, device=device)) * self.cell_m
        east = (torch.arange(columns, device=device) - (columns - 1) / 2.0) * self.cell_m
        grid = torch.meshgrid(north, east, indexing="ij")
        return torch.stack([grid[1], grid[0]], dim=-1)

    def arg_max_xy(self) -> Tensor:
        """Return (2,) centre of the likeliest cell, metres east and north of the crop's centre."""
        return self.cell_xy().view(-1, 2)[self.log_probability.argmax()]

    @property
    def entropy(self) -> float:
        """Return the entropy over that of the uniform map: 0 for certainty, 1 for a flat map."""
        p = self.log_probability.exp()
        nats = -(p * self.log_probability).sum().item()
        return nats / math.log(self.log_probability.numel())

    def modes(self, count: int, radius_m: float) -> list[Mode]:
        """Return the `count` highest peaks, the one with most mass first, no two windows
        overlapping.

        The window of a peak is the disc of `radius_m` around its highest cell. Fewer are
        returned when the windows fill the map.
        """
        remaining = self.log_probability.clone()
        probability, xy = self.log_probability.exp(), self.cell_xy()
        rows, columns = remaining.shape
        found = []
        for _ in range(count):
            peak = int(remaining.argmax())
            if not math.isfinite(remaining.view(-1)[peak].item()):
                break
            row, column = divmod(peak, columns)
            distance = (xy - xy[row, column]).square().sum(-1).sqrt()
            window = torch.where(distance <= radius_m, probability, 0.0)
            mean, covariance = _moments(window, xy, self.cell_m)
            border = min(row, column, rows - 1 - row, columns - 1 - column)
            found.append(Mode(mean, covariance, window.sum().item(), (row, column), border))
            remaining[distance <= 2.0 * radius_m] = -math.inf
        return sorted(found, key=lambda mode: mode.mass, reverse=True)


def _moments(weight: Tensor, xy: Tensor, cell_m: float) -> tuple[Tensor, Tensor]:
    total = weight.sum().clamp_min(torch.finfo(weight.dtype).tiny)
    mean = (weight[..., None] * xy).sum(dim=(0, 1)) / total
    centred = xy - mean
    covariance = torch.einsum("hw,hwi,hwj->ij", weight, centred, centred) / total
    return mean, covariance + torch.eye(2, device=xy.device) * cell_m**2 / 12.0
