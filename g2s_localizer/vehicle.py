# SPDX-License-Identifier: Apache-2.0
"""VehicleConfig: how a vehicle's sensors are mounted and read, for node, checks and training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from g2s_localizer.geometry import LatLon
from g2s_localizer.geometry.mounting import ENU_FROM, extrinsic_from_parameters, matrix_from_rpy
from g2s_localizer.motion_messages import (
    fix_from_message,
    heading_from_imu,
    heading_from_odometry,
)

FloatArray = NDArray[np.float64]

_LENGTHS = {"camera_translation": 3, "camera_rpy": 3, "antenna_offset": 2, "imu_rpy": 3}


@dataclass(frozen=True)
class VehicleConfig:
    """Places of the sensors on base_link, and conventions that messages leave unsaid.

    camera_translation     of the camera (m); NaN, as camera_rpy: the transforms say where it is
    camera_rpy             roll, pitch, yaw of its body's axes, x forward (rad)
    base_link_height       of base_link above the road (m)
    rectified              images are: P without distortion in place of K and D
    antenna_offset         x, y of the GNSS antenna (m)
    gnss_default_sigma_m   per axis, of a fix without a covariance
    imu_rpy                roll, pitch, yaw of the IMU's axes (rad)
    imu_convention         "enu" or "ned": axes of the world that its orientation is in
    heading_offset         added to a measured yaw (rad): what its zero is from east
    heading_default_sigma  of a heading without a covariance (rad)

    Raises ValueError naming the field and the value when one makes no vehicle.
    """

    camera_translation: tuple[float, ...]
    camera_rpy: tuple[float, ...]
    base_link_height: float = 0.0
    rectified: bool = False
    antenna_offset: tuple[float, ...] = (0.0, 0.0)
    gnss_default_sigma_m: float = 10.0
    imu_rpy: tuple[float, ...] = (0.0, 0.0, 0.0)
    imu_convention: str = "enu"
    heading_offset: float = 0.0
    heading_default_sigma: float = 0.05

    def __post_init__(self) -> None:
        for name, length in _LENGTHS.items():
            value = getattr(self, name)
            if len(value) != length:
                raise ValueError(f"{self._named(name)} needs {length} numbers, got {value}")
        if self.imu_convention not in ENU_FROM:
            raise ValueError(
                f"{self._named('imu_convention')} must be one of {', '.join(ENU_FROM)}, "
                f"got '{self.imu_convention}'"
            )
        numbers = ("base_link_height", "antenna_offset", "imu_rpy", "heading_offset")
        for name in ("gnss_default_sigma_m", "heading_default_sigma", *numbers):
            value = getattr(self, name)
            if not np.isfinite(value).all():
                raise ValueError(f"{self._named(name)} must be finite, got {value}")
            if name not in numbers and not value > 0:
                raise ValueError(f"{self._named(name)} must be positive, got {value}")

    def T_base_camera(self, looked_up: FloatArray | None = None) -> FloatArray:
        """Return T_base_camera (4, 4) with z = 0 on the road.

        looked_up: the same (4, 4) from base_link's own origin, by the transforms; None: as the
        fields say. Raises ValueError where nothing says it.
        """
        if looked_up is None:
            given = (*self.camera_translation, *self.camera_rpy)
            if not np.isfinite(given).all():
                raise ValueError(
                    f"{self._named('camera_translation')}, camera_rpy must be finite, got "
                    f"{self.camera_translation}, {self.camera_rpy}"
                )
            return extrinsic_from_parameters(
                self.camera_translation, self.camera_rpy, self.base_link_height
            )
        T = looked_up.copy()
        T[2, 3] += self.base_link_height
        return T

    def fix_of(self, message: Any) -> tuple[LatLon, FloatArray]:
        """Return the antenna of a NavSatFix and its covariance, as `fix_from_message` does."""
        return fix_from_message(message, self.gnss_default_sigma_m)

    def heading_of(self, message: Any) -> tuple[float, float]:
        """Return the yaw of base_link (rad, counter-clockwise from east) and its variance (rad^2).

        Of a sensor_msgs/Imu, or of a nav_msgs/Odometry, whose pose is base_link's. Raises Unusable
        as `heading_from_imu` does.
        """
        sigma, offset = self.heading_default_sigma, self.heading_offset
        if hasattr(message, "pose"):
            return heading_from_odometry(message, sigma, offset)
        R_base_imu = matrix_from_rpy(*self.imu_rpy)
        return heading_from_imu(message, R_base_imu, sigma, offset, self.imu_convention)

    def _named(self, name: str) -> str:
        return f"{type(self).__name__}.{name}"
