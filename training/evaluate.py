# SPDX-License-Identifier: Apache-2.0
"""Score a network on simulated drives: predictions, errors, one table.

python -m training.evaluate --seeds 901-904 --frames 100 [--checkpoint FILE] [--json OUT.json]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from g2s_localizer.estimator.localizer import MODE_RADIUS_M
from g2s_localizer.geometry import Pose2D
from g2s_localizer.model import G2SNet, LiftNet, ScoreMap, load_checkpoint
from g2s_localizer.model.checkpoint import SHIPPED
from training.datasets.sample import DriveDataset, PriorNoise
from training.datasets.simulated import open_drives
from training.metrics import squared_mahalanobis, summarise, vehicle_errors


@dataclass(frozen=True)
class Prediction:
    """What the network says of one frame, before any gate."""

    pose: Pose2D
    covariance: NDArray[np.float64]
    """(3, 3), map axes, without the floor of the imagery's georeferencing"""
    score_map: ScoreMap
    peak_ratio: float


def predict(network: G2SNet | LiftNet, dataset: DriveDataset) -> list[Prediction]:
    """One prediction for each frame of the dataset, in the frame of its labels."""
    network.eval()
    predictions = []
    for i, label in enumerate(dataset.labels):
        batch = dataset.batch([i])
        with torch.inference_mode():
            satellite = network.encode_satellite(batch.satellite)
        found = network.register(batch.ground, batch.K, batch.T_base_camera, label.yaw, satellite)
        modes = found.score_map.modes(2, MODE_RADIUS_M)
        x, y = modes[0].xy.tolist()
        covariance = np.zeros((3, 3))
        covariance[:2, :2] = modes[0].covariance.numpy() * float(network.covariance_scale[0])
        covariance[2, 2] = found.yaw_variance
        ratio = modes[1].mass / modes[0].mass if len(modes) > 1 else 0.0
        pose = Pose2D(label.x + x, label.y + y, found.yaw)
        predictions.append(Prediction(pose, covariance, found.score_map, ratio))
    return predictions


def evaluate(
    predictions: Sequence[Prediction], truths: Sequence[Pose2D], map_sigma_m: float = 0.3
) -> dict[str, float]:
    """The figures of `metrics.summarise` over all predictions, ungated."""
    poses = [p.pose for p in predictions]
    floor = np.diag([map_sigma_m**2, map_sigma_m**2, 0.0])
    covariances = np.array([p.covariance + floor for p in predictions])
    figures = summarise(
        vehicle_errors(poses, truths), squared_mahalanobis(poses, covariances, truths)
    )
    return {**figures, "frames": len(poses)}


def parse_seeds(text: str) -> list[int]:
    """'3,5,10-12' -> [3, 5, 10, 11, 12]."""
    seeds: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        seeds += range(int(first), int(last or first) + 1)
    return seeds


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=parse_seeds, required=True)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--difficulty", default="kitti")
    parser.add_argument("--checkpoint", type=Path, default=SHIPPED)
    parser.add_argument("--folder", type=Path, default=Path("out/training/drives"))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(argv)
    network, identity = load_checkpoint(arguments.checkpoint)
    drives = open_drives(
        arguments.folder, arguments.difficulty, arguments.seeds, arguments.frames, rate=2.5
    )
    predictions, truths, priors = [], [], []
    for drive in drives:
        dataset = drive.dataset(network.config, PriorNoise())
        predictions += predict(network, dataset)
        truths += drive.truths
        priors += dataset.labels
    figures = evaluate(predictions, truths)
    table = {
        "checkpoint": identity,
        "data": f"synthetic, {arguments.difficulty}",
        **figures,
        "prior_median_m": float(
            np.median(
                [
                    np.hypot(*vehicle_errors([p], [t])[0, :2])
                    for p, t in zip(priors, truths, strict=True)
                ]
            )
        ),
    }
    for name, value in table.items():
        print(f"{name:24} {value if isinstance(value, str) else round(value, 3)}")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(table, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
