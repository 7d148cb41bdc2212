# SPDX-License-Identifier: Apache-2.0
"""BagConfig: what to read of a recorded bag, and how its sensors are mounted."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True)
class BagConfig:
    """What to read of a bag and how; names and units as in the node's parameters.

    Topics: `image` raw or compressed, `heading` sensor_msgs/Imu or nav_msgs/Odometry. The truth
    of a bag is used for scoring where both of its topics are there: `truth_pose` (PoseStamped)
    in an ENU map, and `truth_fix` of the same point, which tells where that map lies. `odometry`
    nav_msgs/Odometry whose pose is smooth (wheels, gyroscope; no GNSS in it): training.distil
    needs it; "": not read.
    Lengths in m, angles in rad.
    """

    camera_translation: tuple[float, float, float]
    """of the camera on base_link, whose z = 0 is the road"""
    camera_rpy: tuple[float, float, float]
    image: str = "/camera/image_raw"
    camera_info: str = "/camera/camera_info"
    fix: str = "/gnss/fix"
    heading: str = "/imu/data"
    odometry: str = ""
    truth_fix: str = "/truth/fix"
    truth_pose: str = "/truth/pose"
    rectified: bool = False
    """images are: P without distortion in place of K and D"""
    antenna_offset: tuple[float, float] = (0.0, 0.0)
    gnss_default_sigma_m: float = 10.0
    imu_rpy: tuple[float, float, float] = (0.0, 0.0, 0.0)
    heading_offset: float = 0.0
    heading_default_sigma: float = 0.05
    max_gap_s: float = 2.5
    max_extrapolation_s: float = 1.2

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not isinstance(value, str) and not np.isfinite(value).all():
                raise ValueError(f"BagConfig.{each.name} must be finite, got {value}")
        if not self.camera_translation[2] > 0:
            raise ValueError(
                "BagConfig.camera_translation must put the camera above the road, got z = "
                f"{self.camera_translation[2]}"
            )
        for name in ("gnss_default_sigma_m", "heading_default_sigma"):
            if not getattr(self, name) > 0:
                raise ValueError(f"BagConfig.{name} must be positive, got {getattr(self, name)}")
