# SPDX-License-Identifier: Apache-2.0
"""The table of the node's parameters: names, defaults, ranges and meanings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

from g2s_localizer.estimator.config import CACHE_MB
from g2s_localizer.estimator.gate import GateConfig
from g2s_localizer.geometry.mounting import ENU_FROM

Value = str | bool | int | float | list[float]


@dataclass(frozen=True)
class Specification:
    """One parameter; `low` and `high` are inclusive. An array keeps the length of its default."""

    name: str
    default: Value
    meaning: str
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()
    read_only: bool = False
    frame_id: bool = False

    def descriptor(self) -> ParameterDescriptor:
        descriptor = ParameterDescriptor(
            name=self.name, description=self.meaning, read_only=self.read_only
        )
        if self.choices:
            descriptor.additional_constraints = f"one of: {', '.join(self.choices)}"
        if isinstance(self.default, float) and math.isfinite(self.low):
            descriptor.floating_point_range = [
                FloatingPointRange(from_value=self.low, to_value=self.high)
            ]
        if type(self.default) is int:
            descriptor.integer_range = [
                IntegerRange(from_value=int(self.low), to_value=int(self.high))
            ]
        return descriptor

    def fault(self, value: Any) -> str | None:
        """Say what is wrong with a value that rclpy's own check of type and range lets pass."""
        if self.choices and value not in self.choices:
            return f"{self.name} must be one of {', '.join(self.choices)}, got '{value}'"
        if self.frame_id and (not value.strip() or value.startswith("/")):
            return f"{self.name} must be the name of a frame without a leading /, got '{value}'"
        if isinstance(self.default, list) and len(value) != len(self.default):
            return f"{self.name} needs {len(self.default)} numbers, got {list(value)}"
        return None


