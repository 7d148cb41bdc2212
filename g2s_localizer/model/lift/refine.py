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
from g2s_localizer.model.lift.lift import LiftedColumns, columns_at

_SHIFT = 3
"""Cells to each side that a cell of the view is compared with."""
_PATCH = 4
"""Cells to the side of a patch of the view that is correlated by itself."""
_BREADTH = 1.25
"""Breadth of the view over its length."""
_YAW_UNIT = math.radians(2.0)
"""The network's unit of heading; a cell is its unit of length."""


class Residual(NamedTuple):
    """Residual of a guess, in the guess's own axes: forward (m), left (m), yaw (rad)."""

    mean: Tensor
    """(B, 3)"""
    root: Tensor
    """(B, 3, 3) lower triangular L; the covariance is the inverse of L L^T"""

    @property
    def covariance(self) -> Tensor:
        """Return the covariance (B, 3, 3)."""
        return torch.cholesky_inverse(self.root)

    def negative_log_likelihood(self, truth: Tensor) -> Tensor:
        """Return the negative log-likelihood (B,) of residuals `truth` (B, 3), less a constant."""
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
        for parameter in self.read[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, ground: LiftedColumns, satellite: Tensor, guess: Tensor) -> Residual:
        """Refine guesses (B, 3): x, y (m) from the satellite's centre, yaw.

        ground of G images; satellite (S, C, A, A), rows from north. Guesses are in the order of
        their images, as many of each, and images in that of their satellites.
        """
        inner = self.base[_SHIFT:-_SHIFT, _SHIFT:-_SHIFT]
        # in the vehicle's axes: one view for all guesses of an image
        view, _ = columns_at(ground, inner.expand(len(ground.columns), *inner.shape))
        w2 = view[:, -1:].square()
        weighted = view[:, :-1] * w2
        own = F.avg_pool2d((weighted * view[:, :-1]).sum(dim=1, keepdim=True), _PATCH)
        own = own.repeat_interleave(len(guess) // len(own), dim=0)
        seen = self._beneath(satellite, guess)
        product = patch_correlations(weighted, seen)
        theirs = patch_correlations(w2, seen.square().sum(dim=1, keepdim=True))
        scores = product / (own * theirs + 1e-6).sqrt()
        share = own / (own.mean(dim=(2, 3), keepdim=True) + 1e-6)
        out = self.read(torch.cat([4.0 * scores, share], dim=1))
        root = out.new_zeros(len(out), 3, 3)
        root[:, (1, 2, 2), (0, 0, 1)] = out[:, 6:]
        # within e^4 of a unit, so that one strange pair does not break the training
        root = root + torch.diag_embed(out[:, 3:6].clamp(-4.0, 4.0).exp())
        return Residual(out[:, :3] * self.unit, root / self.unit[:, None])

    def _beneath(self, satellite: Tensor, guess: Tensor) -> Tensor:
        """Return satellite features (B, C, H, W) at the cells of the view and its rim."""
        xy = rotate_xy(self.base, guess[:, 2]) + guess[:, None, None, :2]
        half = satellite.shape[-1] * self.cell_m / 2.0
        grid = torch.stack([xy[..., 0], -xy[..., 1]], dim=-1) / half
        height, width = self.base.shape[:2]
        # the guesses of a satellite one below the other: it need not be copied for each
        grid = grid.view(len(satellite), -1, width, 2)
        seen = F.grid_sample(satellite, grid, mode="bilinear", align_corners=False)
        return seen.unflatten(2, (-1, height)).transpose(1, 2).flatten(0, 1)


def patch_correlations(view: Tensor, seen: Tensor) -> Tensor:
    """Correlate view (G, C, H, W) and seen (B, C, H + 2 _SHIFT, W + 2 _SHIFT), B / G of each image:
    (B, shifts, H / _PATCH, W / _PATCH): each patch of the view times what is seen beneath it at
    every shift, summed over channels, mean over the patch's cells.
    """
    window, shifts, cells = _PATCH + 2 * _SHIFT, 2 * _SHIFT + 1, _PATCH**2
    patches = view.unfold(2, _PATCH, _PATCH).unfold(3, _PATCH, _PATCH)
    windows = seen.unfold(2, window, _PATCH).unfold(3, window, _PATCH)
    images, channels, rows, columns = patches.shape[:4]
    guesses = len(seen) // images
    windows = windows.unflatten(0, (images, guesses))
    # every cell of a patch with every cell of its windows: one product of matrices per patch
    pairs = torch.bmm(
        patches.permute(0, 2, 3, 4, 5, 1).reshape(-1, cells, channels),
        windows.permute(0, 3, 4, 2, 1, 5, 6).reshape(-1, channels, guesses * window**2),
    )
    # a shift (i, j) pairs the cell (u, v) with (u + i, v + j) of the window
    line = guesses * window**2
    shifted = pairs.as_strided(
        (len(pairs), guesses, shifts, shifts, _PATCH, _PATCH),
        (cells * line, window**2, window, 1, _PATCH * line + window, line + 1),
    )
    means = shifted.mean(dim=(4, 5)).view(images, rows, columns, guesses, shifts**2)
    return means.permute(0, 3, 4, 1, 2).flatten(0, 1)


def moved(guess: Tensor, residual: Tensor) -> Tensor:
    """Move the guesses by residuals (B, 3) along their own axes: poses (B, 3)."""
    c, s = torch.cos(guess[:, 2]), torch.sin(guess[:, 2])
    x, y, yaw = residual.unbind(1)
    return guess + torch.stack([c * x - s * y, s * x + c * y, yaw], dim=1)


def lacking(guess: Tensor, pose: Tensor) -> Tensor:
    """Return residuals (B, 3) that move the guesses to the poses."""
    difference = pose - guess
    c, s = torch.cos(guess[:, 2]), torch.sin(guess[:, 2])
    x, y, yaw = difference.unbind(1)
    yaw = torch.remainder(yaw + math.pi, 2.0 * math.pi) - math.pi
    return torch.stack([c * x + s * y, c * y - s * x, yaw], dim=1)
