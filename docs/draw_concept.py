# SPDX-License-Identifier: Apache-2.0
"""Draw docs/images/concept.png: from an image and a prior to a pose, or a rejection.

python docs/draw_concept.py [OUT.png]
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Ellipse, Polygon, Rectangle
from numpy.typing import NDArray

OUT = Path(__file__).parent / "images" / "concept.png"

ROAD, GRASS, MARKING, SKY = "#8a8f96", "#a9c48f", "#f4f4f0", "#cfe3f5"
PRIOR, POSE = "#d1495b", "#1d6fa5"


def draw(out: Path) -> None:
    """Write the figure of seven panels."""
    figure, axes = plt.subplots(1, 7, figsize=(16.5, 3.0))
    panels = (_prior, _crop, _lift, _volume, _peak, _covariance, _gate)
    titles = ("prior", "crop", "lift", "volume", "peak", "covariance", "gate")
    for number, (axis, panel, title) in enumerate(zip(axes, panels, titles, strict=True), 1):
        axis.set(xlim=(-1, 1), ylim=(-1, 1), xticks=[], yticks=[], aspect="equal")
        axis.set_title(f"{number}. {title}", fontsize=12)
        panel(axis)
    figure.subplots_adjust(left=0.01, right=0.99, top=0.9, bottom=0.16, wspace=0.18)
    figure.canvas.draw()
    for left, right in pairwise(axes):
        _arrow_between(figure, left, right)
    figure.savefig(out, dpi=80)
    plt.close(figure)


def _prior(axis: Axes) -> None:
    _map(axis)
    _ellipse(axis, (0.25, -0.2), 1.1, 1.1, 0.0, PRIOR)
    _vehicle(axis, (0.25, -0.2), 1.1, PRIOR)
    axis.set_xlabel("GNSS, heading: metres off")


def _crop(axis: Axes) -> None:
    _map(axis)
    axis.add_patch(Rectangle((-0.99, -0.99), 1.98, 1.98, fill=False, lw=3, color="black"))
    axis.annotate("N", (0.72, 0.6), (0.72, 0.05), arrowprops={"arrowstyle": "->"}, ha="center")
    axis.set_xlabel("satellite imagery from disk")


def _lift(axis: Axes) -> None:
    axis.set_facecolor("white")
    axis.add_patch(Rectangle((-0.95, 0.1), 1.9, 0.85, color=SKY))
    axis.add_patch(Rectangle((-0.95, 0.1), 1.9, 0.45, color=GRASS))
    axis.add_patch(Polygon([(-0.7, 0.1), (0.7, 0.1), (0.08, 0.55), (-0.08, 0.55)], color=ROAD))
    axis.add_patch(Polygon([(0.0, 0.1), (0.06, 0.1), (0.01, 0.55), (0.0, 0.55)], color=MARKING))
    axis.add_patch(Polygon([(-0.12, -0.9), (0.12, -0.9), (0.8, -0.1), (-0.8, -0.1)], color=GRASS))
    axis.add_patch(Rectangle((-0.14, -0.9), 0.28, 0.8, color=ROAD))
    axis.add_patch(Rectangle((-0.01, -0.9), 0.03, 0.8, color=MARKING))
    axis.annotate("", (0.6, -0.25), (0.6, 0.25), arrowprops={"arrowstyle": "->", "lw": 2})
    axis.set_xlabel("image features onto the ground")


def _volume(axis: Axes) -> None:
    for layer, height in enumerate((0.45, 0.2, -0.05, -0.3, -0.55)):
        x = np.array([-0.75, 0.45, 0.75, -0.45])
        y = height + np.array([-0.25, -0.25, 0.2, 0.2])
        axis.fill(x, y, color=plt.get_cmap("viridis")(0.9 if layer == 2 else 0.15), alpha=0.8)
    axis.plot(0.1, -0.05, "*", color="black", ms=10)
    axis.annotate("yaw", (-0.82, 0.6), (-0.82, -0.8), arrowprops={"arrowstyle": "->"}, ha="center")
    axis.set_xlabel("every place, every heading")


def _peak(axis: Axes) -> None:
    axis.imshow(_score(), extent=(-1, 1, -1, 1), origin="lower", cmap="viridis")
    axis.plot(-0.1, 0.1, "+", color="white", ms=14, mew=2)
    axis.set_xlabel("best cell, refined")


def _covariance(axis: Axes) -> None:
    axis.imshow(_score(), extent=(-1, 1, -1, 1), origin="lower", cmap="Greys")
    _ellipse(axis, (-0.1, 0.1), 0.9, 0.22, 63.0, POSE)
    axis.set_xlabel("the peak's, and other places'")


def _gate(axis: Axes) -> None:
    _map(axis)
    _ellipse(axis, (0.25, -0.2), 1.1, 1.1, 0.0, PRIOR)
    _ellipse(axis, (-0.1, 0.1), 0.5, 0.2, 63.0, POSE)
    _vehicle(axis, (-0.1, 0.1), 1.1, POSE)
    axis.set_xlabel("a pose, or a named rejection")


def _map(axis: Axes) -> None:
    """Draw a road with a crossing and two houses, seen from above."""
    axis.set_facecolor(GRASS)
    along, across = np.array([0.45, 0.89]), np.array([0.89, -0.45])
    for direction, width in ((along, 0.22), (across, 0.15)):
        normal = np.array([-direction[1], direction[0]]) * width
        middle = np.array([-0.15, 0.0]) if direction is along else np.array([0.1, 0.5])
        corners = [middle + 3 * s * direction + t * normal for s, t in _CORNERS]
        axis.add_patch(Polygon(corners, color=ROAD))
    start, end = np.array([-0.15, 0.0]) - 2 * along, np.array([-0.15, 0.0]) + 2 * along
    axis.plot(*zip(start, end, strict=True), "--", color=MARKING, lw=1.5)
    for corner in ((-0.85, 0.2), (0.45, -0.75)):
        axis.add_patch(Rectangle(corner, 0.35, 0.3, angle=-27, color="#b5654a"))


_CORNERS = ((-1, -1), (1, -1), (1, 1), (-1, 1))


def _score() -> NDArray[np.float64]:
    """Return a drawn score map (80, 80): a ridge along the road with two peaks."""
    y, x = np.mgrid[-1:1:80j, -1:1:80j]
    along, across = 0.45 * x + 0.89 * y, 0.89 * x - 0.45 * y
    ridge = np.exp(-((across + 0.13) ** 2) / 0.01)
    peaks = np.exp(-((along - 0.04) ** 2) / 0.03) + 0.3 * np.exp(-((along - 0.7) ** 2) / 0.02)
    return np.asarray(ridge * (peaks + 0.12))


def _ellipse(
    axis: Axes, centre: tuple[float, float], length: float, width: float, angle: float, color: str
) -> None:
    axis.add_patch(Ellipse(centre, length, width, angle=angle, fill=False, lw=2, color=color))


def _vehicle(axis: Axes, centre: tuple[float, float], yaw: float, color: str) -> None:
    turn = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
    body = np.array([(0.2, 0.0), (-0.14, 0.1), (-0.08, 0.0), (-0.14, -0.1)])
    axis.add_patch(Polygon(body @ turn.T + centre, color=color, zorder=3))


def _arrow_between(figure: plt.Figure, left: Axes, right: Axes) -> None:
    start, end = left.get_position().x1, right.get_position().x0
    figure.text((start + end) / 2.0, 0.52, "→", ha="center", va="center", fontsize=16)


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else OUT)
