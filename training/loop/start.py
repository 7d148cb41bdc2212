# SPDX-License-Identifier: Apache-2.0
"""The start of a run: a network, and the state that an earlier one left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from accelerate.utils import set_seed

from g2s_localizer.model import Network, build_network, load_checkpoint
from training.loop.config import TrainingConfig
from training.loop.run_folder import RunFolder


def open_state(
    folder: RunFolder, config: TrainingConfig, processes: int, resume: bool
) -> dict[str, Any]:
    """Return the state to go on from; empty for a new run.

    Raises FileExistsError or FileNotFoundError when `resume` does not fit the folder, ValueError
    naming what the state was made with when it is another configuration.
    """
    if not resume:
        if folder.state_file.exists() or folder.finished.exists():
            raise FileExistsError(
                f"{folder.root} holds a run already: --resume goes on with it, another `out` or "
                f"an empty folder starts anew"
            )
        return {}
    state = folder.load_state()
    before = {**_flat(state["config"]), "processes": state["ranks"]}
    now = {**_flat(asdict(config)), "processes": processes}
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            raise ValueError(
                f"{folder.state_file}: {key} was {before.get(key)}, is {now.get(key)}; "
                f"a run goes on as it began"
            )
    return state


def open_network(config: TrainingConfig, start: Callable[[Network], None]) -> Network:
    """Return the network with random weights that follow from the seed and are completed by
    `start`, or with those of `init_from`.

    Raises ValueError when that file holds another network than the configured one, and what
    `start` raises.
    """
    set_seed(config.seed)
    if not config.init_from:
        network = build_network(config.model)
        start(network)
        return network
    network, _ = load_checkpoint(Path(config.init_from))
    if network.config != config.model:
        raise ValueError(f"{config.init_from}: its network is {network.config}, not {config.model}")
    return network


def _flat(config: dict[str, Any], where: str = "") -> dict[str, Any]:
    """Return a nested configuration as one level of dotted keys."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{where}{key}.")
        else:
            found[where + key] = value
    return found
