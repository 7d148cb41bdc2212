# SPDX-License-Identifier: Apache-2.0
"""Our recipe: weak labels and odometry, by trajectory self-distillation.

1. Each frame has a noisy label, each pair of neighbouring frames noisy odometry. Together they
   place the whole drive to about half a metre (`training.lift.trajectory`).
2. With these pseudo-poses the network learns as if it were supervised.
3. Its score maps join labels and odometry, and place each drive again, now to the imagery.
4. It learns on, from these.
No exact pose enters; exact poses of the calibration drives set temperature and covariance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from g2s_localizer.model import CameraInput, Network
from g2s_localizer.model.lift.network import LiftNet
from training.lift.config import CropsStage, LiftConfig
from training.lift.drives import Sources
from training.lift.loss import pose_scores, registration_loss
from training.lift.placed import PlacedBatch, PlacedDrive
from training.lift.placing import place_again, placed_batches, placed_drives, stream
from training.lift.pretrained import begin_with_imagenet
from training.loop.loading import Position
from training.loop.monitor import Monitor
from training.loop.recipe import Stage
from training.score.validation import FIGURES

STAGES = ("first", "second")

_SETTLING_BATCHES = 60
_LABELS = {
    "uniform": "weak: poses with uniform noise, and odometry",
    "gaussian": "weak: poses with Gaussian noise, and odometry",
    "exact": "exact poses: the upper bound, not weakly supervised",
}


class LiftRecipe:
    """Our recipe as the loop takes it (`training.loop.recipe.Recipe`).

    Each rank keeps its own share of the drives in memory.
    """

    def __init__(self, config: LiftConfig, sources: Sources) -> None:
        self._config = config
        self._sources = sources
        self._placed: list[PlacedDrive] = []
        self.stages = [name for name in STAGES if getattr(config, name) is not None]
        self.labels = _LABELS[config.labels]
        self.description, self.calibration = sources.description, sources.calibration

    def start(self, network: Network) -> None:
        """Prepare a new network. Raises OSError where ImageNet's weights are not installed."""
        assert isinstance(network, LiftNet)
        # the order of the figures on record: another one rounds otherwise
        network.to(memory_format=torch.contiguous_format)
        begin_with_imagenet(network)

    def begin(self, name: str, network: Network, accelerator: Accelerator, state: Any) -> Stage:
        assert isinstance(network, LiftNet)
        config, device = self._config, accelerator.device
        options: CropsStage = getattr(config, name)
        rank, ranks = accelerator.process_index, accelerator.num_processes
        mine = self._place(name, network, rank, ranks, state)
        total = options.steps * options.accumulate

        def batches(position: Position) -> Iterator[tuple[PlacedBatch, Position]]:
            left = range(position.batch, total)
            made = placed_batches(config, mine, name, options, left, rank, device)
            for k, batch in zip(left, made, strict=True):
                yield batch, Position(0, k + 1)

        def finish(best: LiftNet) -> None:
            steps = range(_SETTLING_BATCHES)
            made = placed_batches(config, mine, "settling", options, steps, rank, device)
            _settle(best, made, accelerator)

        apart = self._placed[len(mine) :]
        numbers = range(rank, options.validation_batches, ranks)
        # made now: what is wrong with the drives is said before the first step
        seedless = replace(config, seed=0)
        held_out = list(
            zip(
                numbers,
                placed_batches(seedless, apart, "validation", options, numbers, 0, device),
                strict=True,
            )
        )

        return Stage(
            options=options,
            steps=options.steps,
            parameters=list(network.parameters()),
            loss=registration_loss,
            batches=batches,
            seed_of=lambda step: int(stream(config.seed, name, step, rank).generate_state(1)[0]),
            held_out=lambda: held_out,
            criterion=registration_loss,
            show=_show,
            pairs=self.calibration,
            figures=FIGURES,
            state=[torch.from_numpy(one.poses) for one in self._placed],
            ready=_take_temperature,
            finish=finish,
        )

    def _place(
        self, name: str, network: LiftNet, rank: int, ranks: int, state: Any
    ) -> list[PlacedDrive]:
        """Place the drives by labels and odometry; again by score maps of a network that has
        learned something.
        """
        config, sources = self._config, self._sources
        if not sources.validation:
            raise ValueError("held out for validation: no drive; hold out one at least")
        if len(sources.training) < ranks:
            raise ValueError(f"{ranks} processes share {len(sources.training)} drives: use fewer")
        mine = sources.training[rank::ranks]
        drives = [*mine, *sources.validation]
        if not self._placed:
            self._placed = placed_drives(config, drives, quiet=rank > 0)
        learned = bool(config.init_from) or name != self.stages[0]
        if state is not None:
            for one, poses in zip(self._placed, state, strict=True):
                one.poses = poses.numpy()
        elif learned and config.labels != "exact":
            workers = config.data.workers
            place_again(network, self._placed, drives, config.fuse_every, workers, quiet=rank > 0)
        return self._placed[: len(mine)]


def _settle(network: LiftNet, made: Iterator[PlacedBatch], accelerator: Accelerator) -> None:
    """Take batch normalisation's statistics anew, for the final weights and over many batches: the
    running ones are those of the last few, which is a noise that every later image would see.
    """
    norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches from here on
    with torch.no_grad():
        for batch in made:
            network.encode_satellite(batch.satellite)
            network.encode_ground(batch.ground, CameraInput(batch.K, batch.T_base_camera))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    for buffer in network.buffers():
        if buffer.is_floating_point():
            buffer.copy_(accelerator.reduce(buffer, "mean"))
    _take_temperature(network)


def _take_temperature(network: LiftNet) -> None:
    network.temperature.copy_(network.log_temperature.detach().exp())


def _show(network: LiftNet, batch: PlacedBatch, monitor: Monitor, step: int) -> None:
    config, crops = network.config, batch.satellite[batch.crop]
    scores = pose_scores(network, batch)
    monitor.pictures(step, crops, scores, config.cell_m, [config.gsd] * len(crops))