SPECIFICATIONS = (
    Specification(
        "autostart",
        True,
        "configure and activate without being asked; false under a lifecycle manager",
        read_only=True,
    ),
    Specification(
        "imagery.uri",
        "",
        "satellite imagery on disk: a path, or slippy:DIR, mbtiles:FILE, pmtiles:FILE, "
        "geotiff:FILE, satmap:DIR; must be given",
    ),
    Specification(
        "imagery.offline",
        True,
        "imagery comes from the disk only, no socket is ever opened for it; false is refused at "
        "configure: g2s-tiles fetch does the fetching, before the drive",
    ),
    Specification(
        "imagery.area",
        [math.nan, math.nan, math.nan, math.nan],
        "area that is planned to be driven (degrees: west, south, east, north), whose coverage by "
        "the imagery is checked at configure; NaN: 500 m around map.datum, or no check without it",
    ),
    Specification("checkpoint", "", "network weights (.safetensors); empty: those shipped"),
    Specification(
        "checkpoint_sha256",
        "",
        "SHA-256 that checkpoint must have, or its .json, which vouches for both; empty: any",
    ),
    Specification("device", "cpu", "PyTorch device: cpu, cuda or cuda:N"),
    Specification(
        "precision", "fp32", "arithmetic of the network", choices=("fp32", "bf16", "fp16")
    ),
    Specification(
        "threads",
        1,
        "threads that compute an image on the CPU; 0: as PyTorch chooses. More than one pays only "
        "on cores that are otherwise idle: they wait for each other without sleeping",
        0,
        256,
    ),
    Specification(
        "cache_mb",
        CACHE_MB,
        "bound of the satellite crops and features kept (MiB), the least recently used leaving "
        "first; the shipped network's take 2.3 MiB each, one every 4 m",
        1.0,
        65536.0,
    ),
    Specification(
        "map.frame_id",
        "map",
        "frame of the published poses: ENU, origin at the datum",
        frame_id=True,
    ),
    Specification(
        "map.datum_latitude", math.nan, "origin of map (degrees, WGS 84); NaN: the first fix"
    ),
    Specification(
        "map.datum_longitude", math.nan, "origin of map (degrees, WGS 84); NaN: the first fix"
    ),
    Specification(
        "map.sigma_m",
        0.3,
        "standard deviation per axis of the imagery's georeferencing (m): floor of the covariance",
        0.0,
        100.0,
    ),
    Specification(
        "base_frame",
        "base_link",
        "frame whose pose is published (x forward, y left, z up); tf looks it up",
        frame_id=True,
    ),
    Specification(
        "camera.extrinsic_source",
        "parameters",
        "camera pose on the vehicle from camera.translation and camera.rotation_rpy, or from tf "
        "(base_frame <- frame_id of CameraInfo)",
        choices=("parameters", "tf"),
    ),
    Specification(
        "camera.translation",
        [math.nan, math.nan, math.nan],
        "optical centre in base_frame (m: forward, left, up), of a rectified stereo pair that of "
        "the first camera; must be given unless it is from tf",
    ),
    Specification(
        "camera.rotation_rpy",
        [0.0, 0.0, 0.0],
        "roll, pitch, yaw (rad) of the camera's body (x forward, y left, z up, not the optical "
        "axes) about base_frame's fixed axes: zeros look straight ahead, positive pitch looks "
        "down, positive yaw looks left",
    ),
    Specification(
        "camera.base_link_height",
        0.0,
        "height of base_frame's origin above the ground (m)",
        -10.0,
        10.0,
    ),
    Specification(
        "camera.rectified",
        False,
        "images are rectified: use P of CameraInfo, with its baseline, and no distortion; false: "
        "K and D",
    ),
    Specification(
        "image.transport",
        "raw",
        "raw: image (sensor_msgs/Image); compressed: image/compressed (CompressedImage), under the "
        "name that image is remapped to",
        choices=("raw", "compressed"),
    ),
    Specification(
        "gnss.antenna_offset", [0.0, 0.0], "GNSS antenna in base_frame (m: forward, left)"
    ),
    Specification(
        "gnss.default_sigma_m",
        10.0,
        "standard deviation per axis of a fix whose covariance is unknown or zero (m)",
        0.01,
        1000.0,
    ),
    Specification(
        "heading.source",
        "imu",
        "imu: orientation of sensor_msgs/Imu, ENU, yaw 0 = true east where the vehicle is; "
        "odometry: that of nav_msgs/Odometry, whose axes must be map's (an EKF's global estimate, "
        "not wheel odometry from zero); course: the way driven between the fixes, for a vehicle "
        "without a compass, none below 2 m/s",
        choices=("imu", "odometry", "course"),
    ),
    Specification(
        "heading.convention",
        "enu",
        "axes of the world that the IMU's orientation is in. enu: yaw counter-clockwise from east "
        "(REP-103); ned: clockwise from north",
        choices=tuple(ENU_FROM),
    ),
    Specification(
        "heading.offset",
        0.0,
        "added to the measured yaw (rad; not to a course): what its zero is from east, "
        "counter-clockwise. An ENU "
        "compass needs minus the declination (Boston, declination 14 deg west: +0.244); one "
        "whose zero is north +pi/2 more",
        -2.0 * math.pi,
        2.0 * math.pi,
    ),
    Specification(
        "heading.imu_rotation_rpy",
        [0.0, 0.0, 0.0],
        "how the IMU is mounted: roll, pitch, yaw (rad) of its axes about base_frame's; its z axis "
        "down is roll 3.1416",
    ),
    Specification(
        "heading.default_sigma",
        0.05,
        "standard deviation of a heading whose covariance is zero (rad)",
        0.0001,
        3.2,
    ),
    Specification(
        "prior.source",
        "sensors",
        "sensors: from fix and heading; pose: from prior_pose "
        "(geometry_msgs/PoseWithCovarianceStamped in map, of a filter that does not use this "
        "node's poses), which needs map.datum_latitude and map.datum_longitude",
        choices=("sensors", "pose"),
    ),
    Specification(
        "prior.motion",
        "odometry",
        "what carries the prior from the newest fix to the image, while it comes: odometry: twist "
        "of nav_msgs/Odometry; twist: geometry_msgs/TwistWithCovarianceStamped; fixes: neither, "
        "always the straight line of the fixes. Both twists are base_frame's own: forward m/s, "
        "yaw rate rad/s counter-clockwise",
        choices=("odometry", "twist", "fixes"),
    ),
    Specification(
        "prior.max_gap_s",
        2.5,
        "fixes or headings further apart in time are not interpolated (s)",
        0.01,
        60.0,
    ),
    Specification(
        "prior.max_extrapolation_s",
        1.5,
        "how far past the newest fix or heading there is still a prior, its covariance growing (s)",
        0.0,
        10.0,
    ),
    Specification(
        "prior.max_wait_s",
        0.0,
        "how long an image waits for a fix and a heading newer than itself (s of wall time), while "
        "no other is worked on; 0: the prior is carried to the image by the motion before it",
        0.0,
        5.0,
    ),
    Specification(
        "gate.max_ellipse_m",
        GateConfig.max_ellipse_m,
        "longest 1-sigma axis of the position ellipse that is published (m)",
        0.01,
        100.0,
    ),
    Specification(
        "gate.max_innovation",
        GateConfig.max_innovation,
        "largest Mahalanobis distance between pose and prior in x, y, yaw (square: chi-square of 3 "
        "degrees of freedom; 3.37 refuses 1 % of honest estimates, 4.03 0.1 %)",
        0.1,
        100.0,
    ),
    Specification(
        "gate.max_entropy",
        GateConfig.max_entropy,
        "largest entropy of the score map, as a share of a flat one's",
        0.001,
        1.0,
    ),
    Specification(
        "gate.max_peak_ratio",
        GateConfig.max_peak_ratio,
        "largest probability of the second peak over the first",
        0.001,
        1.0,
    ),
    Specification(
        "gate.min_correlation",
        GateConfig.min_correlation,
        "least correlation of image and imagery at the place found (-1 .. 1); NaN: the floor that "
        "calibration stored with the checkpoint",
    ),
    Specification(
        "gate.min_presence",
        GateConfig.min_presence,
        "least probability that the image, with those before it, belongs to the imagery around "
        "the prior",
        0.001,
        1.0,
    ),
    Specification(
        "diagnostics.period_s",
        0.5,
        "seconds between messages on /diagnostics",
        0.05,
        60.0,
        read_only=True,
    ),
)
