# SPDX-License-Identifier: Apache-2.0
"""What a stage is worth on held-out pairs: the criterion that decides, and errors to look at."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed

from g2s_localizer.model import Network
from training.data.sample import PairDataset
from training.data.selection import Part
from training.loop.loading import listed
from training.loop.monitor import Monitor
from training.loop.steps import sum_over_ranks
from training.paper.stages import Losses
from training.score.metrics import summarise, vehicle_errors
from training.score.predict import Prediction, predict

_LOOKED_AT = 32
"""Held-out pairs whose errors are shown."""
_FIGURES = {
    "rotation": ("yaw_median_deg",),
    "translation": (
        "median_m",
        "lateral_within_1m",
        "longitudinal_within_1m",
        "yaw_median_deg",
    ),
}


def criterion(
    accelerator: Accelerator,
    network: Network,
    losses: Losses,
    held_out: PairDataset,
    batches: Sequence[list[int]],
    monitor: Monitor,
    step: int,
) -> float:
    """Return the mean of the criterion over the held-out batches, dealt out to the ranks."""
    rank, ranks = accelerator.process_index, accelerator.num_processes
    network.eval()
    total, count = 0.0, 0
    with torch.no_grad():
        mine = batches[rank::ranks]
        for k, batch in listed(held_out, mine, accelerator.device):
            count += 1
            # the same random numbers at every validation, on however many ranks
            set_seed(rank + k * ranks)
            total += float(losses.criterion(network, batch))
            if rank == k == 0 and losses.scores is not None:
                own = losses.scores(network, batch).diagonal().permute(2, 0, 1)
                monitor.pictures(step, batch, own, network.config.cell_m)
            if rank == k == 0 and losses.errors is not None:
                set_seed(rank)
                monitor.figures(step, losses.errors(network, batch))
    read = sum_over_ranks(accelerator, count)
    if not read:
        raise ValueError(f"none of the {len(batches)} batches for validation can be read")
    return sum_over_ranks(accelerator, total) / read


def errors(
    network: Network, held_out: PairDataset, batches: Sequence[list[int]], stage: str
) -> dict[str, float]:
    """Return errors of the ground images' poses in metres and degrees, of some held-out pairs;
    nothing where nobody knows their poses. They are shown and decide nothing.
    """
    if held_out.truths is None:
        return {}
    chosen = Part(held_out, [index for batch in batches for index in batch][:_LOOKED_AT])
    assert chosen.truths is not None
    found = [each for each in predict(network, chosen) if isinstance(each, Prediction)]
    truths = [chosen.truths[each.index] for each in found]
    against = vehicle_errors([each.pose for each in found], truths)
    figures = summarise(against, against[:, 0] * math.nan)
    return {name: figures[name] for name in _FIGURES[stage]}
