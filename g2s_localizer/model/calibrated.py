# SPDX-License-Identifier: Apache-2.0
"""Results of training and calibration that every network holds beside its weights."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from g2s_localizer.model.config import ModelConfig
from g2s_localizer.model.registration import MODE_RADIUS_M, Registration
from g2s_localizer.model.score_map import Mode, ScoreMap

UNCALIBRATED: dict[str, float | list[float]] = {
    "correlation_floor": -1.0,
    "evidence_weights": [0.0, 0.0, 0.0, 20.0],
}
"""Buffers of a network that nobody asked which images belong to its crops: all of them do."""


class CalibratedNet(nn.Module):
    """A network with the buffers that calibration sets after training: `temperature` of the score
    map, `covariance_scale` of position and yaw at the peak, `correlation_floor`, the least
    correlation at the peak of an image that belongs to the crop (-1: not calibrated), and
    `evidence_weights` of `evidence_features`.
    """

    temperature: Tensor
    covariance_scale: Tensor
    correlation_floor: Tensor
    evidence_weights: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.precision = torch.float32
        self.register_buffer("temperature", torch.tensor(50.0))
        self.register_buffer("covariance_scale", torch.ones(2))
        for name, value in UNCALIBRATED.items():
            self.register_buffer(name, torch.tensor(value))

    def peaks(self, scores: Tensor, gsd: float | None) -> tuple[ScoreMap, list[Mode]]:
        """Return the score map of scores (n, n) and its two highest peaks, or the one.

        Raises FloatingPointError for scores that are not finite.
        """
        if not torch.isfinite(scores).all():
            raise FloatingPointError(
                f"scores of the network are not finite in {self.precision}: its weights are "
                "damaged, or the precision is too narrow for them"
            )
        cell_m = self.config.cell_m if gsd is None else gsd * self.config.stride
        score_map = ScoreMap.from_scores(scores, self.temperature, cell_m)
        return score_map, score_map.modes(2, MODE_RADIUS_M)

    def registration(
        self,
        pose: Tensor,
        within: Tensor,
        correlation: float,
        score_map: ScoreMap,
        modes: list[Mode],
        probability: Tensor,
        headings: Tensor,
    ) -> Registration:
        """Return the registration of a pose (3,) with its covariance (3, 3) before calibration."""
        x, y, yaw = pose.tolist()
        scale = self.covariance_scale[[0, 0, 1]].double().sqrt()
        scaled = (within.double() * scale * scale[:, None]).cpu().numpy()
        weights = self.evidence_weights.double().cpu().numpy()
        return Registration(
            x=x,
            y=y,
            yaw=yaw,
            within=scaled,
            score_map=score_map,
            modes=modes,
            correlation=correlation,
            evidence=float(weights @ evidence_features(correlation, scaled)),
            probability=probability,
            headings=headings,
        )

    def compile_extractors(self) -> None:
        """Compile the convolutional parts in place: on a GPU their kernels are then recorded once
        and replayed as one CUDA graph; the first image of each size pays for it.
        """
        on_gpu = self.temperature.device.type == "cuda"
        for name, part in self.named_children():
            if name.endswith("extractor"):
                part.compile(mode="reduce-overhead" if on_gpu else "default")

    def reduced(self, device: torch.device) -> torch.autocast:
        """Return the context in which extractors compute in `precision`."""
        lower = self.precision != torch.float32
        kind = self.precision if lower else torch.bfloat16
        return torch.autocast(device.type, kind, enabled=lower)


def evidence_features(correlation: float, within: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (4,) what evidence is linear in: the correlation at the peak, the logarithms of the
    standard deviations of position (m, geometric mean of the axes) and yaw (rad) within it, and 1.
    """
    position = 0.25 * math.log(max(float(np.linalg.det(within[:2, :2])), 1e-12))
    yaw = 0.5 * math.log(max(float(within[2, 2]), 1e-12))
    return np.array([correlation, position, yaw, 1.0])
