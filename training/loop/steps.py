# SPDX-License-Identifier: Apache-2.0
"""The loop over the steps of a stage, the same for every recipe."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed

from training.loop.interruption import Interrupted, Interruption
from training.loop.learner import Learner, Update
from training.loop.monitor import Monitor

PlaceT = TypeVar("PlaceT")


class Step(NamedTuple, Generic[PlaceT]):
    """A step that is done."""

    number: int
    """counted from 1"""
    update: Update
    place: PlaceT
    """where in the data the next step begins"""
    asked: bool
    """whether any process was asked to stop; the state must be saved then"""


def run_steps(
    accelerator: Accelerator,
    learner: Learner,
    taken: Iterator[tuple[Sequence[Any], PlaceT]],
    steps: range,
    name: str,
    seed_of: Callable[[int], int],
    monitor: Monitor,
    command: str,
) -> Generator[Step[PlaceT], None, None]:
    """Yield each step of a stage when it is done; close it to stop early.

    taken     the batches of a step and where the next one begins, once a step
    steps     steps before this one that are done, up to all of them
    seed_of   the seed of a step, counted from 0: a step draws from a stream of its own, so that
              going on needs no state of a generator
    Raises Interrupted, saying how to go on by `command`, after a step at whose end a process was
    asked to stop, and FloatingPointError naming the step whose loss or gradient is not finite.
    """
    with Interruption() as interruption:
        for step in steps:
            set_seed(seed_of(step))
            batches, place = next(taken)
            try:
                update = learner.update(batches)
            except FloatingPointError as error:
                raise FloatingPointError(
                    f"{name}, step {step + 1}: {error}; what was saved before is whole"
                ) from error
            monitor.step(step + 1, update, batches)
            asked = sum_over_ranks(accelerator, interruption.asked) > 0
            yield Step(step + 1, update, place, asked)
            if asked:
                raise Interrupted(
                    f"stopped after step {step + 1} of {steps.stop} of {name}; go on with\n"
                    f"  {command} --resume"
                )


def sum_over_ranks(accelerator: Accelerator, value: float) -> float:
    """Return the sum of a number over all processes, in each of them."""
    total = torch.tensor(value, dtype=torch.float64, device=accelerator.device)
    return float(accelerator.reduce(total, "sum"))
