# SPDX-License-Identifier: Apache-2.0
"""The networks: PyTorch only; no imagery, no files but checkpoints, no ROS."""

from g2s_localizer.model.checkpoint import load_checkpoint, save_checkpoint
from g2s_localizer.model.compact import G2SNet, SatelliteFeatures
from g2s_localizer.model.config import ModelConfig
from g2s_localizer.model.lift.network import LiftNet
from g2s_localizer.model.paper.network import PaperNet
from g2s_localizer.model.preprocess import prepare_ground, prepare_satellite, wrong_camera
from g2s_localizer.model.presets import Network, build_network, model_config
from g2s_localizer.model.registration import CameraInput, Registration, RegistrationNet
from g2s_localizer.model.score_map import Mode, ScoreMap

__all__ = [
    "CameraInput",
    "G2SNet",
    "LiftNet",
    "Mode",
    "ModelConfig",
    "Network",
    "PaperNet",
    "Registration",
    "RegistrationNet",
    "SatelliteFeatures",
    "ScoreMap",
    "build_network",
    "load_checkpoint",
    "model_config",
    "prepare_ground",
    "prepare_satellite",
    "save_checkpoint",
    "wrong_camera",
]
