# SPDX-License-Identifier: Apache-2.0
"""What a run starts from: a network, and the state that an earlier one left."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from accelerate.utils import set_seed

from g2s_localizer.model import Network, build_network, load_checkpoint
from g2s_localizer.model.paper.vgg import VGGUNet
from training.config import TrainingConfig, flat
from training.loop.run_folder import RunFolder
from training.loop.state_dict import read_state_dict

VGG16_URL = "https://download.pytorch.org/models/vgg16-397923af.pth"


def open_state(
    folder: RunFolder, config: TrainingConfig, processes: int, resume: bool
) -> dict[str, Any]:
    """The state to go on from; empty for a new run.

    Raises FileExistsError or FileNotFoundError when `resume` does not fit the folder, ValueError
    naming what the state was made with when it is another configuration.
    """
    if not resume:
        if folder.state_file.exists():
            raise FileExistsError(
                f"{folder.root} holds a run already: --resume goes on with it, another `out` or "
                f"an empty folder starts anew"
            )
        return {}
    state = folder.load_state()
    before = {**flat(state["config"]), "processes": state["ranks"]}
    now = {**flat(asdict(config)), "processes": processes}
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            raise ValueError(
                f"{folder.state_file}: {key} was {before.get(key)}, is {now.get(key)}; "
                f"a run goes on as it began"
            )
    return state


def open_network(config: TrainingConfig) -> Network:
    """With random weights that follow from the seed, or those of `init_from` or `vgg16`.

    Raises FileNotFoundError saying where absent weights come from, ValueError when a file holds
    another network than the configured one.
    """
    set_seed(config.seed)
    if config.init_from:
        network, _ = load_checkpoint(Path(config.init_from))
        if network.config != config.model:
            raise ValueError(
                f"{config.init_from}: its network is {network.config}, not {config.model}"
            )
    else:
        network = build_network(config.model)
        if config.vgg16:
            _start_from_imagenet(network, Path(config.vgg16))
    return network


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
