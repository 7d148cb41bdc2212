# SPDX-License-Identifier: Apache-2.0
"""Plots of an evaluation: how large errors are, when they occur, what the worst look like."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from training.score.scoring import GATED, NETWORK, PRIOR, Picture, Scores

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def draw_all(folder: Path, scores: Scores, groups: Sequence[int], title: str) -> None:
    """Draw error_cdf.png, error_over_time.png and worst.png in `folder`.

    groups: of each pair, the drive it comes from.
    """
    _draw_cdf(folder / "error_cdf.png", scores, title)
    _draw_over_time(folder / "error_over_time.png", scores, groups, title)
    _draw_worst(folder / "worst.png", scores.worst, title)


def _draw_cdf(file: Path, scores: Scores, title: str) -> None:
    figure, axes = plt.subplots(figsize=(7, 5))
    for name in (NETWORK, GATED, PRIOR):
        errors = scores.methods[name].errors
        distance = np.sort(np.hypot(errors[:, 0], errors[:, 1]))
        if len(distance):
            axes.step(distance, np.arange(1, len(distance) + 1) / len(distance), label=name)
    axes.set(xlabel="position error (m)", ylabel="share of frames", xscale="log", title=title)
    axes.set_xlim(left=0.05)
    axes.grid(alpha=0.3)
    axes.legend()
    _save(figure, file)


def _draw_over_time(file: Path, scores: Scores, groups: Sequence[int], title: str) -> None:
    answers = scores.methods[NETWORK]
    published = np.isin(answers.indices, scores.methods[GATED].indices)
    kinds = ((published, "C0", "published"), (~published, "C3", "refused"))
    drives = np.array([groups[i] for i in answers.indices])
    figure, axes = plt.subplots(3, 1, figsize=(10, 7), sharex=True)
    errors = answers.errors * (1.0, 1.0, 180.0 / np.pi)
    names = ("longitudinal (m)", "lateral (m)", "heading (°)")
    for axis, error, name in zip(axes, errors.T, names, strict=True):
        for chosen, colour, label in kinds:
            axis.plot(answers.indices[chosen], error[chosen], ".", ms=3, color=colour, label=label)
        for border in answers.indices[1:][np.diff(drives) != 0]:
            axis.axvline(border, color="0.7", lw=0.5)
        axis.axhline(0.0, color="0.3", lw=0.5)
        axis.set_ylabel(name)
    axes[0].set_title(title)
    axes[0].legend(loc="upper right")
    axes[-1].set_xlabel("frame, drive after drive")
    _save(figure, file)


def _draw_worst(file: Path, pictures: Sequence[Picture], title: str) -> None:
    columns = 5
    rows = max(1, -(-len(pictures) // columns))
    figure, axes = plt.subplots(rows, columns, figsize=(3 * columns, 3.5 * rows), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, picture in zip(axes.flat, pictures, strict=False):
        half = len(picture.crop) * picture.gsd / 2.0
        axis.imshow(picture.crop, extent=(-half, half, -half, half))
        rows_m, columns_m = np.array(picture.log_probability.shape) * picture.cell_m / 2.0
        heat = np.exp(picture.log_probability - picture.log_probability.max()) ** 0.5
        extent = (-columns_m, columns_m, -rows_m, rows_m)
        axis.imshow(np.ones_like(heat), extent=extent, cmap="autumn", alpha=heat, vmin=1, vmax=2)
        axis.plot(*picture.truth, "+", color="cyan", ms=10, mew=2, label="truth")
        axis.plot(*picture.estimate, "x", color="lime", ms=8, mew=2, label="estimate")
        name = fill(picture.name, 34, max_lines=3)
        axis.set_title(f"{name}\n{picture.error_m:.1f} m", fontsize=7)
    if pictures:
        axes[0, 0].legend(loc="lower left", fontsize=7)
    figure.suptitle(f"The largest errors. {title}", fontsize=10)
    _save(figure, file)


def _save(figure: Figure, file: Path) -> None:
    figure.savefig(file, dpi=100, bbox_inches="tight")
    plt.close(figure)
