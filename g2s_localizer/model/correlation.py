# SPDX-License-Identifier: Apache-2.0
"""Masked normalised correlation of overhead views with satellite features, by FFT.

For an overhead view g with weight w placed at offset o on satellite features S (both C channels),

  score(o) = sum(S g w^2) / ( sqrt(sum(S^2 w^2)) * sqrt(sum(g^2 w^2)) ),

sums over channels and cells of the view: the cosine of the two weighted patches, in [-1, 1].
Both sums over S are correlations. With the view zero-padded to the side A of S, the circular
correlation equals the linear one at the offsets where the view lies inside S.
"""

from __future__ import annotations

from typing import NamedTuple

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


def satellite_spectrum(features: Tensor) -> SatelliteSpectrum:
    """Spectrum of satellite features (S, C, A, A)."""
    return SatelliteSpectrum(
        torch.fft.rfft2(features),
        torch.fft.rfft2(features.square().sum(dim=1)),
        features.shape[-1],
    )


def correlate(overhead: Tensor, weight: Tensor, satellite: SatelliteSpectrum) -> Tensor:
    """Scores (G, n, n) of views with their own satellite features, n = A - k + 1.

    overhead (G, C, k, k), weight (G, 1, k, k); the spectrum holds G crops, or one for all views.
    Element [g, i, j] puts the view's top left cell on satellite cell (i, j).
    """
    view, view_weight, norm = _view_spectra(overhead, weight, satellite.side)
    numerator = (satellite.features * view.conj()).sum(dim=1)
    energy = satellite.energy * view_weight.conj()
    return _normalise(numerator, energy, norm[:, None, None], overhead, satellite.side)


def correlate_all(overhead: Tensor, weight: Tensor, satellite: SatelliteSpectrum) -> Tensor:
    """Scores (S, G, n, n) of every view with every satellite crop; arguments as `correlate`."""
    view, view_weight, norm = _view_spectra(overhead, weight, satellite.side)
    numerator = torch.einsum("schw,gchw->sghw", satellite.features, view.conj())
    energy = satellite.energy[:, None] * view_weight.conj()
    return _normalise(numerator, energy, norm[:, None, None], overhead, satellite.side)


def _view_spectra(overhead: Tensor, weight: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor]:
    if overhead.shape[-1] > side:
        raise ValueError(
            f"an overhead view of {overhead.shape[-1]} cells does not fit into satellite features "
            f"of {side}"
        )
    w2 = weight.square()
    view = torch.fft.rfft2(overhead * w2, s=(side, side))
    view_weight = torch.fft.rfft2(w2[:, 0], s=(side, side))
    norm = (overhead.square() * w2).sum(dim=(1, 2, 3)).clamp_min(_EPSILON**2).sqrt()
    return view, view_weight, norm


def _normalise(
    numerator: Tensor, energy: Tensor, norm: Tensor, overhead: Tensor, side: int
) -> Tensor:
    n = side - overhead.shape[-1] + 1
    top = torch.fft.irfft2(numerator, s=(side, side))[..., :n, :n]
    below = torch.fft.irfft2(energy, s=(side, side))[..., :n, :n]
    return top / (below.clamp_min(_EPSILON**2).sqrt() * norm)
