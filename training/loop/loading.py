# SPDX-License-Identifier: Apache-2.0
"""Batches in an order that follows from the seed, from any position on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

import torch
from torch.utils.data import DataLoader

from training.data.batches import DistantBatchSampler
from training.data.files import name_some
from training.data.sample import Batch, PairDataset, Unreadable, collate
from training.loop.interruption import leave_signals_to_the_parent

_LOG = logging.getLogger(__name__)

_MAX_IN_A_ROW = 8
"""Batches that cannot be read, one after another, before the data counts as unusable."""

T = TypeVar("T")


class Position(NamedTuple):
    """The batch that comes next, counted on this rank."""

    epoch: int
    batch: int


FIRST = Position(0, 0)


def endless(
    dataset: PairDataset,
    sampler: DistantBatchSampler,
    position: Position,
    workers: int,
    device: torch.device,
) -> Iterator[tuple[Batch, Position]]:
    """Batches on `device` from `position` on, epoch after epoch, with the position after each.

    One of which fewer than two pairs can be read has nothing to contrast and is passed over: the
    next one names what was skipped in it. Raises ValueError when that happens many times in a row.
    """
    epoch, start = position
    skipped: list[Unreadable] = []
    in_a_row = 0
    while True:
        sampler.set_epoch(epoch, start)
        for batch in _loaded(dataset, sampler, workers, device):
            start += 1
            skipped += batch.skipped
            if len(batch) >= 2:
                complete = replace(batch, skipped=tuple(skipped))
                yield complete.to(device, non_blocking=True), Position(epoch, start)
                skipped, in_a_row = [], 0
            elif (in_a_row := in_a_row + 1) == _MAX_IN_A_ROW:
                raise ValueError(
                    f"{len(batch)} pairs of a batch can be read: {_reasons(skipped)}; so were the "
                    f"{in_a_row - 1} batches before it"
                )
        epoch, start = epoch + 1, 0


def listed(
    dataset: PairDataset, batches: Sequence[list[int]], device: torch.device
) -> Iterator[tuple[int, Batch]]:
    """Yield batches of given indices of which two pairs or more can be read, with their places."""
    for k, batch in enumerate(_loaded(dataset, batches, 0, device)):
        if len(batch) >= 2:
            yield k, batch.to(device, non_blocking=True)
        else:
            _LOG.warning("a batch for validation is skipped: %s", _reasons(batch.skipped))


def _reasons(skipped: Sequence[Unreadable]) -> str:
    return name_some([f"{left.name}: {left.reason}" for left in skipped])


def in_order(
    function: Callable[[int], T], count: int, workers: int, pin_memory: bool = False
) -> Iterator[T]:
    """function(0) to function(count - 1), by as many processes forked here; 0: by this one."""
    loader: DataLoader[T] = DataLoader(
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
    loader: DataLoader[Batch] = DataLoader(
        dataset,  # type: ignore[arg-type]  # a protocol: torch wants its own class
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        worker_init_fn=leave_signals_to_the_parent,
        # its own stream: the loop's random numbers do not depend on how pairs are read
        generator=torch.Generator(),
    )
    yield from loader
