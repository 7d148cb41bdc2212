# SPDX-License-Identifier: Apache-2.0
"""Batches of samples: none that show the same place, the same ones for the same seed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

from training.data.sample import PairDataset


class DistantBatchSampler(Sampler[list[int]]):
    """Batches of indices for a DataLoader's `batch_sampler`: each sample at most once an epoch.

    batch_size  samples of a batch, on each rank
    spacing_m   least distance between two labels of a batch, so that no crop shows the place of
                another pair (satellite tiles know themselves what they share)
    per_group   so many samples of each drive in a batch, so that style alone does not tell them
                apart; None: whichever
    rank, ranks which share of the batches this process takes; leave it to the loader where that
                deals out batches itself (accelerate does)

    The order follows from `seed` and the epoch alone. `set_epoch(epoch, start)` goes to batch
    `start` of an epoch: what was interrupted goes on where it was. An epoch leaves out samples
    that find no partners; another epoch shuffles anew.
    Raises ValueError when a drive has no `per_group` samples that lie apart, or when no batch
    can be made.
    """

    drop_last = True

    def __init__(
        self,
        dataset: PairDataset,
        batch_size: int,
        spacing_m: float,
        *,
        per_group: int | None = None,
        seed: int = 0,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        if batch_size < 1 or batch_size % (per_group or 1):
            raise ValueError(f"a batch of {batch_size} has no room for {per_group} of each drive")
        if not 0 <= rank < ranks:
            raise ValueError(f"rank must lie in 0..{ranks - 1}, got {rank}")
        self.batch_size = batch_size
        self._dataset = dataset
        self._spacing_m = spacing_m
        self._per_group = per_group
        self._seed = seed
        self._rank, self._ranks = rank, ranks
        self._epoch, self._start = 0, 0
        self._made: tuple[int, list[list[int]]] | None = None

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Go to batch `start`, counted on this rank, of an epoch."""
        self._epoch, self._start = epoch, start

    def __len__(self) -> int:
        """Return batches of the whole epoch on this rank."""
        return len(self._batches()) // self._ranks

    def __iter__(self) -> Iterator[list[int]]:
        whole = len(self) * self._ranks
        yield from self._batches()[self._rank : whole : self._ranks][self._start :]

    def _batches(self) -> list[list[int]]:
        if self._made is None or self._made[0] != self._epoch:
            self._made = self._epoch, list(self._make(self._epoch))
        if not self._made[1]:
            raise ValueError(
                f"{len(self._dataset)} samples make no batch of {self.batch_size} that lie "
                f"{self._spacing_m} m apart"
            )
        return self._made[1]

    def _make(self, epoch: int) -> Iterator[list[int]]:
        rng = np.random.default_rng([self._seed, epoch])
        order = rng.permutation(len(self._dataset)).tolist()
        if self._per_group is None:
            yield from self._gather([[index] for index in order], self.batch_size, False)
            return
        drives: dict[int, list[list[int]]] = {}
        for index in order:
            drives.setdefault(self._dataset.group(index), []).append([index])
        parts: list[list[int]] = []
        for drive in sorted(drives):
            made = list(self._gather(drives[drive], self._per_group, False))
            if not made:
                raise ValueError(
                    f"a drive of {len(drives[drive])} frames has no {self._per_group} that lie "
                    f"{self._spacing_m} m apart"
                )
            parts += made
        shuffled = [parts[i] for i in rng.permutation(len(parts))]
        yield from self._gather(shuffled, self.batch_size, True)

    def _gather(
        self, parts: Sequence[list[int]], size: int, of_other_drives: bool
    ) -> Iterator[list[int]]:
        """Yield full batches, first come first served; what does not fit waits for the next one."""
        pool = deque(parts)
        while pool:
            batch, taken, waiting = list(pool.popleft()), [], []
            while pool and len(batch) < size:
                part = pool.popleft()
                if self._fits(part, batch, of_other_drives):
                    taken.append(part)
                    batch += part
                else:
                    waiting.append(part)
            pool.extendleft(reversed(waiting))
            if len(batch) == size:
                yield batch
            else:
                # The first finds no company in what is left; the others may without it.
                pool.extend(taken)

    def _fits(self, part: list[int], batch: list[int], of_other_drives: bool) -> bool:
        if of_other_drives:
            drive = self._dataset.group(part[0])
            if any(self._dataset.group(index) == drive for index in batch):
                return False
        return all(self._dataset.apart(index, batch, self._spacing_m) for index in part)
