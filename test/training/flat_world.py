# SPDX-License-Identifier: Apache-2.0
"""Pairs from one textured plane, in memory: small enough to train on in a test.

As a script it trains, by the paper's recipe on them: flat_world.py CONFIG.yaml [--limit BYTES]
"""

import argparse
import os
import resource
import signal
import sys
from copy import copy
from pathlib import Path

import cv2
import numpy as np
import torch

from g2s_localizer.geometry import Pose2D
from g2s_localizer.model import G2SNet, model_config
from training.config import load_config
from training.data.sample import PriorNoise, Sample, Unreadable, collate
from training.data.selection import Part
from training.loop.config import StageConfig
from training.loop.learner import Learner, open_accelerator
from training.paper.stages import pair_scores, trained_parameters
from training.sources import Pairs
from training.train import open_data, run

MODEL = model_config(
    crop_m=24.0, gsd=0.5, reach_m=6.0, ground_height=16, ground_width=32, width=4, levels=2,
    features=4, yaw_range_deg=10.0, yaw_step_deg=5.0,
)  # fmt: skip
PAPER_KITTI = model_config(
    preset="paper-kitti", crop_m=102.4, gsd=0.8, ground_height=32, ground_width=64
)
PAPER_VIGOR = model_config(
    preset="paper-vigor", crop_m=102.4, gsd=0.8, ground_height=32, ground_width=64
)
NOISE = PriorNoise(position_m=5.0, yaw_deg=5.0)
T_BASE_CAMERA = np.array([[0, 0, 1, 0.5], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])
SIDE_M = 400.0


