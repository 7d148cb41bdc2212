# SPDX-License-Identifier: Apache-2.0
"""Train a network from weak labels, by the paper's recipe or by ours.

python -m training.train --config training/configs/synthetic.yaml [--resume]
On several GPUs: torchrun --nproc-per-node N -m training.train --config ...
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, set_seed

from g2s_localizer.estimator.config import PRECISIONS
from g2s_localizer.imagery import MissingImagery
from g2s_localizer.model import Network, load_checkpoint
from training.config import load_config, reseeded
from training.data.selection import Part
from training.lift.config import LiftConfig
from training.lift.drives import Sources, open_sources
from training.lift.recipe import LiftRecipe
from training.loop.devices import chosen_precision
from training.loop.interruption import Interrupted, Interruption
from training.loop.learner import Learner, open_accelerator, sum_over_ranks
from training.loop.loading import FIRST, Position
from training.loop.monitor import Monitor
from training.loop.provenance import commit
from training.loop.recipe import Recipe, Stage
from training.loop.run_folder import RunFolder
from training.loop.start import open_network, open_state
from training.paper.config import PaperConfig
from training.paper.recipe import PaperRecipe
from training.score.calibration import MAX_PAIRS, calibrate
from training.score.scoring import score
from training.score.validation import criterion, errors
from training.settings import add_config_arguments, config_words
from training.sources import Pairs, open_pairs

Config = PaperConfig | LiftConfig
Data = Pairs | Sources


def open_data(config: Config) -> Data:
    return open_sources(config) if isinstance(config, LiftConfig) else open_pairs(config)


def open_recipe(config: Config, data: Data) -> Recipe:
    if isinstance(config, LiftConfig):
        assert isinstance(data, Sources)
        return LiftRecipe(config, data)
    assert isinstance(data, Pairs)
    return PaperRecipe(config, data)


@dataclass(frozen=True)
class _Run:
    """Hold what every part of a run needs."""

    config: Config
    command: str
    folder: RunFolder
    accelerator: Accelerator
    recipe: Recipe


@dataclass(frozen=True)
class Progress:
    """Progress of a stage: steps done, the next batch, and its best validation."""

    step: int = 0
    position: Position = FIRST
    best: float = math.inf
    best_step: int = 0
    stale: int = 0
    """validations since the best one"""


def train(config: Config, data: Data, command: str, resume: bool = False) -> dict[str, float]:
    """Do the whole run and return the figures on the calibration pairs, which are not trained on.

    Raises Interrupted after a signal, FloatingPointError naming step and loss when the loss is
    not finite, FileExistsError when `out` holds a run and `resume` is not set, OSError when the
    disk is full. In each case the state of the last save stays whole.
    """
    folder = RunFolder(Path(config.out))
    accelerator = open_accelerator(config.device, config.precision)
    state = open_state(folder, config, accelerator.num_processes, resume)
    recipe = open_recipe(config, data)
    network = open_network(config, recipe.start).to(accelerator.device)
    network.precision = PRECISIONS[chosen_precision(config.precision, accelerator.device)]
    run = _Run(config, command, folder, accelerator, recipe)

    stages = recipe.stages
    for name in stages[stages.index(state.get("stage", stages[0])) :]:
        learn(run, name, network, state if name == state.get("stage") else {})

    return _conclude(run, network)


def learn(run: _Run, name: str, network: Network, state: dict[str, Any]) -> None:
    """Train one stage, from its beginning or from `state`; leave its best weights in `network`."""
    accelerator, rank = run.accelerator, run.accelerator.process_index
    stage = run.recipe.begin(name, network, accelerator, state["recipe"][rank] if state else None)
    options, steps = stage.options, stage.steps
    learner = Learner(accelerator, network, stage.parameters, stage.loss, options, steps)
    progress = Progress()
    if state:
        learner.load(state)
        progress = Progress(**{**state["progress"], "position": Position(*state["position"])})

    batches = stage.batches(progress.position)
    main = accelerator.is_main_process
    with (
        Monitor(run.folder.tensorboard, name, progress.step, steps, main) as monitor,
        Interruption() as interruption,
    ):
        while progress.step < steps and not _over(stage, progress):
            set_seed(stage.seed_of(progress.step))
            taken, position = _stretch(batches, options.accumulate)
            step = progress.step + 1
            try:
                update = learner.update(taken)
            except FloatingPointError as error:
                raise FloatingPointError(
                    f"{name}, step {step}: {error}; what was saved before is whole"
                ) from error
            monitor.step(step, update, taken)
            asked = sum_over_ranks(accelerator, interruption.asked) > 0
            progress = replace(progress, step=step, position=position)
            due = step == steps or _divides(options.validate_every, step)
            if due:
                stage.ready(learner.averaged)
                value = criterion(accelerator, learner.averaged, stage, monitor, step)
                if main:
                    monitor.figures(step, errors(learner.averaged, stage))
                progress = _judged(run, name, learner.averaged, value, progress)
                monitor.validation(step, value, progress.best_step)
            if due or asked or _divides(options.save_every, step):
                _save(run, name, stage, learner, progress)
            if asked:
                raise Interrupted(
                    f"stopped after step {step} of {steps} of {name}; go on with\n"
                    f"  {run.command} --resume"
                )
    accelerator.wait_for_everyone()
    accelerator.free_memory()
    best, _ = load_checkpoint(run.folder.best(name))
    network.load_state_dict(best.state_dict())
    stage.finish(network)


def _stretch(batches: Iterator[tuple[Any, Position]], length: int) -> tuple[list[Any], Position]:
    """Return the batches of one step, and the place of the next one."""
    taken = list(islice(batches, length))
    return [batch for batch, _ in taken], taken[-1][1]


def _over(stage: Stage, progress: Progress) -> bool:
    """Return whether the criterion has not become better for long enough."""
    return 0 < stage.options.patience <= progress.stale


def _divides(every: int, step: int) -> bool:
    return every > 0 and step % every == 0


def _judged(run: _Run, name: str, network: Network, value: float, progress: Progress) -> Progress:
    """Return the progress after a validation; the network is kept when it is the best so far."""
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


def _save(run: _Run, name: str, stage: Stage, learner: Learner, progress: Progress) -> None:
    of_ranks = gather_object([stage.state])
    if not run.accelerator.is_main_process:
        return
    stage.ready(learner.averaged)
    provenance = {**_provenance(run), "stage": name, "step": progress.step}
    run.folder.save_network(run.folder.last, learner.averaged, provenance)
    state = {
        "config": asdict(run.config),
        "ranks": run.accelerator.num_processes,
        "stage": name,
        "recipe": of_ranks,
        "position": list(progress.position),
        "progress": {k: v for k, v in asdict(progress).items() if k != "position"},
    }
    run.folder.save_state({**state, **learner.state()})


def _conclude(run: _Run, network: Network) -> dict[str, float]:
    """Calibrate and keep the finished network; return the figures on the calibration pairs."""
    figures: dict[str, float] = {}
    if run.accelerator.is_main_process:
        network.precision = torch.float32
        if run.recipe.calibration is not None:
            # kept should the calibration fail
            run.folder.save_network(run.folder.last, network, _provenance(run))
            known = Part.spread(run.recipe.calibration, MAX_PAIRS)
            calibrate(network, known)
            figures = score(network, known, run.config.data.noise).figures()
        provenance = {**_provenance(run), "calibration": figures}
        run.folder.save_network(run.folder.finished, network, provenance)
    run.accelerator.wait_for_everyone()
    return figures


def _provenance(run: _Run) -> dict[str, Any]:
    return {
        "data": run.recipe.description,
        "labels": run.recipe.labels,
        "calibration_labels": "exact poses set temperature and covariance scale, nothing else",
        "command": run.command,
        "commit": commit(),
        "config": asdict(run.config),
        "precision": chosen_precision(run.config.precision, run.accelerator.device),
        "processes": run.accelerator.num_processes,
        "torch": torch.__version__,
    }


def run(config: Config, open_data: Callable[[Any], Data], command: str, resume: bool) -> int:
    """Train, say in words how it ended, once for all ranks, and return the exit code."""
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
    except (OSError, ValueError, FloatingPointError, MissingImagery) as error:
        print(f"training: {error}", file=sys.stderr)
        return 1
    if first:
        print(f"{config.out}: on the calibration pairs")
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
    return run(config, open_data, command, arguments.resume)


if __name__ == "__main__":
    sys.exit(main())
