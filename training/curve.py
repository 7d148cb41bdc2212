# SPDX-License-Identifier: Apache-2.0
"""How a run's errors went: lateral and longitudinal error and constant offset over its steps.

python -m training.curve RUN --seeds 2001-2003 --frames 50 [--stage rotation]
needs a run that kept its checkpoints (`keep_checkpoints: true`); writes RUN/curve.json and .png.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
from tqdm import tqdm

from g2s_localizer.model import load_checkpoint
from training.data.sample import PairDataset, PriorNoise
from training.data.selection import Remembered
from training.data.simulated import open_drives, simulated_dataset
from training.evaluate import parse_seeds
from training.score.scoring import score

matplotlib.use("Agg")
import matplotlib.pyplot as plt

_PANELS = {
    "constant offset (m)": ("offset_lateral_m", "offset_longitudinal_m"),
    "within 1 m (share)": ("lateral_within_1m", "longitudinal_within_1m"),
    "position error (m)": ("median_m", "mean_m"),
}


def curve(
    checkpoints: Mapping[int, Path], dataset: PairDataset, noise: PriorNoise
) -> list[dict[str, float]]:
    """The figures of each checkpoint, by step, on the same pairs."""
    points = []
    for step in tqdm(sorted(checkpoints), desc="checkpoints"):
        network, _ = load_checkpoint(checkpoints[step])
        points.append({"step": step, **score(network, dataset, noise).figures()})
    return points


def kept_checkpoints(run: Path, stage: str) -> dict[int, Path]:
    """Checkpoints of a stage by their step. Raises FileNotFoundError when none was kept."""
    files = (run / "checkpoints").glob(f"{stage}_*.safetensors")
    found = {int(re.findall(r"_(\d+)$", file.stem)[0]): file for file in files}
    if not found:
        raise FileNotFoundError(
            f"{run / 'checkpoints'} holds none of the stage {stage}: train with "
            f"keep_checkpoints: true and a validate_every"
        )
    return found


def draw_curve(file: Path, points: Sequence[Mapping[str, float]], title: str) -> None:
    figure, axes = plt.subplots(len(_PANELS), 1, figsize=(8, 9), sharex=True)
    steps = [point["step"] for point in points]
    for axis, (label, names) in zip(axes, _PANELS.items(), strict=True):
        for name in names:
            axis.plot(steps, [point[name] for point in points], ".-", label=name)
        axis.axhline(0.0, color="0.3", lw=0.5)
        axis.set_ylabel(label)
        axis.legend()
    axes[0].set_title(title, fontsize=10)
    axes[-1].set_xlabel("step")
    figure.savefig(file, dpi=100, bbox_inches="tight")
    plt.close(figure)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--stage", default="translation", choices=["rotation", "translation"])
    parser.add_argument("--seeds", type=parse_seeds, required=True)
    parser.add_argument("--frames", type=int, default=50)
    parser.add_argument("--difficulty", default="kitti")
    parser.add_argument("--folder", type=Path, default=Path("out/training/drives"))
    arguments = parser.parse_args(argv)
    noise = PriorNoise()
    try:
        checkpoints = kept_checkpoints(arguments.run, arguments.stage)
        network, _ = load_checkpoint(next(iter(checkpoints.values())))
        drives = open_drives(
            arguments.folder, arguments.difficulty, arguments.seeds, arguments.frames, rate=2.5
        )
        pairs = Remembered(simulated_dataset(drives, network.config, noise))
        points = curve(checkpoints, pairs, noise)
    except (OSError, ValueError, RuntimeError) as error:
        print(f"curve: {error}", file=sys.stderr)
        return 1
    described = (
        f"synthetic, preset {arguments.difficulty}, seeds {arguments.seeds}, {len(pairs)} frames"
    )
    report = {"data": described, "run": str(arguments.run), "points": points}
    (arguments.run / "curve.json").write_text(json.dumps(report, indent=2) + "\n")
    draw_curve(arguments.run / "curve.png", points, f"{arguments.run}: {described}")
    for point in points:
        shown = ("median_m", "offset_lateral_m", "offset_longitudinal_m", "longitudinal_within_1m")
        print(f"step {point['step']:6}", *(f"{name} {point[name]:.3f}" for name in shown))
    print(arguments.run / "curve.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
