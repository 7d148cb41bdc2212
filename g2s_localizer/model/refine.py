# SPDX-License-Identifier: Apache-2.0
"""The refinement: from a place and heading that are nearly right to better ones, and how good.

Correlation compares a rigid view with the satellite cell by cell; its peak is as wide as a cell
and its heading as fine as the step of the search. Here each cell of the view, in the vehicle's
axes, is compared with the satellite's cells around where it should lie, and a small network reads
the pose off all of these comparisons together, with its covariance.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from g2s_localizer.model.grid import rotate_xy
from g2s_localizer.model.lift import LiftedColumns, columns_at

_SHIFT = 3
"""Cells to each side that a cell of the view is compared with."""
_PATCH = 4
"""Cells to the side of a patch of the view that is correlated by itself."""
_BREADTH = 1.25
"""Breadth of the view over its length."""
_YAW_UNIT = math.radians(2.0)
"""The network's unit of heading; a cell is its unit of length."""


class Residual(NamedTuple):
    """What a guess lacks, in the guess's own axes: forward (m), left (m), yaw (rad)."""

    mean: Tensor
    """(B, 3)"""
    root: Tensor
    """(B, 3, 3) lower triangular L; the covariance is the inverse of L L^T"""

    @property
    def covariance(self) -> Tensor:
        """(B, 3, 3)"""
        return torch.cholesky_inverse(self.root)

    def negative_log_likelihood(self, truth: Tensor) -> Tensor:
        """(B,) of Gaussian residuals `truth` (B, 3), but for a constant."""
        whitened = torch.einsum("bij,bi->bj", self.root, truth - self.mean)
        log_determinant = torch.diagonal(self.root, dim1=1, dim2=2).log().sum(dim=1)
        return 0.5 * whitened.square().sum(dim=1) - log_determinant


class PoseRefiner(nn.Module):
    """Lifted columns and satellite features of `features` channels -> Residual of guessed poses.

    The view reaches `reach_m` ahead, in cells of `cell_m`; `width` channels in between.
    """

    base: Tensor
    unit: Tensor

    def __init__(self, features: int, reach_m: float, cell_m: float, width: int) -> None:
        super().__init__()
        self.cell_m = cell_m
        length = 4 * math.ceil(reach_m / cell_m / 4)
        breadth = 4 * math.ceil(_BREADTH * reach_m / cell_m / 4)
        # forward along the rows, left along the columns, with a rim of the shifts all around
        forward = (torch.arange(-_SHIFT, length + _SHIFT) + 0.5) * cell_m
        left = (torch.arange(-_SHIFT, breadth + _SHIFT) + 0.5 - breadth / 2) * cell_m
        base = torch.stack(torch.meshgrid(forward, left, indexing="ij"), dim=-1)
        self.register_buffer("base", base, persistent=False)
        unit = torch.tensor([cell_m, cell_m, _YAW_UNIT])
        self.register_buffer("unit", unit, persistent=False)
        shifts = (2 * _SHIFT + 1) ** 2
        patches = (length // _PATCH) * (breadth // _PATCH)
        self.read = nn.Sequential(
            nn.Conv2d(shifts + 1, 2 * width, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(2 * width, width, 1),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Linear(width * patches, 4 * width),
            nn.ReLU(inplace=True),
            nn.Linear(4 * width, 9),
        )
        # the first answer of an untrained network: the guess is right, to one unit
        nn.init.zeros_(self.read[-1].weight)
        nn.init.zeros_(self.read[-1].bias)

    def forward(self, ground: LiftedColumns, satellite: Tensor, guess: Tensor) -> Residual:
        """satellite (B, C, A, A), rows from north; guess (B, 3): x, y (m) from its centre, yaw."""
        inner = self.base[_SHIFT:-_SHIFT, _SHIFT:-_SHIFT]
        view, _ = columns_at(ground, inner.expand(len(guess), *inner.shape))
        w2 = view[:, -1:].square()
        weighted = view[:, :-1] * w2
        own = F.avg_pool2d((weighted * view[:, :-1]).sum(dim=1, keepdim=True), _PATCH)
        seen = self._beneath(satellite, guess)
        length = seen.square().sum(dim=1, keepdim=True)
        height, width = weighted.shape[-2:]
        scores = []
        for i in range(2 * _SHIFT + 1):
            for j in range(2 * _SHIFT + 1):
                there = (..., slice(i, i + height), slice(j, j + width))
                product = F.avg_pool2d((weighted * seen[there]).sum(dim=1, keepdim=True), _PATCH)
                theirs = F.avg_pool2d(w2 * length[there], _PATCH)
                scores.append(product / (own * theirs + 1e-6).sqrt())
        share = own / (own.mean(dim=(2, 3), keepdim=True) + 1e-6)
        out = self.read(torch.cat([4.0 * torch.cat(scores, dim=1), share], dim=1))
        root = out.new_zeros(len(out), 3, 3)
        root[:, (1, 2, 2), (0, 0, 1)] = out[:, 6:]
        # within e^4 of a unit, so that one strange pair does not break the training
        root = root + torch.diag_embed(out[:, 3:6].clamp(-4.0, 4.0).exp())
        return Residual(out[:, :3] * self.unit, root / self.unit[:, None])

    def _beneath(self, satellite: Tensor, guess: Tensor) -> Tensor:
        """Satellite features (B, C, H, W) at the cells of the view and its rim."""
        xy = rotate_xy(self.base, guess[:, 2]) + guess[:, None, None, :2]
        half = satellite.shape[-1] * self.cell_m / 2.0
        grid = torch.stack([xy[..., 0], -xy[..., 1]], dim=-1) / half
        return F.grid_sample(satellite, grid, mode="bilinear", align_corners=False)


def moved(guess: Tensor, residual: Tensor) -> Tensor:
    """Poses (B, 3): the guesses, moved by residuals (B, 3) along their own axes."""
    c, s = torch.cos(guess[:, 2]), torch.sin(guess[:, 2])
    x, y, yaw = residual.unbind(1)
    return guess + torch.stack([c * x - s * y, s * x + c * y, yaw], dim=1)


def lacking(guess: Tensor, pose: Tensor) -> Tensor:
    """Residuals (B, 3) that move the guesses to the poses."""
    difference = pose - guess
    c, s = torch.cos(guess[:, 2]), torch.sin(guess[:, 2])
    x, y, yaw = difference.unbind(1)
    yaw = torch.remainder(yaw + math.pi, 2.0 * math.pi) - math.pi
    return torch.stack([c * x + s * y, c * y - s * x, yaw], dim=1)
