# SPDX-License-Identifier: Apache-2.0
"""Train LiftNet from weak labels and odometry by trajectory self-distillation: on simulated
drives, on KITTI's, or on recorded bags.

python -m training.distil --config training/configs/distil/synthetic_lift.yaml
On two cores that others use too: torchrun --nproc-per-node 2 -m training.distil --config ...
On a GPU, where there is one; data.workers processes place the drives and make the batches.

1. Each frame has a noisy label, each pair of neighbouring frames noisy odometry. Together they
   place the whole drive to about half a metre (`training.lift.trajectory`).
2. With these pseudo-poses the network learns as if it were supervised.
3. Its score maps join labels and odometry, and place each drive again, now to the imagery.
4. It learns on, from these.
No exact pose enters; exact poses of the calibration drives set temperature and covariance. Bags
without a truth leave both as the training left them.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed
from accelerate import Accelerator
from torch import nn

from g2s_localizer.estimator.localizer import PRECISIONS
from g2s_localizer.imagery import MissingImagery
from g2s_localizer.model import CameraInput, load_checkpoint, save_checkpoint
from g2s_localizer.model.lift.network import LiftNet
from training.config import reseeded
from training.lift.config import DistilConfig, Phase, load_distil_config
from training.lift.drives import open_sources
from training.lift.loss import registration_loss
from training.lift.placed import PlacedDrive
from training.lift.placing import batches, place_again, placed_drives, stream
from training.lift.pretrained import begin_with_imagenet
from training.loop.devices import chosen_precision
from training.loop.interruption import Interrupted
from training.loop.learner import Learner, Optimisation, open_accelerator
from training.loop.monitor import Monitor
from training.loop.provenance import commit
from training.loop.run_folder import read_state, save_state
from training.loop.steps import run_steps
from training.score.calibration import calibrate
from training.score.scoring import score
from training.settings import add_config_arguments, config_words

_SETTLING_BATCHES = 60


def distil(
    config: DistilConfig, command: str, start: Path | None, resume: bool = False
) -> dict[str, float]:
    """The whole run; returns the figures on the calibration drives, which are not trained on.

    start: a checkpoint of LiftNet to begin with, in place of random weights (ImageNet's where the
    extractor has them); it places the drives before the first phase. resume: go on from the last
    save, to the same weights as without the interruption. Raises Interrupted after a signal,
    FloatingPointError naming the step when a loss is not finite, ValueError for a state of another
    configuration, FileExistsError where `out` or a state beside it is there and `resume` is not
    set, OSError for a full disk or where ImageNet's weights are not installed.
    """
    accelerator = open_accelerator(config.device, config.precision)
    rank, ranks = accelerator.process_index, accelerator.num_processes
    state = _load_state(config, rank, ranks) if resume else {}
    if not resume:
        _refuse_to_replace(config, rank)
    torch.manual_seed(config.seed)
    began = time.monotonic()
    network = _begun(config) if start is None else _started(start, config)
    network.precision = PRECISIONS[chosen_precision(config.precision, accelerator.device)]
    # each process has its own share of the drives: gradients are averaged over all
    sources = open_sources(config, rank, ranks)
    placed = placed_drives(config, sources.training, quiet=rank > 0)
    network = network.to(accelerator.device)
    losses: dict[str, float] = state.get("losses", {})
    trained = start is not None
    for name, phase in (("first", config.first), ("second", config.second)):
        if phase is None or name in losses:
            continue
        here = state if state.get("phase") == name else {}
        if here:
            for one, poses in zip(placed, here["poses"], strict=True):
                one.poses = poses.numpy()
        elif (trained or losses) and config.labels != "exact":
            place_again(
                network,
                placed,
                sources.training,
                config.fuse_every,
                config.data.workers,
                quiet=rank > 0,
            )
        run = _Run(config, command, accelerator, network, placed, losses)
        losses[name] = _fit(run, name, phase, here)
    if rank > 0:
        return {}
    network.precision = torch.float32
    # kept should the calibration fail
    save_checkpoint(Path(config.out), network, {"calibrated": False, "config": asdict(config)})
    dataset = sources.open_calibration()
    figures: dict[str, float] = {}
    if dataset is not None:
        calibrate(network, dataset)
        figures = score(network, dataset, config.data.noise, worst=0).figures()
    provenance = {
        "data": sources.description,
        "labels": _DESCRIPTION[config.labels],
        "command": command,
        "commit": commit(),
        "config": asdict(config),
        "minutes": round((time.monotonic() - began) / 60.0, 1),
        "processes": ranks,
        "torch": torch.__version__,
        "loss": losses,
        "calibration_drives": figures,
    }
    save_checkpoint(Path(config.out), network.to("cpu"), provenance)
    return figures


_DESCRIPTION = {
    "uniform": "weak: poses with uniform noise, and odometry; exact poses set the temperature and "
    "the scale of the covariance on the calibration drives, nothing else",
    "gaussian": "weak: poses with Gaussian noise, and odometry; exact poses set the temperature "
    "and the scale of the covariance on the calibration drives, nothing else",
    "exact": "exact poses: the upper bound, not weakly supervised",
}


@dataclass(frozen=True)
class _Run:
    config: DistilConfig
    command: str
    accelerator: Accelerator
    network: LiftNet
    placed: Sequence[PlacedDrive]
    losses: dict[str, float]
    """of the phases that are over"""


def _fit(run: _Run, name: str, phase: Phase, state: dict[str, Any]) -> float:
    """AdamW with one cycle of the learning rate; the mean loss of the last tenth of the steps."""
    network, config, accelerator = run.network, run.config, run.accelerator
    rank = accelerator.process_index
    parameters = [p for p in network.parameters() if p.requires_grad]
    learner = Learner(
        accelerator,
        network,
        parameters,
        registration_loss,
        Optimisation(phase.learning_rate, 1e-3, "one_cycle", clip_norm=1.0, ema=0.0),
        phase.steps,
    )
    history: list[float] = []
    if state:
        learner.load(state["learner"])
        history = state["history"]
    steps = range(len(history), phase.steps)
    made = batches(config, run.placed, name, phase, steps, rank, accelerator.device)
    taken = (([batch], None) for batch in made)
    seed_of = partial(_seed_of, config.seed, name, rank)
    tensorboard = Path(config.out).with_suffix(".tensorboard")
    with (
        Monitor(tensorboard, name, len(history), phase.steps, rank == 0) as monitor,
        closing(
            run_steps(accelerator, learner, taken, steps, name, seed_of, monitor, run.command)
        ) as done,
    ):
        for step in done:
            history.append(step.update.loss)
            if step.asked or step.number % phase.save_every == 0:
                _save(run, name, learner, history)
    accelerator.free_memory()
    _settle(run, phase)
    network.temperature.copy_(network.log_temperature.detach().exp())
    return float(np.mean(history[-max(1, phase.steps // 10) :]))


def _seed_of(seed: int, name: str, rank: int, step: int) -> int:
    return int(stream(seed, name, step, rank).generate_state(1)[0])


def _settle(run: _Run, phase: Phase) -> None:
    """Batch normalisation's statistics anew, for the final weights and over many batches: the
    running ones are those of the last few, which is a noise that every later image would see.
    """
    network, config, accelerator = run.network, run.config, run.accelerator
    norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches from here on
    steps = range(_SETTLING_BATCHES)
    rank, device = accelerator.process_index, accelerator.device
    made = batches(config, run.placed, "settling", phase, steps, rank, device)
    with torch.no_grad():
        for batch in made:
            network.encode_satellite(batch.satellite)
            network.encode_ground(batch.ground, CameraInput(batch.K, batch.T_base_camera))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    for buffer in network.buffers():
        if buffer.is_floating_point():
            buffer.copy_(accelerator.reduce(buffer, "mean"))


def _save(run: _Run, name: str, learner: Learner, history: list[float]) -> None:
    """The state of this process, and for people the network."""
    network, config = run.network, run.config
    rank, ranks = run.accelerator.process_index, run.accelerator.num_processes
    state = {
        "config": json.dumps(asdict(config)),
        "ranks": ranks,
        "phase": name,
        "losses": run.losses,
        "learner": learner.state(),
        "history": history,
        "poses": [torch.from_numpy(one.poses) for one in run.placed],
    }
    save_state(_state_file(config, rank), state)
    if rank == 0:
        network.temperature.copy_(network.log_temperature.detach().exp())
        kept = Path(config.out).with_name(f"{Path(config.out).stem}_{name}.safetensors")
        save_checkpoint(kept, network, {"step": len(history), "config": asdict(config)})


def _load_state(config: DistilConfig, rank: int, ranks: int) -> dict[str, Any]:
    file = _state_file(config, rank)
    if not file.is_file():
        raise FileNotFoundError(f"nothing to resume: there is no {file}")
    state: dict[str, Any] = read_state(file)
    if (state["config"], state["ranks"]) != (json.dumps(asdict(config)), ranks):
        raise ValueError(f"{file} is of another configuration or number of processes")
    if "learner" not in state:
        raise ValueError(f"{file} is of a former version, which another code goes on with")
    return state


def _refuse_to_replace(config: DistilConfig, rank: int) -> None:
    for file in (Path(config.out), _state_file(config, rank)):
        if file.exists():
            raise FileExistsError(
                f"{file} is of a former training: --resume goes on with it, a new one needs "
                "another `out`"
            )


def _state_file(config: DistilConfig, rank: int) -> Path:
    return Path(config.out).with_suffix(f".state{rank}.pt")


def _begun(config: DistilConfig) -> LiftNet:
    network = LiftNet(config.model)
    begin_with_imagenet(network)
    return network


def _started(path: Path, config: DistilConfig) -> LiftNet:
    network, _ = load_checkpoint(path)
    if not isinstance(network, LiftNet) or network.config != config.model:
        raise ValueError(f"{path}: its network is {network.config}, not {config.model}")
    return network


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument("--init", type=Path, help="checkpoint to begin with")
    parser.add_argument("--resume", action="store_true", help="go on from the last save")
    arguments = parser.parse_args(argv)
    if torch.distributed.is_torchelastic_launched():
        torch.set_num_threads(1)
    command = f"python -m training.distil {config_words(arguments)}"
    if arguments.init:
        command += f" --init {shlex.quote(str(arguments.init))}"
    try:
        config = reseeded(load_distil_config(arguments.config, arguments.set), arguments.seed)
        figures = distil(config, command, arguments.init, arguments.resume)
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        return 130
    except (OSError, ValueError, FloatingPointError, MissingImagery) as error:
        print(f"training: {error}", file=sys.stderr)
        return 1
    for name, value in figures.items():
        print(f"  {name:24} {value:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
