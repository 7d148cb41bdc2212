# SPDX-License-Identifier: Apache-2.0
"""BagConfig: what to read of a recorded bag, and how its sensors are mounted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from g2s_localizer.vehicle import VehicleConfig


@dataclass(frozen=True)
class BagConfig(VehicleConfig):
    """The vehicle that recorded a bag, and what to read of it.

    Topics: `image` raw or compressed, `heading` sensor_msgs/Imu or nav_msgs/Odometry. The truth
    of a bag is used for scoring where both of its topics are there: `truth_pose` (PoseStamped)
    in an ENU map, and `truth_fix` of the same point, which tells where that map lies. `odometry`
    nav_msgs/Odometry whose pose is smooth (wheels, gyroscope; no GNSS in it): the recipe lift
    needs it; "": not read.
    max_gap_s, max_extrapolation_s: as the node's parameters of the prior.
    """

    image: str = "/camera/image_raw"
    camera_info: str = "/camera/camera_info"
    fix: str = "/gnss/fix"
    heading: str = "/imu/data"
    odometry: str = ""
    truth_fix: str = "/truth/fix"
    truth_pose: str = "/truth/pose"
    max_gap_s: float = 2.5
    max_extrapolation_s: float = 1.2

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("camera_translation", "camera_rpy", "max_gap_s", "max_extrapolation_s"):
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"BagConfig.{name} must be finite, got {getattr(self, name)}")
        height = self.camera_translation[2] + self.base_link_height
        if not height > 0:
            raise ValueError(
                f"BagConfig.camera_translation must put the camera above the road, got z = {height}"
            )
