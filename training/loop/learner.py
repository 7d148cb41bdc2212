# SPDX-License-Identifier: Apache-2.0
"""The weights of a stage and how a step changes them; no files, no data."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import AutocastKwargs, DistributedDataParallelKwargs
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from g2s_localizer.model import Network
from training.loop.config import StageConfig

LossOf = Callable[[Any, Any], Tensor]
"""A network and a batch -> a scalar, or the scores of all pairs."""


def open_accelerator(device: str, precision: str) -> Accelerator:
    """Devices and processes as the launcher has them; device "cpu" leaves GPUs alone.

    The network computes in its own precision where that is safe: accelerate only scales the
    loss of float16. Raises ValueError for float16 without a GPU.
    """
    return Accelerator(
        cpu=device == "cpu" or not torch.cuda.is_available(),
        mixed_precision="fp16" if precision == "fp16" else "no",
        kwargs_handlers=[
            AutocastKwargs(enabled=False),
            # heads that an option leaves out have no gradient
            DistributedDataParallelKwargs(find_unused_parameters=True),
        ],
    )


class Update(NamedTuple):
    loss: float
    """mean over the step's batches on this rank"""
    gradient_norm: float
    """over all ranks, before clipping"""
    learning_rate: float


class Learner:
    """A network in training: AdamW, its schedule, averaged weights, on as many ranks as
    `accelerator` has. The gradient is the mean over batches and ranks.

    network     trained in place; only `parameters` of it
    averaged    a copy that follows it: what is validated and kept
    """

    def __init__(
        self,
        accelerator: Accelerator,
        network: Network,
        parameters: Sequence[nn.Parameter],
        loss_of: LossOf,
        stage: StageConfig,
        steps: int,
    ) -> None:
        self.network = network.train()
        self._accelerator = accelerator
        self._clip_norm = stage.clip_norm or math.inf
        self._parameters = list(parameters)
        # some losses learn the weights of their terms
        self._loss = loss_of if isinstance(loss_of, nn.Module) else nn.Module()
        network.requires_grad_(False)
        for parameter in self._parameters:
            parameter.requires_grad_(True)
        self._parameters += self._loss.parameters()
        optimiser = torch.optim.AdamW(
            self._parameters, lr=stage.learning_rate, weight_decay=stage.weight_decay
        )
        self._schedule = _schedule(optimiser, stage, steps)
        self._average = _averaged(network, stage.ema)
        self._model, self._optimiser = accelerator.prepare(_Loss(network, loss_of), optimiser)

    @property
    def averaged(self) -> Network:
        network = self._average.module
        assert isinstance(network, Network)
        return network

    def update(self, batches: Sequence[Any]) -> Update:
        """One step; batches count alike.

        Raises FloatingPointError, with the weights as they were, when loss or gradient is not
        finite on any rank.
        """
        losses = []
        for last, batch in enumerate(batches, start=1 - len(batches)):
            # ranks exchange gradients with the last batch only
            together = nullcontext() if last == 0 else self._accelerator.no_sync(self._model)
            with together:
                loss = self._model(batch)
                self._accelerator.backward(loss / len(batches))
            losses.append(loss.detach())
        norm = float(self._accelerator.clip_grad_norm_(self._parameters, self._clip_norm))
        self._require_finite(losses, norm)
        self._optimiser.step()
        self._optimiser.zero_grad()
        rate = float(self._schedule.get_last_lr()[0])
        self._schedule.step()
        self._average.update_parameters(self.network)
        return Update(float(torch.stack(losses).mean()), norm, rate)

    def state(self) -> dict[str, Any]:
        """Tensors and plain values: all that going on needs."""
        scaler = self._accelerator.scaler
        return {
            "network": self.network.state_dict(),
            "loss": self._loss.state_dict(),
            "average": self._average.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else {},
        }

    def load(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self._loss.load_state_dict(state["loss"])
        self._average.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        if self._accelerator.scaler is not None:
            self._accelerator.scaler.load_state_dict(state["scaler"])

    def _require_finite(self, losses: Sequence[Tensor], norm: float) -> None:
        # every rank holds the mean gradient by now, so that all of them stop
        values = [float(loss) for loss in losses]
        # with float16 the scaler leaves out a step whose gradient overflows
        overflow = self._accelerator.scaler is not None and all(map(math.isfinite, values))
        if not math.isfinite(norm) and not overflow:
            shown = ", ".join(f"{value:g}" for value in values)
            raise FloatingPointError(f"the loss is {shown} and the norm of its gradient {norm:g}")


class _Loss(nn.Module):
    """The loss as a module, so that DistributedDataParallel sees the forward pass."""

    def __init__(self, network: Network, loss_of: LossOf) -> None:
        super().__init__()
        self.network = network
        self._loss_of = loss_of

    def forward(self, batch: Any) -> Tensor:
        return self._loss_of(self.network, batch)


def sum_over_ranks(accelerator: Accelerator, value: float) -> float:
    """Return the sum of a number over all processes, in each of them."""
    total = torch.tensor(value, dtype=torch.float64, device=accelerator.device)
    return float(accelerator.reduce(total, "sum"))


def _schedule(
    optimiser: torch.optim.Optimizer, stage: StageConfig, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    if stage.schedule == "one_cycle":
        return torch.optim.lr_scheduler.OneCycleLR(
            optimiser, stage.learning_rate, total_steps=steps, pct_start=0.1
        )
    return torch.optim.lr_scheduler.ConstantLR(optimiser, factor=1.0, total_iters=0)


def _averaged(network: Network, decay: float) -> AveragedModel:
    """Return an exponential moving average of weights and buffers that starts fast.

    After n updates the decay is min(decay, (1 + n) / (10 + n)), so that a short run does not
    keep its random beginning. A decay of 0 follows exactly.
    """

    def follow(
        average: tuple[Tensor, ...] | list[Tensor],
        current: tuple[Tensor, ...] | list[Tensor],
        count: Tensor | int,
    ) -> None:
        n = int(count)
        get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))(average, current, count)

    return AveragedModel(network, multi_avg_fn=follow, use_buffers=True)
