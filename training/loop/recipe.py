# SPDX-License-Identifier: Apache-2.0
"""The interface of a recipe to the loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from accelerate import Accelerator
from torch import nn

from g2s_localizer.model import Network
from training.data.sample import PairDataset
from training.loop.config import StageConfig
from training.loop.learner import LossOf
from training.loop.loading import Position
from training.loop.monitor import Monitor


@dataclass(frozen=True)
class Stage:
    """One stage, ready to be trained. A batch has a length (ground images) and names `skipped`
    samples.

    parameters  what is trained; all else is frozen
    loss        what is minimised; a module where it has parameters of its own
    batches     the batches of this rank from a position on, each with the position after it
    seed_of     the seed of a step, counted from 0: a step draws from a stream of its own, so that
                going on needs no state of a generator
    held_out    this rank's batches for validation, with their numbers among those of all ranks
    criterion   the loss of a held-out batch: tells when to stop and which network to keep. It sees
                exact poses only where the loss does
    show        pictures and figures of the first held-out batch
    pairs       held-out pairs whose errors (`figures`) are looked at; None where nobody knows them
    state       beside learner and position, what this rank needs to go on
    ready       sets in a network that is to be kept what follows from its weights
    finish      what is done with the best network when all steps are done
    """

    options: StageConfig
    steps: int
    parameters: list[nn.Parameter]
    loss: LossOf
    batches: Callable[[Position], Iterator[tuple[Any, Position]]]
    seed_of: Callable[[int], int]
    held_out: Callable[[], Iterable[tuple[int, Any]]]
    criterion: LossOf
    show: Callable[[Any, Any, Monitor, int], None]
    pairs: PairDataset | None
    figures: Sequence[str]
    state: Any = None
    ready: Callable[[Any], None] = lambda network: None
    finish: Callable[[Any], None] = lambda network: None


class Recipe(Protocol):
    @property
    def stages(self) -> Sequence[str]:
        """Names of the stages that are trained, in their order."""

    @property
    def labels(self) -> str:
        """Say what the loss saw of the poses, for a checkpoint's provenance."""

    @property
    def description(self) -> str:
        """Describe the data, for a checkpoint's provenance."""

    @property
    def calibration(self) -> PairDataset | None:
        """Pairs with exact poses for temperature and covariance; None where there are none."""

    def start(self, network: Network) -> None:
        """Give a new network the weights that it starts from in place of random ones."""

    def begin(self, name: str, network: Network, accelerator: Accelerator, state: Any) -> Stage:
        """Return a stage; `state` is this rank's when one is gone on with, else None, and
        `network` is then as the stage before left it.
        """
