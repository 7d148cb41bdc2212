# SPDX-License-Identifier: Apache-2.0
"""Masked normalised correlation of overhead views with satellite features, by FFT.

For an overhead view g with weight w placed at offset o on satellite features S (both C channels),

  score(o) = sum(S g w^2) / ( sqrt(sum(S^2 w^2)) * sqrt(sum(g^2 w^2)) ),

sums over channels and cells of the view: the cosine of the two weighted patches, in [-1, 1].
Both sums over S are correlations. With the view zero-padded to the side A of S, the circular
correlation equals the linear one at the offsets where the view lies inside S.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

_EPSILON = 1e-6


class SatelliteSpectrum(NamedTuple):
    """The satellite's side of the correlation, computed once a crop."""

    features: Tensor
    """rfft2 of the features, (S, C, A, A // 2 + 1) complex"""
    energy: Tensor
    """rfft2 of the squared length of the features in each cell, (S, A, A // 2 + 1) complex"""
    side: int
    """A"""

    @property
    def nbytes(self) -> int:
        return self.features.nbytes + self.energy.nbytes


class _RealFFT2(torch.autograd.Function):
    """rfft2 over the last two axes, zero-padded to side x side, with a backward pass that is an
    inverse real transform: torch's own fills up the whole spectrum, at three times the cost.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, side: int) -> Tensor:
        ctx.shape = x.shape
        return torch.fft.rfft2(x, s=(side, side))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        side = gradient.shape[-2]
        # irfft2 counts every column twice, for its mirror image, but those that have none
        weight = gradient.new_full(gradient.shape[-1:], 0.5, dtype=gradient.real.dtype)
        weight[0] = 1.0
        if side % 2 == 0:
            weight[-1] = 1.0
        inverse = torch.fft.irfft2(gradient * weight, s=(side, side), norm="forward")
        return inverse[..., : ctx.shape[-2], : ctx.shape[-1]], None


def _rfft2(x: Tensor, side: int) -> Tensor:
    spectrum: Tensor = _RealFFT2.apply(x, side)
    return spectrum


class _AllPairs(torch.autograd.Function):
    """sum over c of a[i, c] conj(b[j, c]) in every cell: a small product of matrices for each,
    once the channels lie side by side, forward and back.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.shape = a.shape[2:]
        a, b = _cells_first(a), _cells_first(b)
        ctx.save_for_backward(a, b)
        return _cells_last(torch.bmm(a, b.mH), ctx.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        a, b = ctx.saved_tensors
        gradient = _cells_first(gradient)
        return (
            _cells_last(torch.bmm(gradient, b), ctx.shape),
            _cells_last(torch.bmm(gradient.mH, a), ctx.shape),
        )


def _cells_first(x: Tensor) -> Tensor:
    """Permute (B, C, H, W) to (H W, B, C)."""
    return x.flatten(2).permute(2, 0, 1).contiguous()


def _cells_last(x: Tensor, shape: torch.Size) -> Tensor:
    return x.permute(1, 2, 0).contiguous().unflatten(2, shape)


def _all_pairs(a: Tensor, b: Tensor) -> Tensor:
    """Multiply a (S, C, H, W) by b (G, C, H, W), complex, summed over C: (S, G, H, W)."""
    product: Tensor = _AllPairs.apply(a, b)
    return product


def satellite_spectrum(features: Tensor) -> SatelliteSpectrum:
    """Return the spectrum of satellite features (S, C, A, A)."""
    side = features.shape[-1]
    return SatelliteSpectrum(
        _rfft2(features, side), _rfft2(features.square().sum(dim=1), side), side
    )


def correlate(overhead: Tensor, weight: Tensor, satellite: SatelliteSpectrum) -> Tensor:
    """Return scores (G, n, n) of views with their own satellite features, n = A - k + 1.

    overhead (G, C, k, k), weight (G, 1, k, k); the spectrum holds G crops, or one for all views.
    Element [g, i, j] puts the view's top left cell on satellite cell (i, j).
    """
    view, view_weight, norm = _view_spectra(overhead, weight, satellite.side)
    numerator = (satellite.features * view.conj()).sum(dim=1)
    energy = satellite.energy * view_weight.conj()
    return _normalise(numerator, energy, norm[:, None, None], overhead, satellite.side)


def correlate_all(overhead: Tensor, weight: Tensor, satellite: SatelliteSpectrum) -> Tensor:
    """Score every view with every satellite crop (S, G, n, n); arguments as `correlate`."""
    view, view_weight, norm = _view_spectra(overhead, weight, satellite.side)
    numerator = _all_pairs(satellite.features, view)
    energy = satellite.energy[:, None] * view_weight.conj()
    return _normalise(numerator, energy, norm[:, None, None], overhead, satellite.side)


def _view_spectra(overhead: Tensor, weight: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor]:
    if overhead.shape[-1] > side:
        raise ValueError(
            f"an overhead view of {overhead.shape[-1]} cells does not fit into satellite features "
            f"of {side}"
        )
    w2 = weight.square()
    view = _rfft2(overhead * w2, side)
    view_weight = _rfft2(w2[:, 0], side)
    norm = (overhead.square() * w2).sum(dim=(1, 2, 3)).clamp_min(_EPSILON**2).sqrt()
    return view, view_weight, norm


def _normalise(
    numerator: Tensor, energy: Tensor, norm: Tensor, overhead: Tensor, side: int
) -> Tensor:
    n = side - overhead.shape[-1] + 1
    top = torch.fft.irfft2(numerator, s=(side, side))[..., :n, :n]
    below = torch.fft.irfft2(energy, s=(side, side))[..., :n, :n]
    return top / (below.clamp_min(_EPSILON**2).sqrt() * norm)