class FlatWorld:
    """A PairDataset: `count` vehicles on a plane whose texture follows from `seed`.

    Crops of the paper's presets have the label's heading along their u axis; paper-vigor's
    images are panoramas.
    """

    def __init__(self, count, seed, broken=(), model=MODEL):
        rng = np.random.default_rng(seed)
        side = round(SIDE_M / model.gsd)
        coarse = rng.uniform(0, 255, (side // 6, side // 6, 3)).astype(np.float32)
        self._texture = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
        place = rng.uniform(-120, 120, (count, 2))
        yaw = rng.uniform(-np.pi, np.pi, count)
        self.truths = [Pose2D(x, y, a) for (x, y), a in zip(place, yaw, strict=True)]
        self.labels = NOISE.labels(self.truths, seed=(seed, 7))
        self._broken, self._model = set(broken), model
        self._rays = _rays(model)
        self._pixels = round(model.crop_m / model.gsd)

    def widened(self, pixels):
        wide = copy(self)
        wide._pixels = pixels
        return wide

    def __len__(self):
        return len(self.labels)

    def name(self, index):
        return f"flat world, frame {index}"

    def group(self, index):
        return 0

    def apart(self, index, others, spacing_m):
        here = self.labels[index]
        there = [self.labels[i] for i in others]
        return all(np.hypot(here.x - p.x, here.y - p.y) >= spacing_m for p in there)

    def __getitem__(self, index):
        if index in self._broken:
            return Unreadable(index, self.name(index), "made unreadable")
        label, truth, model = self.labels[index], self.truths[index], self._model
        crop_yaw = 0.0 if model.preset == "compact" else label.yaw
        side = self._pixels
        along = (np.arange(side) - (side - 1) / 2) * model.gsd
        right, up = np.meshgrid(along, -along)
        crop = self._seen(Pose2D(label.x, label.y, crop_yaw), np.stack([right, up], -1))
        far = T_BASE_CAMERA[2, 3] / np.maximum(-self._rays[..., 2:], 0.02)
        ground = self._seen(truth, T_BASE_CAMERA[:2, 3] + self._rays[..., :2] * far)
        K = None if model.preset == "paper-vigor" else torch.tensor(_K(model), dtype=torch.float32)
        return Sample(
            index, ground, K, torch.tensor(T_BASE_CAMERA, dtype=torch.float32), crop, model.gsd,
            label.yaw - crop_yaw, crop_yaw,
        )  # fmt: skip

    def _seen(self, pose, xy):
        """(3, H, W) uint8: the texture at points (H, W, 2) m as seen from a pose."""
        x, y = pose.transform(xy.reshape(-1, 2)).T.reshape(2, *xy.shape[:2])
        middle = (len(self._texture) - 1) / 2
        u, v = middle + x / self._model.gsd, middle - y / self._model.gsd
        uv = u.astype(np.float32), v.astype(np.float32)
        seen = cv2.remap(self._texture, *uv, cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT)
        return torch.from_numpy(seen.clip(0, 255).astype(np.uint8).transpose(2, 0, 1).copy())


def _K(model):
    width, height = model.ground_width, model.ground_height
    return np.array([[width / 2, 0, (width - 1) / 2], [0, width / 2, height / 8], [0, 0, 1]])


def _rays(model):
    """(h, w, 3) directions of the pixels in base_link."""
    u, v = np.meshgrid(np.arange(model.ground_width), np.arange(model.ground_height))
    if model.preset == "paper-vigor":
        azimuth = np.pi - u / model.ground_width * 2 * np.pi
        polar = v / model.ground_height * np.pi
        across = np.sin(polar)
        return np.stack([across * np.cos(azimuth), across * np.sin(azimuth), np.cos(polar)], -1)
    optical = np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(_K(model)).T
    return optical @ T_BASE_CAMERA[:3, :3].T


def flat_pairs(count=24, broken=(), model=MODEL):
    return Pairs(
        FlatWorld(count, 1, broken, model), FlatWorld(8, 2, (), model),
        FlatWorld(12, 3, (), model), "a flat world",
    )  # fmt: skip


class Interrupting(Part):
    """Pairs; the reading at which `left` counts 0 sends this process the signal of Ctrl-C."""

    def __init__(self, pairs, left):
        super().__init__(pairs, range(len(pairs)))
        self.left = left

    def widened(self, pixels):
        return Interrupting(self._dataset.widened(pixels), self.left)

    def __getitem__(self, index):
        if next(self.left) == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return super().__getitem__(index)


class InterruptingImagery:
    """Imagery that does the same."""

    def __init__(self, imagery, left):
        self._imagery, self.left = imagery, left

    def crop(self, *asked):
        if next(self.left) == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return self._imagery.crop(*asked)


def per_pair_loss(network, batch):
    """A loss whose mean over two halves of a batch is that over the whole."""
    network.eval()  # batch normalisation would look at the other pairs
    scores = pair_scores(network, batch).diagonal().permute(2, 0, 1)
    return -scores.amax(dim=(1, 2)).mean()


def update(folder, steps=3):
    """Steps over batches of 8 shared out to the ranks; each rank leaves its weights."""
    accelerator = open_accelerator("cpu", "fp32")
    torch.manual_seed(accelerator.process_index)  # ranks start apart: rank 0 tells the others
    network = G2SNet(MODEL)
    if accelerator.process_index == 0:
        torch.manual_seed(0)
        network = G2SNet(MODEL)
    parameters = trained_parameters(network, "translation")
    stage = StageConfig(learning_rate=0.01)
    learner = Learner(accelerator, network, parameters, per_pair_loss, stage, steps)
    world = FlatWorld(8 * steps, 4)
    rank, ranks = accelerator.process_index, accelerator.num_processes
    norms = torch.tensor(
        [
            learner.update([collate([world[8 * k + i] for i in range(rank, 8, ranks)])])[1]
            for k in range(steps)
        ]
    )
    torch.save({**network.state_dict(), "norms": norms}, folder / f"{rank}_of_{ranks}.pt")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path, nargs="?")
    parser.add_argument("--limit", type=int, help="largest file in bytes")
    parser.add_argument("--update", type=Path, help="only steps of a learner; weights go here")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (arguments.limit, arguments.limit))
    if arguments.update:
        update(arguments.update)
    config = load_config(arguments.config)
    opened = (lambda _: flat_pairs()) if config.recipe == "paper" else open_data
    sys.exit(run(config, opened, "the command", resume=False))
