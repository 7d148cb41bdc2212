# SPDX-License-Identifier: Apache-2.0
"""The view of a run while it trains: a line of progress, TensorBoard's scalars and pictures."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from training.loop.learner import Update

_MAX_NAMED = 10
_PICTURES = 4


class Monitor:
    """Show one stage, from step `first` on; silent where `show` is false (ranks but the first)."""

    def __init__(self, folder: Path, stage: str, first: int, steps: int, show: bool) -> None:
        self._stage = stage
        self._bar = tqdm(
            desc=stage, initial=first, total=steps, disable=not show, mininterval=5.0,
            dynamic_ncols=True,
        )  # fmt: skip
        # what a crashed run wrote beyond the step it goes on from is hidden
        self._writer = SummaryWriter(str(folder / stage), purge_step=first) if show else None
        self._unreadable = 0
        self._since = time.monotonic()

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        if self._writer is not None:
            self._writer.close()

    def step(self, step: int, update: Update, batches: Sequence[Any]) -> None:
        """One step is done; pairs that were left out are named, the first of them. Images a
        second are those of this process, between two validations.
        """
        now = time.monotonic()
        rate = sum(map(len, batches)) / max(now - self._since, 1e-9)
        self._since = now
        self._bar.update()
        self._bar.set_postfix(loss=f"{update.loss:.3f}", refresh=False)
        for left in (left for batch in batches for left in batch.skipped):
            self._unreadable += 1
            if self._unreadable <= _MAX_NAMED:
                self._say(f"skipped: {left.name}: {left.reason}")
        counts = {"unreadable": self._unreadable, "images_per_second": rate}
        self._scalars(step, {**update._asdict(), **counts})

    def validation(self, step: int, criterion: float, best_step: int) -> None:
        self._scalars(step, {"criterion": criterion})
        best = "the best so far" if best_step == step else f"the best was step {best_step}"
        self._say(f"{self._stage}, step {step}: criterion {criterion:.4f}, {best}")
        self._since = time.monotonic()

    def figures(self, step: int, figures: dict[str, float]) -> None:
        """Errors in metres and degrees, to look at."""
        self._scalars(step, figures)

    def pictures(
        self, step: int, crops: Tensor, scores: Tensor, cell_m: float, gsds: Sequence[float]
    ) -> None:
        """Crops (B, 3, S, S) with the scores (B, n, n) of their own ground images over them; gsds
        are the metres per pixel of each.
        """
        if self._writer is None:
            return
        first = zip(crops[:_PICTURES], scores, gsds, strict=False)
        images = [score_picture(crop, score, round(cell_m / gsd)) for crop, score, gsd in first]
        self._writer.add_images(
            f"{self._stage}/score map", np.stack(images), step, dataformats="NHWC"
        )
        self._writer.flush()

    def _scalars(self, step: int, scalars: dict[str, float]) -> None:
        if self._writer is not None:
            for name, value in scalars.items():
                self._writer.add_scalar(f"{self._stage}/{name}", value, step)

    def _say(self, text: str) -> None:
        if self._writer is not None:
            tqdm.write(text, file=sys.stderr)


def score_picture(crop: Tensor, score: Tensor, pixels: int) -> NDArray[np.uint8]:
    """Crop (3, S, S) uint8 in grey, and in red over its middle the softmax of a score map (n, n)
    whose cells are `pixels` wide: (S, S, 3).
    """
    share = torch.softmax(score.detach().float().flatten().cpu() * 30.0, 0).view(score.shape)
    heat = (share / share.max()).sqrt().repeat_interleave(pixels, 0).repeat_interleave(pixels, 1)
    picture = (crop.cpu().float().mean(dim=0) * 0.6).repeat(3, 1, 1)
    start = [
        (side - covered) // 2 for side, covered in zip(crop.shape[1:], heat.shape, strict=True)
    ]
    window = picture[0, start[0] : start[0] + len(heat), start[1] : start[1] + len(heat)]
    window += heat * (255.0 - window)
    return np.asarray(picture.byte().permute(1, 2, 0))
