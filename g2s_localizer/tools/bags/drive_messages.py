# SPDX-License-Identifier: Apache-2.0
"""ROS messages of a vehicle on a KITTI drive, from its records.

The messages are those of a rosbags type store, so no ROS installation is needed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from rosbags.typesys.store import Typestore

from g2s_localizer.geometry.geodesy import LatLon, LocalFrame
from g2s_localizer.geometry.mounting import ENU_FROM, matrix_from_rpy
from g2s_localizer.kitti import IMU_HEIGHT, OXTS_COLUMNS, KittiDrive
from g2s_localizer.tools.bags.gauss_markov import gauss_markov
from g2s_localizer.tools.bags.vehicle_odometry import VehicleOdometry

FloatArray = NDArray[np.float64]

CAMERA_FRAME = "camera_color_left"
TIME_CONSTANT = 5.0
"""s after which the error of position and heading has mostly become another one."""

CLIP = 2.0
"""Errors stay within this many standard deviations."""

ATTITUDE_STD = math.radians(0.5)
"""Least standard deviation (rad) that /imu/data claims for its orientation."""

TURN_RATE_STD = math.radians(0.1)
"""Standard deviation (rad/s) that /imu/data claims for its turn rates."""

ACCELERATION_STD = 0.1
"""Standard deviation (m/s^2) that /imu/data claims for its accelerations."""

UNKNOWN_STD = 1e3
"""Standard deviation (m, rad) of what the pose of /odometry leaves out: z, roll, pitch."""


@dataclass(frozen=True)
class ImuSetup:
    """An IMU that the node reads rightly with these values of its parameters heading.*.

    convention    "enu" or "ned": axes of the world that the orientation is in
    offset        what is missing from its yaw (rad, counter-clockwise)
    rotation_rpy  roll, pitch, yaw of its axes about base_link's (rad)
    """

    convention: str = "enu"
    offset: float = 0.0
    rotation_rpy: tuple[float, ...] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        if not np.isfinite([self.offset, *self.rotation_rpy]).all():
            raise ValueError(f"angles of an IMU must be finite, got {self}")


ALIGNED_IMU = ImuSetup()


class DriveMessages:
    """Messages of one drive, each from the index of its OXTS record or image.

    gnss_noise     standard deviation per axis (m) of the noise added to /gnss/fix
    heading_noise  standard deviation (deg) of the noise added to the yaw of /imu/data
    odometry_noise  errors of /odometry and odom -> base_link, as VehicleOdometry has them
    imu             how the IMU of /imu/data is mounted and what it calls a heading
    """

    def __init__(
        self,
        drive: KittiDrive,
        typestore: Typestore,
        gnss_noise: float,
        heading_noise: float,
        odometry_noise: float,
        seed: int,
        imu: ImuSetup = ALIGNED_IMU,
    ) -> None:
        self._drive = drive
        self._types = typestore.types
        self._gnss_noise = gnss_noise
        self._imu = imu
        self._R_base_imu = matrix_from_rpy(*imu.rotation_rpy)
        self._heading_noise = math.radians(heading_noise)
        seconds = (drive.oxts_stamps - drive.oxts_stamps[0]) * 1e-9
        rng = np.random.default_rng(seed)
        self._east, self._north, self._turn = (
            gauss_markov(seconds, sigma, TIME_CONSTANT, CLIP, rng)
            for sigma in (gnss_noise, gnss_noise, self._heading_noise)
        )
        self._odometry = VehicleOdometry(drive, odometry_noise, seed)
        # As the node's, whose datum is the first fix.
        self._map = LocalFrame(self._antenna(0))

    def image(self, frame: int) -> Any:
        pixels = self._drive.image(frame)
        return self._new(
            "sensor_msgs/msg/Image",
            header=self._header(int(self._drive.image_stamps[frame]), CAMERA_FRAME),
            height=pixels.shape[0],
            width=pixels.shape[1],
            encoding="rgb8",
            is_bigendian=0,
            step=3 * pixels.shape[1],
            data=pixels.reshape(-1),
        )

    def camera_info(self, frame: int) -> Any:
        camera = self._drive.camera
        return self._new(
            "sensor_msgs/msg/CameraInfo",
            header=self._header(int(self._drive.image_stamps[frame]), CAMERA_FRAME),
            height=camera.height,
            width=camera.width,
            distortion_model="plumb_bob",
            d=camera.distortion,
            k=camera.K.reshape(-1),
            r=np.eye(3).reshape(-1),
            p=np.hstack([camera.K, np.zeros((3, 1))]).reshape(-1),
            binning_x=0,
            binning_y=0,
            roi=self._new(
                "sensor_msgs/msg/RegionOfInterest",
                x_offset=0,
                y_offset=0,
                height=0,
                width=0,
                do_rectify=False,
            ),
        )

    def fix(self, record: int) -> Any:
        """Return the antenna's NavSatFix, IMU_HEIGHT above base_link, with its noise."""
        std = max(self._gnss_noise, self._value(record, "pos_accuracy"))
        altitude = self._value(record, "alt")
        return self._nav_sat_fix(record, "gnss", self._antenna(record), altitude, std)

    def truth_fix(self, record: int) -> Any:
        """Return NavSatFix of base_link without noise."""
        altitude = self._value(record, "alt") - IMU_HEIGHT
        accuracy = self._value(record, "pos_accuracy")
        place = self._drive.latlon(record)
        return self._nav_sat_fix(record, "base_link", place, altitude, accuracy)

    def imu(self, record: int) -> Any:
        roll, pitch = self._value(record, "roll"), self._value(record, "pitch")
        yaw = self._drive.yaw(record) + self._turn[record] - self._imu.offset
        R_world_base = ENU_FROM[self._imu.convention].T @ matrix_from_rpy(roll, pitch, yaw)
        heading_std = max(self._heading_noise, ATTITUDE_STD)
        return self._new(
            "sensor_msgs/msg/Imu",
            header=self._header(int(self._drive.oxts_stamps[record]), "imu_link"),
            orientation=self._quaternion(R_world_base @ self._R_base_imu),
            orientation_covariance=_diagonal([ATTITUDE_STD, ATTITUDE_STD, heading_std]),
            angular_velocity=self._in_imu(record, "wx", "wy", "wz"),
            angular_velocity_covariance=_diagonal([TURN_RATE_STD] * 3),
            linear_acceleration=self._in_imu(record, "ax", "ay", "az"),
            linear_acceleration_covariance=_diagonal([ACCELERATION_STD] * 3),
        )

    def odometry(self, record: int) -> Any:
        """Return the twist of base_link, and the pose dead-reckoned from it, zero at first."""
        measured = self._odometry
        x, y, yaw = measured.path[record]
        xy_std, yaw_std = measured.path_std[record]
        speed = measured.forward[record], measured.left[record], self._value(record, "vu")
        turn = self._value(record, "wf"), self._value(record, "wl"), measured.turn[record]
        return self._new(
            "nav_msgs/msg/Odometry",
            header=self._header(int(self._drive.oxts_stamps[record]), "odom"),
            child_frame_id="base_link",
            pose=self._new(
                "geometry_msgs/msg/PoseWithCovariance",
                pose=self._pose([x, y, 0.0], matrix_from_rpy(0.0, 0.0, yaw)),
                covariance=_diagonal([xy_std] * 2 + [UNKNOWN_STD] * 3 + [yaw_std]),
            ),
            twist=self._new(
                "geometry_msgs/msg/TwistWithCovariance",
                twist=self._new(
                    "geometry_msgs/msg/Twist",
                    linear=self._vector(speed),
                    angular=self._vector(turn),
                ),
                covariance=_diagonal([measured.speed_std[record]] * 3 + [measured.turn_std] * 3),
            ),
        )

    def tf(self, record: int) -> Any:
        """Return the transform odom -> base_link, the pose of /odometry."""
        x, y, yaw = self._odometry.path[record]
        T = np.eye(4)
        T[:3, :3] = matrix_from_rpy(0.0, 0.0, yaw)
        T[:2, 3] = x, y
        return self._transforms(int(self._drive.oxts_stamps[record]), "odom", {"base_link": T})

    def truth_pose(self, stamp: int) -> Any:
        """Return exact pose of base_link at `stamp` (ns) in the ENU map at the first message of
        /gnss/fix.

        Roll, pitch and height are those of the nearest record.
        """
        place, yaw = self._drive.pose_at(stamp)
        record = int(np.abs(self._drive.oxts_stamps - stamp).argmin())
        roll, pitch = self._value(record, "roll"), self._value(record, "pitch")
        height = self._value(record, "alt") - self._value(0, "alt")
        return self._new(
            "geometry_msgs/msg/PoseStamped",
            header=self._header(stamp, "map"),
            pose=self._pose([*self._map.to_xy(place), height], matrix_from_rpy(roll, pitch, yaw)),
        )

    def tf_static(self, stamp: int) -> Any:
        T_base_gnss = np.eye(4)
        T_base_gnss[2, 3] = IMU_HEIGHT
        T_base_imu = T_base_gnss.copy()
        T_base_imu[:3, :3] = self._R_base_imu
        children = {
            CAMERA_FRAME: self._drive.camera.T_base_camera,
            "imu_link": T_base_imu,
            "gnss": T_base_gnss,
        }
        return self._transforms(stamp, "base_link", children)

    def _antenna(self, record: int) -> LatLon:
        """Return where the receiver believes the antenna to be."""
        place = self._drive.latlon(record)
        if not self._gnss_noise:
            return place
        return LocalFrame(place).to_latlon(self._east[record], self._north[record])

    def _transforms(self, stamp: int, parent: str, children: dict[str, FloatArray]) -> Any:
        return self._new(
            "tf2_msgs/msg/TFMessage",
            transforms=[
                self._new(
                    "geometry_msgs/msg/TransformStamped",
                    header=self._header(stamp, parent),
                    child_frame_id=child,
                    transform=self._new(
                        "geometry_msgs/msg/Transform",
                        translation=self._vector(T[:3, 3]),
                        rotation=self._quaternion(T[:3, :3]),
                    ),
                )
                for child, T in children.items()
            ],
        )

    def _in_imu(self, record: int, *columns: str) -> Any:
        """Return Vector3 of three columns, base_link's x, y, z, in the axes of the IMU."""
        return self._vector(self._R_base_imu.T @ [self._value(record, c) for c in columns])

    def _value(self, record: int, column: str) -> float:
        return float(self._drive.oxts[record, OXTS_COLUMNS.index(column)])

    def _new(self, msgtype: str, **fields: Any) -> Any:
        return self._types[msgtype](**fields)

    def _header(self, stamp: int, frame_id: str) -> Any:
        time = self._new("builtin_interfaces/msg/Time", sec=stamp // 10**9, nanosec=stamp % 10**9)
        return self._new("std_msgs/msg/Header", stamp=time, frame_id=frame_id)

    def _nav_sat_fix(
        self, record: int, frame_id: str, place: LatLon, altitude: float, std: float
    ) -> Any:
        fix: Any = self._types["sensor_msgs/msg/NavSatFix"]
        status: Any = self._types["sensor_msgs/msg/NavSatStatus"]
        return fix(
            header=self._header(int(self._drive.oxts_stamps[record]), frame_id),
            status=status(status=status.STATUS_FIX, service=status.SERVICE_GPS),
            latitude=place.lat,
            longitude=place.lon,
            altitude=altitude,
            position_covariance=_diagonal([std] * 3),
            position_covariance_type=fix.COVARIANCE_TYPE_DIAGONAL_KNOWN,
        )

    def _pose(self, position: ArrayLike, rotation: FloatArray) -> Any:
        x, y, z = (float(value) for value in np.asarray(position))
        return self._new(
            "geometry_msgs/msg/Pose",
            position=self._new("geometry_msgs/msg/Point", x=x, y=y, z=z),
            orientation=self._quaternion(rotation),
        )

    def _vector(self, values: ArrayLike) -> Any:
        x, y, z = (float(value) for value in np.asarray(values))
        return self._new("geometry_msgs/msg/Vector3", x=x, y=y, z=z)

    def _quaternion(self, rotation: FloatArray) -> Any:
        axis_angle = cv2.Rodrigues(rotation)[0].reshape(3)
        angle = float(np.linalg.norm(axis_angle))
        # sin(angle / 2) / angle, which sinc keeps finite at zero.
        x, y, z = axis_angle * 0.5 * np.sinc(0.5 * angle / math.pi)
        return self._new(
            "geometry_msgs/msg/Quaternion",
            x=float(x),
            y=float(y),
            z=float(z),
            w=math.cos(0.5 * angle),
        )


def _diagonal(stds: ArrayLike) -> FloatArray:
    """Return covariance, row-major and flat, of independent components."""
    return np.diag(np.square(np.asarray(stds, np.float64))).reshape(-1)
