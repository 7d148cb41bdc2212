# SPDX-License-Identifier: Apache-2.0
"""Positions beside the weak label: GNSS fixes for the window loss, exact ones for supervision.

A batch holds no pose but its label's; a loss that is allowed to see more is given a Targets.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from g2s_localizer.geometry import Pose2D
from g2s_localizer.model.grid import rotate_xy
from training.data.sample import Batch, PairDataset


class Targets:
    """Offsets of positions from the label, for each sample of a dataset, in map axes."""

    def __init__(self, labels: Sequence[Pose2D], positions: Sequence[Pose2D]) -> None:
        pairs = zip(labels, positions, strict=True)
        offsets = [(position.x - label.x, position.y - label.y) for label, position in pairs]
        self._offsets = torch.tensor(offsets, dtype=torch.float32).reshape(-1, 2)

    @classmethod
    def exact(cls, dataset: PairDataset) -> Targets:
        """Return the true positions. Raises ValueError when nobody knows them."""
        return cls(dataset.labels, _truths(dataset))

    @classmethod
    def fixes(cls, dataset: PairDataset, error_m: float, seed: int) -> Targets:
        """Draw positions of a GNSS receiver: within `error_m` of the truth along each axis, drawn
        once for each sample. Raises ValueError when nobody knows the truth.
        """
        truths = _truths(dataset)
        noise = np.random.default_rng([seed, 11]).uniform(-error_m, error_m, (len(truths), 2))
        return cls(
            dataset.labels,
            [Pose2D(t.x + x, t.y + y, t.yaw) for t, (x, y) in zip(truths, noise, strict=True)],
        )

    def offsets(self, batch: Batch) -> Tensor:
        """Return (B, 2) m from the centre of each crop, along its u axis and to the left of it."""
        device = batch.yaw.device
        in_map = self._offsets[batch.index.cpu()].to(device)
        return rotate_xy(in_map[:, None, None], -batch.crop_yaw)[:, 0, 0]


def offset_cells(offsets: Tensor, side: int, cell_m: Tensor | float) -> Tensor:
    """Convert offsets (B, 2) m to fractional cells (row, column) (B, 2) of a score map `side` wide.

    cell_m: of all, or (B, 1).
    """
    middle = (side - 1) / 2.0
    u, v = (offsets / cell_m).unbind(dim=1)
    return torch.stack([middle - v, middle + u], dim=1)


def _truths(dataset: PairDataset) -> list[Pose2D]:
    if dataset.truths is None:
        raise ValueError("fixes and supervision need a dataset whose true poses are known")
    return dataset.truths
