# SPDX-License-Identifier: Apache-2.0
"""Train the compact network on simulated drives from weak labels.

python -m training.train --config training/configs/synthetic.yaml [--start CHECKPOINT]
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from g2s_localizer.estimator.localizer import PRECISIONS
from g2s_localizer.model import G2SNet, load_checkpoint, save_checkpoint
from training.calibration import calibrate
from training.config import StageConfig, TrainingConfig, load_config
from training.datasets.batches import DistantBatchSampler
from training.datasets.sample import Batch, PairDataset, collate
from training.datasets.selection import Remembered
from training.datasets.simulated import open_drives, simulated_dataset
from training.evaluate import evaluate, predict
from training.stages import rotation_loss, translation_loss

FRAMES_PER_DRIVE = 4
"""Pairs of a batch that come from one drive."""

SPACING_M = 64.0
"""Least distance between two labels of one drive in a batch: the diagonal of the search window
plus that of the labels' noise."""


def run_stage(
    network: G2SNet,
    parameters: list[Tensor],
    loss_of: Callable[[G2SNet, Batch], Tensor],
    batches: Iterator[Batch],
    stage: StageConfig,
    name: str,
) -> float:
    """Adam with one cycle of the learning rate; the mean loss of the last tenth of the steps.

    Raises FloatingPointError naming the step when the loss is not finite.
    """
    optimiser = torch.optim.AdamW(parameters, lr=stage.learning_rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, stage.learning_rate, total_steps=stage.steps, pct_start=0.1
    )
    network.train()
    history: list[float] = []
    progress = tqdm(range(stage.steps), desc=name, mininterval=10.0)
    for step in progress:
        loss = loss_of(network, next(batches))
        if not math.isfinite(loss.item()):
            raise FloatingPointError(f"{name}: the loss of step {step} is {loss.item()}")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        history.append(loss.item())
        progress.set_postfix(loss=f"{np.mean(history[-50:]):.3f}", refresh=False)
    return float(np.mean(history[-max(1, stage.steps // 10) :]))


def train(config: TrainingConfig, command: str, start_from: Path | None) -> dict[str, float]:
    """The whole run; returns the figures on the calibration drives, which are not trained on.

    start_from: a checkpoint whose weights stage 1 goes on from, in place of stage 0. Raises
    ValueError when its network is not the configured one.
    """
    random.seed(config.seed)
    torch.manual_seed(config.seed)
    start = time.monotonic()

    data = config.data
    dataset = Remembered(_open(config, data.drives))
    held_out = Remembered(_open(config, data.calibration))

    if start_from is None:
        network, rotation = _learn_rotation(config, dataset)
    else:
        network, _ = load_checkpoint(start_from)
        rotation = math.nan
        if network.config != config.model:
            raise ValueError(f"{start_from}: its network is {network.config}, not {config.model}")
    network.precision = PRECISIONS[config.precision]

    translation_parameters = [
        *network.satellite_extractor.parameters(),
        *network.ground_extractor.parameters(),
    ]
    translation = run_stage(
        network,
        translation_parameters,
        translation_loss,
        _batches(config, dataset, config.translation.batch, FRAMES_PER_DRIVE),
        config.translation,
        "translation",
    )

    network.precision = torch.float32
    calibrate(network, held_out)
    figures = evaluate(predict(network, held_out), held_out.truths or [])

    provenance = {
        "data": "synthetic: drives simulated by training.simulate",
        "labels": "weak: poses as noisy as the prior; exact poses set the temperature and the "
        "scale of the covariance on the calibration drives, and nothing else",
        "command": command,
        "config": asdict(config),
        "minutes": round((time.monotonic() - start) / 60.0, 1),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "loss": {"translation": translation} | ({} if start_from else {"rotation": rotation}),
        "calibration_drives": figures,
    }
    save_checkpoint(Path(config.out), network, provenance)
    return figures


def _learn_rotation(config: TrainingConfig, dataset: PairDataset) -> tuple[G2SNet, float]:
    """Stage 0; the network and its last loss. The ground extractor starts as the satellite's:
    both views of a place begin with the same features, as in the paper's shared extractor.
    """
    network = G2SNet(config.model)
    network.precision = PRECISIONS[config.precision]
    parameters = [*network.satellite_extractor.parameters(), *network.rotation.parameters()]
    batches = _batches(config, dataset, config.rotation.batch, 2)
    loss = run_stage(network, parameters, rotation_loss, batches, config.rotation, "rotation")
    network.ground_extractor.load_state_dict(network.satellite_extractor.state_dict())
    return network, loss


def _batches(
    config: TrainingConfig, dataset: PairDataset, size: int, per_drive: int
) -> Iterator[Batch]:
    """Endless batches, epoch after epoch."""
    sampler = DistantBatchSampler(dataset, size, SPACING_M, per_group=per_drive, seed=config.seed)
    for epoch in itertools.count():
        sampler.set_epoch(epoch)
        for indices in sampler:
            yield collate([dataset[i] for i in indices])


def _open(config: TrainingConfig, seeds: dict[str, list[int]]) -> PairDataset:
    data = config.data
    drives = [
        drive
        for difficulty, chosen in seeds.items()
        for drive in open_drives(Path(data.folder), difficulty, chosen, data.frames, data.rate)
    ]
    return simulated_dataset(drives, config.model, data.noise)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="checkpoint that stage 1 goes on from")
    arguments = parser.parse_args(argv)
    config = load_config(arguments.config)
    command = f"python -m training.train --config {arguments.config}"
    if arguments.start:
        command += f" --start {arguments.start}"
    figures = train(config, command, arguments.start)
    print(f"{config.out}: on the calibration drives (synthetic)")
    for name, value in figures.items():
        print(f"  {name:24} {value:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
