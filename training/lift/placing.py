# SPDX-License-Identifier: Apache-2.0
"""The recipe's work drive by drive and batch by batch, in `data.workers` processes."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from g2s_localizer.geometry import Pose2D
from g2s_localizer.imagery import MissingImagery
from g2s_localizer.model import prepare_satellite
from g2s_localizer.model.lift.network import LiftNet
from training.data.sample import PriorNoise
from training.lift.config import CropsStage, LiftConfig
from training.lift.drives import TrackedDrive
from training.lift.placed import PlacedBatch, PlacedDrive, placed_batch
from training.lift.trajectory import headings, of_frames, score_maps
from training.loop.loading import in_order

_HEADING_SIGMA = math.radians(1.0)


def placed_drives(
    config: LiftConfig, drives: Sequence[TrackedDrive], quiet: bool
) -> list[PlacedDrive]:
    """Return the drives in memory, placed by labels and odometry, or by exact labels where they
    were.
    """

    def place(index: int) -> PlacedDrive:
        drive = drives[index]
        exact = drive.labelled.truths if config.labels == "exact" else None
        return PlacedDrive(drive.labelled, exact or drive.place(), config.model)

    placed = in_order(place, len(drives), config.data.workers)
    return list(tqdm(placed, desc="placing drives", total=len(drives), disable=quiet))


def place_again(
    network: LiftNet,
    placed: Sequence[PlacedDrive],
    drives: Sequence[TrackedDrive],
    every: int,
    workers: int,
    quiet: bool,
) -> None:
    """Return new pseudo-poses for the drives: labels and odometry as before, and score maps and
    headings of every `every`th frame that the imagery covers, around the pseudo-poses so far.
    """
    network.eval()
    frames = [(k, int(i)) for k, one in enumerate(placed) for i in one.readable[::every]]

    def crop(index: int) -> NDArray[np.uint8] | None:
        k, i = frames[index]
        try:
            return placed[k].turned_crop(placed[k].poses[i, :2], 0.0, placed[k].model.crop_m)
        except MissingImagery:
            return None

    seen: list[list[_Seen]] = [[] for _ in placed]
    images = in_order(crop, len(frames), workers)
    for (k, i), image in zip(
        tqdm(frames, desc="placing again", mininterval=10.0, disable=quiet), images, strict=True
    ):
        if image is not None:
            seen[k].append(_seen(network, placed[k], i, image))

    def place(k: int) -> NDArray[np.float64]:
        if not seen[k]:
            return placed[k].poses
        return _as_array(drives[k].place(*_evidence(placed[k], seen[k])))

    for one, poses in zip(placed, in_order(place, len(placed), workers), strict=True):
        one.poses = poses


class _Seen(NamedTuple):
    """Hold what the network saw of a frame around its pseudo-pose: log-probability (n, n), rad."""

    frame: int
    log_probability: NDArray[np.float32]
    yaw: float


def _seen(network: LiftNet, one: PlacedDrive, frame: int, image: NDArray[np.uint8]) -> _Seen:
    device = network.temperature.device
    with torch.inference_mode():
        found = network.register(
            one.ground[frame : frame + 1].to(device),
            torch.from_numpy(one.K)[None].to(device),
            torch.from_numpy(one.T_base_camera)[None].to(device),
            float(one.poses[frame, 2]),
            network.encode_satellite(prepare_satellite(image)[None].to(device)),
        )
    return _Seen(frame, found.score_map.log_probability.float().cpu().numpy(), found.yaw)


def _evidence(
    one: PlacedDrive, seen: Sequence[_Seen]
) -> tuple[Callable[..., NDArray[np.float64]], ...]:
    frames = np.array([look.frame for look in seen])
    maps = np.stack([look.log_probability for look in seen]).astype(np.float64)
    centres = [Pose2D(*one.poses[i]) for i in frames]
    yaws = np.array([look.yaw for look in seen])
    return (
        of_frames(score_maps(centres, maps, one.model.cell_m), frames),
        of_frames(headings(yaws, _HEADING_SIGMA), frames),
    )


def stream(seed: int, name: str, step: int, rank: int) -> np.random.SeedSequence:
    """Return the seeds of one step: going on after it needs no state of a generator."""
    stage = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return np.random.SeedSequence([seed, stage, step, rank])


def placed_batches(
    config: LiftConfig,
    placed: Sequence[PlacedDrive],
    name: str,
    stage: CropsStage,
    steps: range,
    rank: int,
    device: torch.device,
) -> Iterator[PlacedBatch]:
    """Batches of a stage's `steps`, on `device`; each follows from seed, name, step and rank."""
    noise: PriorNoise = config.data.noise

    def batch(index: int) -> PlacedBatch:
        rng = np.random.default_rng(stream(config.seed, name, steps[index], rank))
        return placed_batch(placed, stage.crops, stage.per_crop, stage.crop_m, noise, rng)

    on_gpu = device.type == "cuda"
    for made in in_order(batch, len(steps), config.data.workers, pin_memory=on_gpu):
        yield made.to(device, non_blocking=True)


def _as_array(poses: Sequence[Pose2D]) -> NDArray[np.float64]:
    return np.array([(p.x, p.y, p.yaw) for p in poses])
