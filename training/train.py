# SPDX-License-Identifier: Apache-2.0
"""Train the compact network on simulated drives from weak labels.

python -m training.train --config training/configs/synthetic.yaml
"""

from __future__ import annotations

import argparse
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
from g2s_localizer.model import G2SNet, save_checkpoint
from training.calibration import calibrate
from training.config import DataConfig, StageConfig, TrainingConfig, load_config
from training.datasets.sample import Batch, distant_batches
from training.datasets.simulated import SimulatedDrive, open_drives
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


def train(config: TrainingConfig, command: str) -> dict[str, float]:
    """The whole run; returns the figures on the calibration drives, which are not trained on."""
    random.seed(config.seed)
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    start = time.monotonic()

    data = config.data
    drives = _open(data, data.drives)
    held_out = _open(data, data.calibration)
    datasets = [
        drive.dataset(config.model, data.noise) for drive in tqdm(drives, desc="reading drives")
    ]

    network = G2SNet(config.model)
    network.precision = PRECISIONS[config.precision]

    rotation_parameters = [
        *network.satellite_extractor.parameters(),
        *network.rotation.parameters(),
    ]
    rotation = run_stage(
        network,
        rotation_parameters,
        rotation_loss,
        distant_batches(datasets, config.rotation.batch // 2, 2, SPACING_M, rng),
        config.rotation,
        "rotation",
    )

    # both views of a place begin with the same features, as in the paper's shared extractor
    network.ground_extractor.load_state_dict(network.satellite_extractor.state_dict())
    translation_parameters = [
        *network.satellite_extractor.parameters(),
        *network.ground_extractor.parameters(),
    ]
    translation = run_stage(
        network,
        translation_parameters,
        translation_loss,
        distant_batches(
            datasets,
            config.translation.batch // FRAMES_PER_DRIVE,
            FRAMES_PER_DRIVE,
            SPACING_M,
            rng,
        ),
        config.translation,
        "translation",
    )

    network.precision = torch.float32
    calibration = [drive.dataset(config.model, data.noise) for drive in held_out]
    truths = [truth for drive in held_out for truth in drive.truths]
    calibrate(network, calibration, truths)
    predictions = [p for dataset in calibration for p in predict(network, dataset)]
    figures = evaluate(predictions, truths)

    provenance = {
        "data": "synthetic: drives simulated by training.simulate",
        "labels": "weak: poses as noisy as the prior; exact poses set the temperature and the "
        "scale of the covariance on the calibration drives, and nothing else",
        "command": command,
        "config": asdict(config),
        "minutes": round((time.monotonic() - start) / 60.0, 1),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "loss": {"rotation": rotation, "translation": translation},
        "calibration_drives": figures,
    }
    save_checkpoint(Path(config.out), network, provenance)
    return figures


def _open(data: DataConfig, seeds: dict[str, list[int]]) -> list[SimulatedDrive]:
    return [
        drive
        for difficulty, chosen in seeds.items()
        for drive in open_drives(Path(data.folder), difficulty, chosen, data.frames, data.rate)
    ]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    arguments = parser.parse_args(argv)
    config = load_config(arguments.config)
    figures = train(config, f"python -m training.train --config {arguments.config}")
    print(f"{config.out}: on the calibration drives (synthetic)")
    for name, value in figures.items():
        print(f"  {name:24} {value:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
