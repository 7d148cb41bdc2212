# SPDX-License-Identifier: Apache-2.0
"""Batches in an order that follows from the seed, from any position on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple, TypeVar

import torch
from torch.utils.data import DataLoader

from training.config import StageConfig
from training.datasets.batches import DistantBatchSampler
from training.datasets.sample import Batch, PairDataset, collate
from training.interruption import leave_signals_to_the_parent

T = TypeVar("T")


class Position(NamedTuple):
    """The batch that comes next, counted on this rank."""

    epoch: int
    batch: int


FIRST = Position(0, 0)


def shuffled(
    dataset: PairDataset, stage: StageConfig, spacing_m: float, seed: int, rank: int, ranks: int
) -> DistantBatchSampler:
    """The batches of a stage that this rank trains on."""
    return DistantBatchSampler(
        dataset,
        stage.batch,
        spacing_m,
        per_group=stage.per_drive,
        seed=seed,
        rank=rank,
        ranks=ranks,
    )


def held_out_batches(dataset: PairDataset, stage: StageConfig, spacing_m: float) -> list[list[int]]:
    """Indices of the batches that a stage is validated on: the same ones for every run.

    Raises ValueError when the held-out pairs make no batch.
    """
    batches = DistantBatchSampler(dataset, stage.batch, spacing_m)
    try:
        return list(islice(batches, stage.validation_batches))
    except ValueError as error:
        raise ValueError(f"held out for validation: {error}; hold out more drives") from error


def endless(
    dataset: PairDataset,
    sampler: DistantBatchSampler,
    position: Position,
    workers: int,
    device: torch.device,
) -> Iterator[tuple[Batch, Position]]:
    """Batches on `device` from `position` on, epoch after epoch, with the position after each.

    Raises ValueError when fewer than two pairs of a batch can be read: nothing is left to
    contrast.
    """
    epoch, start = position
    while True:
        sampler.set_epoch(epoch, start)
        for batch in _loaded(dataset, sampler, workers, device):
            start += 1
            yield batch, Position(epoch, start)
        epoch, start = epoch + 1, 0


def listed(
    dataset: PairDataset, batches: Sequence[list[int]], device: torch.device
) -> Iterator[Batch]:
    """The batches of given indices; raises as `endless`."""
    return _loaded(dataset, batches, 0, device)


def in_order(
    function: Callable[[int], T], count: int, workers: int, pin_memory: bool = False
) -> Iterator[T]:
    """function(0) to function(count - 1), by as many processes forked here; 0: by this one."""
    loader = DataLoader(
        _Calls(function, count),  # type: ignore[arg-type]  # torch wants its own class
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=workers,
        pin_memory=pin_memory,
        worker_init_fn=leave_signals_to_the_parent,
        generator=torch.Generator(),
    )
    yield from loader


class _Calls:
    def __init__(self, function: Callable[[int], object], count: int) -> None:
        self._function = function
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> object:
        return self._function(index)


def _as_it_is(made: T) -> T:
    return made


def _loaded(
    dataset: PairDataset,
    batches: DistantBatchSampler | Sequence[list[int]],
    workers: int,
    device: torch.device,
) -> Iterator[Batch]:
    loader = DataLoader(
        dataset,  # type: ignore[arg-type]  # a protocol: torch wants its own class
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        worker_init_fn=leave_signals_to_the_parent,
        # its own stream: the loop's random numbers do not depend on how pairs are read
        generator=torch.Generator(),
    )
    for batch in loader:
        if len(batch) < 2:
            reasons = "; ".join(f"{left.name}: {left.reason}" for left in batch.skipped)
            raise ValueError(f"{len(batch)} pairs of a batch can be read: {reasons}")
        yield batch.to(device, non_blocking=True)
