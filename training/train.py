# SPDX-License-Identifier: Apache-2.0
"""Train a network from weak labels.

python -m training.train --config training/configs/synthetic.yaml [--resume]
On several GPUs: torchrun --nproc-per-node N -m training.train --config ...
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from g2s_localizer.estimator.localizer import PRECISIONS
from g2s_localizer.model import Network, load_checkpoint
from training.config import StageConfig, TrainingConfig, load_config, reseeded
from training.data.sample import Batch
from training.data.selection import Part
from training.loop.devices import chosen_precision
from training.loop.interruption import Interrupted
from training.loop.learner import Learner, open_accelerator
from training.loop.loading import FIRST, Position, endless, held_out_batches, shuffled
from training.loop.monitor import Monitor
from training.loop.provenance import commit
from training.loop.run_folder import RunFolder
from training.loop.start import open_network, open_state
from training.loop.steps import run_steps
from training.paper.pseudo_pairs import surroundings
from training.paper.stages import STAGES, hand_over, stage_losses, trained_parameters
from training.paper.validation import criterion, errors
from training.score.calibration import MAX_PAIRS, calibrate
from training.score.scoring import score
from training.settings import add_config_arguments, config_words
from training.sources import Pairs, open_pairs

OpenPairs = Callable[[TrainingConfig], Pairs]


@dataclass(frozen=True)
class _Run:
    """What every part of a run needs to know."""

    config: TrainingConfig
    command: str
    folder: RunFolder
    accelerator: Accelerator
    pairs: Pairs


@dataclass(frozen=True)
class Progress:
    """How far a stage has come: steps done, the next batch, and its best validation."""

    step: int = 0
    position: Position = FIRST
    best: float = math.inf
    best_step: int = 0
    stale: int = 0
    """validations since the best one"""


def train(
    config: TrainingConfig, pairs: Pairs, command: str, resume: bool = False
) -> dict[str, float]:
    """The whole run; returns the figures on the calibration pairs, which are not trained on.

    Raises Interrupted after a signal, FloatingPointError naming step and loss when the loss is
    not finite, FileExistsError when `out` holds a run and `resume` is not set, OSError when the
    disk is full. In each case the state of the last save stays whole.
    """
    folder = RunFolder(Path(config.out))
    accelerator = open_accelerator(config.device, config.precision)
    state = open_state(folder, config, accelerator.num_processes, resume)
    network = open_network(config).to(accelerator.device)
    network.precision = PRECISIONS[chosen_precision(config.precision, accelerator.device)]
    run = _Run(config, command, folder, accelerator, pairs)

    stages = [name for name in STAGES if getattr(config, name) is not None]
    for name in stages[stages.index(state.get("stage", stages[0])) :]:
        if name == state.get("stage"):
            learn(run, name, network, state)
        else:
            if name != stages[0]:
                hand_over(network)
            learn(run, name, network, {})

    return _conclude(run, network)


def learn(run: _Run, name: str, network: Network, state: dict[str, Any]) -> None:
    """One stage, from its beginning or from `state`; leaves its best weights in `network`."""
    config, accelerator, pairs = run.config, run.accelerator, run.pairs
    stage: StageConfig = getattr(config, name)
    losses = stage_losses(name, config, pairs.training, pairs.validation)
    training, validation = pairs.training, pairs.validation
    if name == "rotation":
        training, validation = (surroundings(part, config.model) for part in (training, validation))
    spacing_m, rank = config.data.spacing_m, accelerator.process_index
    ranks = accelerator.num_processes
    sampler = shuffled(training, stage, spacing_m, config.seed, rank, ranks)
    held_out = held_out_batches(validation, stage, spacing_m)
    steps = stage.steps or math.ceil((stage.epochs or 0) * len(sampler) / stage.accumulate)
    learner = Learner(
        accelerator, network, trained_parameters(network, name), losses.training, stage, steps
    )
    progress = Progress()
    if state:
        learner.load(state)
        progress = Progress(**{**state["progress"], "position": Position(*state["position"])})

    workers, device = config.data.workers, accelerator.device
    batches = endless(training, sampler, progress.position, workers, device)
    show = accelerator.is_main_process
    taken = (_stretch(batches, stage.accumulate) for _ in count())
    with (
        Monitor(run.folder.tensorboard, name, progress.step, steps, show) as monitor,
        closing(
            run_steps(
                accelerator,
                learner,
                taken,
                range(progress.step, progress.step if _over(stage, progress) else steps),
                name,
                lambda step: _seed_of(config.seed, name, step, rank),
                monitor,
                run.command,
            )
        ) as done,
    ):
        for step in done:
            progress = replace(progress, step=step.number, position=step.place)
            due = progress.step == steps or _divides(stage.validate_every, progress.step)
            if due:
                kept = learner.averaged
                value = criterion(
                    accelerator, kept, losses, validation, held_out, monitor, progress.step
                )
                if show:
                    figures = errors(kept, pairs.validation, held_out, name)
                    monitor.figures(progress.step, figures)
                progress = _judged(run, name, kept, value, progress)
                monitor.validation(progress.step, value, progress.best_step)
            if due or step.asked:
                _save(run, name, learner, progress)
            if _over(stage, progress) and not step.asked:
                break
    accelerator.wait_for_everyone()
    accelerator.free_memory()
    best, _ = load_checkpoint(run.folder.best(name))
    network.load_state_dict(best.state_dict())


def _stretch(
    batches: Iterator[tuple[Batch, Position]], length: int
) -> tuple[list[Batch], Position]:
    """The batches of one step, and the place of the next one."""
    taken = list(islice(batches, length))
    return [batch for batch, _ in taken], taken[-1][1]


def _over(stage: StageConfig, progress: Progress) -> bool:
    """Whether the criterion has not become better for long enough."""
    return 0 < stage.patience <= progress.stale


def _judged(run: _Run, name: str, network: Network, value: float, progress: Progress) -> Progress:
    """The progress after a validation; the network is kept when it is the best so far."""
    if not math.isfinite(value):
        raise FloatingPointError(f"{name}, step {progress.step}: the criterion is {value:g}")
    provenance = {**_provenance(run), "stage": name, "step": progress.step, "criterion": value}
    main = run.accelerator.is_main_process
    if main and run.config.keep_checkpoints:
        kept = run.folder.checkpoint(name, progress.step)
        run.folder.save_network(kept, network, provenance)
    if value >= progress.best:
        return replace(progress, stale=progress.stale + 1)
    if main:
        run.folder.save_network(run.folder.best(name), network, provenance)
    return replace(progress, best=value, best_step=progress.step, stale=0)


def _save(run: _Run, name: str, learner: Learner, progress: Progress) -> None:
    if not run.accelerator.is_main_process:
        return
    provenance = {**_provenance(run), "stage": name, "step": progress.step}
    run.folder.save_network(run.folder.last, learner.averaged, provenance)
    state = {
        "config": asdict(run.config),
        "ranks": run.accelerator.num_processes,
        "stage": name,
        "position": list(progress.position),
        "progress": {k: v for k, v in asdict(progress).items() if k != "position"},
    }
    run.folder.save_state({**state, **learner.state()})


def _conclude(run: _Run, network: Network) -> dict[str, float]:
    """Calibrate and keep the finished network; the figures on the calibration pairs."""
    figures: dict[str, float] = {}
    if run.accelerator.is_main_process:
        network.precision = torch.float32
        if run.pairs.calibration is not None:
            known = Part.spread(run.pairs.calibration, MAX_PAIRS)
            calibrate(network, known)
            figures = score(network, known, run.config.data.noise).figures()
        provenance = {**_provenance(run), "calibration": figures}
        run.folder.save_network(run.folder.finished, network, provenance)
    run.accelerator.wait_for_everyone()
    return figures


def _provenance(run: _Run) -> dict[str, Any]:
    terms = run.config.translation.loss if run.config.translation else None
    exact = terms is not None and terms.supervised > 0
    return {
        "data": run.pairs.description,
        "labels": "exact poses in the loss" if exact else "weak: poses as noisy as the prior",
        "calibration_labels": "exact poses set temperature and covariance scale, nothing else",
        "command": run.command,
        "commit": commit(),
        "config": asdict(run.config),
        "precision": chosen_precision(run.config.precision, run.accelerator.device),
        "processes": run.accelerator.num_processes,
        "torch": torch.__version__,
    }


def _seed_of(seed: int, stage: str, step: int, rank: int) -> int:
    """Every step draws from a stream of its own: going on needs no state of a generator."""
    return int(np.random.SeedSequence([seed, STAGES.index(stage), step, rank]).generate_state(1)[0])


def _divides(every: int, step: int) -> bool:
    return every > 0 and step % every == 0


def run(config: TrainingConfig, open_data: OpenPairs, command: str, resume: bool) -> int:
    """Train, and say in words how it ended, once for all ranks; the exit code."""
    first = os.environ.get("RANK", "0") == "0"
    try:
        figures = train(config, open_data(config), command, resume)
    except Interrupted as stop:
        if first:
            print(stop, file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        print("stopped at once; what was saved before is whole", file=sys.stderr)
        return 130
    except (OSError, ValueError, FloatingPointError) as error:
        print(f"training: {error}", file=sys.stderr)
        return 1
    if first:
        print(f"{config.out}: on the calibration drives")
        for name, value in figures.items():
            print(f"  {name:24} {value:.3f}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument("--resume", action="store_true", help="go on with the run in `out`")
    arguments = parser.parse_args(argv)
    try:
        config = reseeded(load_config(arguments.config, arguments.set), arguments.seed)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    launcher = f"torchrun --nproc-per-node {processes}" if processes > 1 else "python"
    command = f"{launcher} -m training.train {config_words(arguments)}"
    return run(config, open_pairs, command, arguments.resume)


if __name__ == "__main__":
    sys.exit(main())
