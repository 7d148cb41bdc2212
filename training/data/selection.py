# SPDX-License-Identifier: Apache-2.0
"""Parts of a dataset, and datasets that are kept in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from training.data.sample import PairDataset, Sample, Unreadable


class Part:
    """The samples of a dataset at `indices`, numbered anew: a PairDataset."""

    def __init__(self, dataset: PairDataset, indices: Sequence[int]) -> None:
        self._dataset = dataset
        self._indices = list(indices)
        labels, truths = dataset.labels, dataset.truths
        self.labels = [labels[i] for i in self._indices]
        self.truths = None if truths is None else [truths[i] for i in self._indices]

    @classmethod
    def share(cls, dataset: PairDataset, share: float, seed: int) -> Part:
        """Return a random share (0..1] of the samples, at least one, in their order."""
        if not 0.0 < share <= 1.0:
            raise ValueError(f"the share of the data must lie in (0, 1], got {share}")
        order = np.random.default_rng(seed).permutation(len(dataset))
        return cls(dataset, sorted(order[: max(1, round(share * len(dataset)))].tolist()))

    @classmethod
    def spread(cls, dataset: PairDataset, most: int) -> Part:
        """Return all samples, or `most` of them that are spread evenly over the dataset's order."""
        count = min(most, len(dataset))
        return cls(
            dataset, np.linspace(0, max(len(dataset) - 1, 0), count).round().astype(int).tolist()
        )

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Sample | Unreadable:
        return replace(self._dataset[self._indices[index]], index=index)

    def name(self, index: int) -> str:
        return self._dataset.name(self._indices[index])

    def group(self, index: int) -> int:
        return self._dataset.group(self._indices[index])

    def apart(self, index: int, others: Sequence[int], spacing_m: float) -> bool:
        chosen = [self._indices[i] for i in others]
        return self._dataset.apart(self._indices[index], chosen, spacing_m)

    def widened(self, pixels: int) -> Part:
        return Part(self._dataset.widened(pixels), self._indices)


class Remembered(Part):
    """The whole dataset, each sample read once by a process and then kept in memory."""

    def __init__(self, dataset: PairDataset) -> None:
        super().__init__(dataset, range(len(dataset)))
        self._kept: dict[int, Sample | Unreadable] = {}

    def widened(self, pixels: int) -> Remembered:
        return Remembered(super().widened(pixels))

    def __getitem__(self, index: int) -> Sample | Unreadable:
        if index not in self._kept:
            self._kept[index] = super().__getitem__(index)
        return self._kept[index]
