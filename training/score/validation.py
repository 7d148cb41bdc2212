# SPDX-License-Identifier: Apache-2.0
"""Validation of a stage on held-out data: the criterion that decides, and errors to look at."""

from __future__ import annotations

import math

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed

from g2s_localizer.model import Network
from training.data.selection import Part
from training.loop.learner import sum_over_ranks
from training.loop.monitor import Monitor
from training.loop.recipe import Stage
from training.score.metrics import summarise, vehicle_errors
from training.score.predict import Prediction, predict

FIGURES = ("median_m", "lateral_within_1m", "longitudinal_within_1m", "yaw_median_deg")
LOOKED_AT = 32
"""Held-out pairs whose errors are shown."""


def criterion(
    accelerator: Accelerator, network: Network, stage: Stage, monitor: Monitor, step: int
) -> float:
    """Return the mean of the criterion over the held-out batches of all ranks."""
    network.eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for number, batch in stage.held_out():
            count += 1
            # the same random numbers at every validation, on however many ranks
            set_seed(number)
            total += float(stage.criterion(network, batch))
            if number == 0:
                set_seed(number)
                stage.show(network, batch, monitor, step)
    read = sum_over_ranks(accelerator, count)
    if not read:
        raise ValueError("none of the batches for validation can be read")
    return sum_over_ranks(accelerator, total) / read


def errors(network: Network, stage: Stage) -> dict[str, float]:
    """Return errors of the ground images' poses in metres and degrees, of some held-out pairs;
    nothing where nobody knows their poses. They are shown and decide nothing.
    """
    if stage.pairs is None or stage.pairs.truths is None:
        return {}
    chosen = Part.spread(stage.pairs, LOOKED_AT)
    assert chosen.truths is not None
    found = [each for each in predict(network, chosen) if isinstance(each, Prediction)]
    truths = [chosen.truths[each.index] for each in found]
    against = vehicle_errors([each.pose for each in found], truths)
    figures = summarise(against, against[:, 0] * math.nan)
    return {name: figures[name] for name in stage.figures}
