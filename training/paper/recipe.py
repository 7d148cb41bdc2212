# SPDX-License-Identifier: Apache-2.0
"""The paper's recipe: rotation, then translation, each from pairs contrasted with each other."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator

from g2s_localizer.model import Network
from g2s_localizer.model.paper.vgg import VGGUNet
from training.data.batches import DistantBatchSampler
from training.data.sample import Batch, PairDataset
from training.data.selection import Part
from training.loop.loading import endless, listed
from training.loop.monitor import Monitor
from training.loop.recipe import Stage
from training.loop.state_dict import read_state_dict
from training.paper.config import PairsStage, PaperConfig
from training.paper.pseudo_pairs import surroundings
from training.paper.stages import STAGES, Losses, hand_over, stage_losses, trained_parameters
from training.score.validation import FIGURES, LOOKED_AT
from training.sources import Pairs

VGG16_URL = "https://download.pytorch.org/models/vgg16-397923af.pth"


class PaperRecipe:
    """The recipe of Shi et al. as the loop takes it (`training.loop.recipe.Recipe`)."""

    def __init__(self, config: PaperConfig, pairs: Pairs) -> None:
        self._config = config
        self._pairs = pairs
        self.stages = [name for name in STAGES if getattr(config, name) is not None]
        self.description, self.calibration = pairs.description, pairs.calibration
        exact = config.translation is not None and config.translation.loss.supervised > 0
        self.labels = "exact poses in the loss" if exact else "weak: poses as noisy as the prior"

    def start(self, network: Network) -> None:
        """Prepare a new network. Raises FileNotFoundError saying where absent weights come from,
        ValueError where a file holds others.
        """
        if self._config.vgg16:
            _start_from_imagenet(network, Path(self._config.vgg16))

    def begin(self, name: str, network: Network, accelerator: Accelerator, state: Any) -> Stage:
        config, pairs = self._config, self._pairs
        if state is None and name != self.stages[0]:
            hand_over(network)
        options: PairsStage = getattr(config, name)
        losses = stage_losses(name, config, pairs.training, pairs.validation)
        training, validation = pairs.training, pairs.validation
        if name == "rotation":
            training, validation = (surroundings(p, config.model) for p in (training, validation))
        spacing_m, device = config.data.spacing_m, accelerator.device
        rank, ranks = accelerator.process_index, accelerator.num_processes
        sampler = DistantBatchSampler(
            training,
            options.batch,
            spacing_m,
            per_group=options.per_drive,
            seed=config.seed,
            rank=rank,
            ranks=ranks,
        )
        held_out = _held_out(validation, options, spacing_m)

        def mine() -> Iterator[tuple[int, Batch]]:
            for k, batch in listed(validation, held_out[rank::ranks], device):
                yield rank + k * ranks, batch

        def seed_of(step: int) -> int:
            stream = np.random.SeedSequence([config.seed, STAGES.index(name), step, rank])
            return int(stream.generate_state(1)[0])

        looked_at = [index for batch in held_out for index in batch][:LOOKED_AT]
        return Stage(
            options=options,
            steps=options.steps
            or math.ceil((options.epochs or 0) * len(sampler) / options.accumulate),
            parameters=trained_parameters(network, name),
            loss=losses.training,
            batches=lambda position: endless(
                training, sampler, position, config.data.workers, device
            ),
            seed_of=seed_of,
            held_out=mine,
            criterion=losses.criterion,
            show=partial(_show, losses),
            pairs=Part(pairs.validation, looked_at),
            figures=FIGURES if name == "translation" else ("yaw_median_deg",),
        )


def _held_out(dataset: PairDataset, stage: PairsStage, spacing_m: float) -> list[list[int]]:
    """Return the indices of the batches for validation: the same ones for every run."""
    batches = DistantBatchSampler(dataset, stage.batch, spacing_m)
    try:
        return list(islice(batches, stage.validation_batches))
    except ValueError as error:
        raise ValueError(f"held out for validation: {error}; hold out more drives") from error


def _show(losses: Losses, network: Network, batch: Batch, monitor: Monitor, step: int) -> None:
    if losses.scores is not None:
        own = losses.scores(network, batch).diagonal().permute(2, 0, 1)
        monitor.pictures(step, batch.satellite, own, network.config.cell_m, batch.gsd.tolist())
    if losses.errors is not None:
        monitor.figures(step, losses.errors(network, batch))


def _start_from_imagenet(network: Network, file: Path) -> None:
    if not file.exists():
        raise FileNotFoundError(
            f"{file.absolute()} (vgg16 of the configuration) is not there. It holds torchvision's "
            f"ImageNet weights of VGG-16: download {VGG16_URL} to that place, or set "
            'vgg16: "" to start from random weights'
        )
    state = read_state_dict(file).tensors
    for part in network.children():
        if isinstance(part, VGGUNet):
            try:
                part.load_imagenet(state)
            except ValueError as error:
                raise ValueError(f"{file}: {error}; it comes from {VGG16_URL}") from None
