# SPDX-License-Identifier: Apache-2.0
"""Compare PaperNet with numbers that the paper's original network produced.

python -m training.parity FILE.npz [FILE.npz ...]
Weights and images are made from the rule of such files (each tensor from the CRC of its name, the
images from a formula with the file's phases), so that no weight file is needed. Prints a table of
relative errors (norm of the difference over norm) and exits 1 when one exceeds its tolerance,
when an arg max differs, or when the file holds an array that is not known.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from g2s_localizer.model import CameraInput, PaperNet, ScoreMap, model_config
from g2s_localizer.model.config import PAPER_KITTI, PAPER_VIGOR
from g2s_localizer.model.correlation import correlate, correlate_all, satellite_spectrum
from g2s_localizer.model.paper.network import FeatureRows, normalised
from training.paper.label_cells import (
    SHIFT_RANGE_M,
    kitti_label_cells,
    vigor_label_cells,
    window_half_width,
)
from training.paper.losses import dense_triplet_loss, gps_window_loss, weak_loss
from training.paper.parity_rule import image_of, network_for

TOLERANCE = 1e-4
"""Largest relative error of float32."""

_INPUTS = re.compile(r"(ground|satellite)_phase|(proj|loss_gt)_(shift_[uv]|heading)|proj_rot_.*")
_KITTI_K = ((582.9802, 0.0, 496.2420), (0.0, 482.7076, 125.0034), (0.0, 0.0, 1.0))
_KITTI_CAMERA_HEIGHT_M = 1.65
_VIGOR_CAMERA_HEIGHT_M = 2.0

Arrays = Mapping[str, NDArray[np.generic]]


def sampled(x: Tensor, channels: int, cells: int) -> Tensor:
    return x[:, ::channels, ::cells, ::cells]


def forward_camera(K: Tensor | None, ahead: Tensor, left: Tensor, height: float) -> CameraInput:
    """Return cameras that look along the heading, `ahead` and `left` (B,) of the origin."""
    T = torch.eye(4).repeat(len(ahead), 1, 1)
    T[:, :3, :3] = torch.tensor([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    T[:, :3, 3] = torch.stack([ahead, left, torch.full_like(ahead, height)], dim=1)
    return CameraInput(None if K is None else K.expand(len(ahead), 3, 3), T)


@torch.inference_mode()
def kitti_arrays(file: Arrays) -> dict[str, Tensor]:
    """Return every array of a KITTI file, computed here; inputs are read from the file."""
    level = _level(file)
    network = network_for(model_config(PAPER_KITTI, level=level))
    config, A = network.config, network.config.satellite_cells
    ground = image_of(file["ground_phase"].tolist(), config.ground_height, config.ground_width)
    satellite = image_of(file["satellite_phase"].tolist(), 512, 512)
    made = _checksums(ground, satellite)
    made["meters_per_pixel"] = torch.tensor([config.gsd * 2 ** (3 - k) for k in range(4)])
    extractor = network.translation_extractor
    for k in range(3):
        for view, image in (("sat", satellite), ("grd", ground)):
            features, confidence = extractor(image, k)
            made[f"{view}_feat_l{k}"] = sampled(normalised(features), 8, 4)
            made[f"{view}_conf_l{k}"] = sampled(confidence, 1, 4)[:, 0]

    K = torch.tensor(_KITTI_K)
    zero = torch.zeros(len(ground))
    features, confidence = extractor(ground, level)
    length = features.flatten(1).norm(dim=1)[:, None, None, None]
    rows = FeatureRows(torch.cat([features / length, confidence], dim=1), 0, features.shape[-2])
    u, v, heading = (_input(file, f"proj_{name}") for name in ("shift_u", "shift_v", "heading"))
    yaw_range = torch.tensor(config.yaw_range_deg).deg2rad()
    shifted = forward_camera(K, u * SHIFT_RANGE_M, v * SHIFT_RANGE_M, _KITTI_CAMERA_HEIGHT_M)
    uv, _ = network.pixels(shifted, heading * yaw_range, A, rows)
    seen = network.visibility(shifted, heading * yaw_range, features.shape[-1], rows.height)
    view = network.view(rows, shifted, heading * yaw_range, A)
    made["proj_uv"] = (uv * seen[:, 0, ..., None])[:, ::2, ::2]
    made["proj_mask"] = seen[:, 0, ::2, ::2] > 0
    made["proj_feat"] = sampled(view[:, :-1], 8, 2)
    made["proj_conf"] = view[:, -1, ::2, ::2]

    camera = forward_camera(K, zero, zero, _KITTI_CAMERA_HEIGHT_M)
    encoded = network.encode_ground(ground, camera)
    crops = network.encode_satellite(satellite)
    assert encoded.rotation is not None and crops.rotation is not None
    overhead = network.view(encoded.rotation, camera, zero, A)
    delta = network.regress(overhead, crops.rotation)
    delta[:, 2] /= yaw_range
    made["rotation_delta"] = delta
    made["rotation_theta"] = delta[:, 2, None, None]
    theta, _ = network.residual_yaw(encoded, camera, zero, crops)
    made["forward_theta"] = (theta / yaw_range)[:, None, None]
    view, weight = network.overhead(encoded, camera, theta)
    made[f"g2s_feat_l{level}"] = sampled(view / length, 8, 1)
    made[f"g2s_conf_l{level}"] = weight[:, 0]
    made["corr"] = network.scores(view, weight, crops)
    m = config.cell_m
    found = [ScoreMap.from_scores(score, 1.0, m).arg_max_xy() for score in made["corr"]]
    made["pred_u_m"], made["pred_v_m"] = torch.stack(found, dim=1)

    scores = correlate_all(view, weight, crops.fine)
    made["cross_distance"] = 2 - 2 * scores
    label = tuple(_input(file, f"loss_gt_{name}") for name in ("shift_u", "shift_v", "heading"))
    cell = kitti_label_cells(*label, config.yaw_range_deg, scores.shape[-1], m)
    made |= _losses(file, cell, window_half_width(torch.full((len(scores),), m)))
    made |= _stage0(network, satellite, camera, label[2] * yaw_range, cell)
    made["stage0_theta"] /= yaw_range
    return made


def _losses(file: Arrays, cell: Tensor, half_width: Tensor) -> dict[str, Tensor]:
    """Return the losses as functions of the file's own `cross_distance`, which is compared by
    itself.

    The GPS loss is a small difference of two minima. The original's direct sums over the kernel
    leave 2e-5 in the distances (float64 agrees with the FFT, not with them), and that is 2e-4 of
    the difference: through our distances it would measure their rounding.
    """
    scores = 1 - torch.from_numpy(np.asarray(file["cross_distance"], dtype=np.float32)) / 2
    return {
        "weak_loss": weak_loss(scores),
        "gps_loss": gps_window_loss(_own(scores), cell, half_width),
    }


def _stage0(
    network: PaperNet, satellite: Tensor, camera: CameraInput, yaw: Tensor, cell: Tensor
) -> dict[str, Tensor]:
    """Compare satellite crops with themselves in reverse order, as if these were overhead views."""
    config = network.config
    queries, confidence = network.rotation_extractor(satellite, config.level)
    queries = normalised(queries)
    width, height = config.ground_width // config.stride, config.ground_height // config.stride
    seen = network.visibility(camera, torch.zeros_like(yaw), width, height)
    aligned = queries.flip(0), confidence.flip(0)
    still = network.stand_in(*aligned, seen, torch.zeros_like(yaw))
    turned = network.stand_in(*aligned, seen, yaw)
    first = (config.satellite_cells - config.overhead_cells) // 2
    kernel = turned[..., first : first + config.overhead_cells, first:][
        ..., : config.overhead_cells
    ]
    scores = correlate(kernel[:, :-1], kernel[:, -1:], satellite_spectrum(queries))
    return {
        "stage0_theta": network.regress(still[:, :-1], queries)[:, 2, None, None],
        "stage0_corr": 2 - 2 * scores,
        "stage0_triplet": dense_triplet_loss(scores, cell),
    }


@torch.inference_mode()
def vigor_arrays(file: Arrays) -> dict[str, Tensor]:
    """Return every array of a VIGOR file, computed here; inputs are read from the file."""
    level = _level(file)
    network = network_for(model_config(PAPER_VIGOR, level=level))
    config, A = network.config, network.config.satellite_cells
    ground = image_of(file["ground_phase"].tolist(), config.ground_height, config.ground_width)
    satellite = image_of(file["satellite_phase"].tolist(), 512, 512)
    made = _checksums(ground, satellite)
    gsd = _input(file, "meter_per_pixel")
    features, confidence = network.satellite_extractor(satellite, level)
    made[f"sat_feat_l{level}"] = sampled(normalised(features), 8, 4)
    made[f"sat_conf_l{level}"] = sampled(confidence, 1, 4)[:, 0]

    # The middle column looks north, and a rotation adds to that heading.
    north = torch.full((len(ground),), torch.pi / 2)
    yaw = north + _input(file, "proj_rot_of_180deg") * torch.pi
    metres = A / 4 * gsd * config.stride
    east, south = _input(file, "proj_shift_u") * metres, _input(file, "proj_shift_v") * metres
    ahead = east * yaw.cos() - south * yaw.sin()
    left = -east * yaw.sin() - south * yaw.cos()
    moved = forward_camera(None, ahead, left, _VIGOR_CAMERA_HEIGHT_M)
    size = (ground.shape[-1] // config.stride, ground.shape[-2] // config.stride)
    blank = FeatureRows(torch.zeros(1, 1, size[1], size[0]), 0, size[1])
    made["proj_uv"] = network.pixels(moved, yaw, A, blank, gsd)[0][:, ::2, ::2]

    zero = torch.zeros(len(ground))
    camera = forward_camera(None, zero, zero, _VIGOR_CAMERA_HEIGHT_M)
    length = network.ground_extractor(ground, level)[0].flatten(1).norm(dim=1)
    crops = network.encode_satellite(satellite)
    view, weight = network.overhead(network.encode_ground(ground, camera), camera, north, gsd)
    made[f"g2s_feat_l{level}"] = sampled(view / length[:, None, None, None], 8, 1)
    made[f"g2s_conf_l{level}"] = weight[:, 0]
    made["corr"] = network.scores(view, weight, crops)
    row, column = _arg_max(made["corr"])
    made["pred_u_px"] = (column - config.score_cells / 2) * config.stride
    made["pred_v_px"] = (row - config.score_cells / 2) * config.stride

    scores = correlate_all(view, weight, crops.fine)
    made["cross_distance"] = 2 - 2 * scores
    label = (_input(file, "loss_gt_shift_u"), _input(file, "loss_gt_shift_v"))
    cell = vigor_label_cells(*label, scores.shape[-1], A)
    made |= _losses(file, cell, window_half_width(gsd * config.stride))
    made["triplet_loss"] = dense_triplet_loss(_own(scores), cell)
    return made


def compare(file: Arrays, made: Mapping[str, Tensor]) -> list[tuple[str, float, bool]]:
    """Return (array, relative error, whether it is within the tolerance) for every array of the
    file that is no input; a boolean array's error is the share of cells that differ.
    """
    rows = []
    for name in sorted(file):
        if _INPUTS.fullmatch(name) or name == "meter_per_pixel":
            continue
        theirs = np.asarray(file[name])
        ours = made[name].numpy() if name in made else None
        if ours is None or ours.shape != theirs.shape:
            rows.append((f"{name}: {'unknown' if ours is None else ours.shape}", np.inf, False))
        elif theirs.dtype == np.bool_:
            share = float(np.mean(ours != theirs))
            rows.append((name, share, share == 0.0))
        else:
            a, b = ours.astype(np.float64), theirs.astype(np.float64)
            error = float(np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-300))
            rows.append((name, error, error <= TOLERANCE))
        if name == "corr" and ours is not None and ours.shape == theirs.shape:
            peaks = [a.reshape(len(a), -1).argmax(axis=1) for a in (ours, theirs)]
            differ = float(np.mean(peaks[0] != peaks[1]))
            rows.append(("corr, arg max", differ, differ == 0.0))
    return rows


def _checksums(ground: Tensor, satellite: Tensor) -> dict[str, Tensor]:
    """Return mean and standard deviation of the images, over the batch."""
    return {
        f"{name}_image_checksum": torch.stack(
            [image.double().mean(), image.double().std(correction=0)]
        )
        for name, image in (("ground", ground), ("satellite", satellite))
    }


def _level(file: Arrays) -> int:
    for name in file:
        if found := re.fullmatch(r"g2s_feat_l(\d)", name):
            return int(found[1])
    raise ValueError("no array g2s_feat_l<level>: not a parity file")


def _input(file: Arrays, name: str) -> Tensor:
    if name not in file:
        raise ValueError(f"no array {name}: not a parity file")
    return torch.from_numpy(np.asarray(file[name], dtype=np.float32)).reshape(-1)


def _own(scores: Tensor) -> Tensor:
    """Select from (B, B, n, n) each ground image on its own crop: (B, n, n)."""
    index = torch.arange(len(scores))
    return scores[index, index]


def _arg_max(scores: Tensor) -> tuple[Tensor, Tensor]:
    peak = scores.flatten(1).argmax(dim=1)
    return peak // scores.shape[-1], peak % scores.shape[-1]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE.npz")
    failed = False
    for path in parser.parse_args(argv).files:
        with np.load(path) as opened:
            file = {name: opened[name] for name in opened.files}
        arrays: Callable[[Arrays], dict[str, Tensor]] = (
            vigor_arrays if "meter_per_pixel" in file else kitti_arrays
        )
        rows = compare(file, arrays(file))
        print(f"{path}: relative error, tolerance {TOLERANCE:g}")
        for name, error, good in rows:
            print(f"  {name:24} {error:9.2e}  {'ok' if good else 'EXCEEDED'}")
        bad = sum(not good for _, _, good in rows)
        print(f"  {len(rows)} arrays, {bad} over the tolerance")
        failed = failed or bad > 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
