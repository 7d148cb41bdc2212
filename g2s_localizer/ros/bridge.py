# SPDX-License-Identifier: Apache-2.0
"""LocalizerBridge: messages in, messages out; no node, no clock of its own.

Node, bag replay and tests drive the same bridge.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import Odometry
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, Imu, NavSatFix

from g2s_localizer.estimator.estimate import Estimate, Observation, Prior, Rejection
from g2s_localizer.estimator.localizer import Localizer
from g2s_localizer.estimator.prior import PriorBuffer
from g2s_localizer.estimator.read_ahead import ReadAhead
from g2s_localizer.geometry import Camera, LatLon, LocalFrame
from g2s_localizer.geometry.mounting import extrinsic_from_parameters
from g2s_localizer.messages import CameraReader, image_from
from g2s_localizer.ros import conversions

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class BridgeConfig:
    """How to read the sensors; the node's parameters of the same meaning fill it.

    datum None: the first fix. Lengths in m, angles in rad, camera_rpy of the camera's body.
    """

    map_frame: str
    datum: LatLon | None
    camera_translation: tuple[float, ...]
    camera_rpy: tuple[float, ...]
    base_link_height: float
    rectified: bool
    antenna_offset: tuple[float, ...]
    gnss_default_sigma_m: float
    heading_source: str
    heading_offset: float
    imu_rpy: tuple[float, ...]
    heading_default_sigma: float
    max_gap_s: float
    max_extrapolation_s: float


@dataclass(frozen=True)
class Outgoing:
    """What one image leads to: pose None when it was rejected."""

    pose: PoseWithCovarianceStamped | None
    registration: Any
    estimate: Estimate


class LocalizerBridge:
    """Turns sensor messages into observations and estimates into messages.

    A message that cannot be used is dropped: `dropped` counts them by topic, `drop_reason` holds
    the latest reason of each. Nothing that a message holds raises. Callbacks of the sensors and
    `on_image` may run in different threads.

    lookup_extrinsic  gives T_base_camera (4, 4) for the frame of a CameraInfo, raises ValueError
                      where it is not known; None: as the config says
    """

    def __init__(
        self,
        localizer: Localizer,
        config: BridgeConfig,
        lookup_extrinsic: Callable[[str], FloatArray] | None = None,
    ) -> None:
        self._localizer = localizer
        self._config = config
        self._lookup_extrinsic = lookup_extrinsic
        self._cameras = CameraReader(config.rectified)
        self._T_base_camera = extrinsic_from_parameters(
            config.camera_translation, config.camera_rpy, config.base_link_height
        )
        self._R_base_imu = conversions.matrix_from_rpy(*config.imu_rpy)
        self._lock = threading.Lock()
        self._priors = PriorBuffer(
            LocalFrame(config.datum) if config.datum else None,
            antenna_offset_xy=(config.antenna_offset[0], config.antenna_offset[1]),
            max_gap_s=config.max_gap_s,
            max_extrapolation_s=config.max_extrapolation_s,
        )
        self.received: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.drop_reason: dict[str, str] = {}

    @property
    def attribution(self) -> str:
        return self._localizer.attribution

    @property
    def map_offset_m(self) -> tuple[float, float]:
        return self._localizer.map_offset_m

    @property
    def checkpoint_id(self) -> str:
        return self._localizer.checkpoint_id

    @property
    def read_ahead(self) -> ReadAhead:
        return self._localizer.read_ahead

    @property
    def frame(self) -> LocalFrame | None:
        return self._priors.frame

    @property
    def resets(self) -> int:
        """How often time was set back."""
        return self._priors.resets

    def on_fix(self, msg: NavSatFix) -> None:
        def add() -> None:
            place, covariance = conversions.fix_from_message(msg, self._config.gnss_default_sigma_m)
            self._priors.add_fix(conversions.stamp_ns(msg.header), place, covariance)

        self._take("fix", add)

    def on_imu(self, msg: Imu) -> None:
        def add() -> None:
            yaw, variance = conversions.heading_from_imu(
                msg,
                self._R_base_imu,
                self._config.heading_default_sigma,
                self._config.heading_offset,
            )
            self._priors.add_heading(conversions.stamp_ns(msg.header), yaw, variance)

        self._take("imu", add)

    def on_odometry(self, msg: Odometry) -> None:
        def add() -> None:
            yaw, variance = conversions.heading_from_odometry(
                msg, self._config.heading_default_sigma, self._config.heading_offset
            )
            self._priors.add_heading(conversions.stamp_ns(msg.header), yaw, variance)

        self._take("odometry", add)

    def reset(self) -> None:
        """Time was set back: what is known of the motion belongs to another time."""
        with self._lock:
            self._priors.reset()

    def is_ready(self, stamp_ns: int) -> bool:
        """True when the prior at the stamp will not get better by waiting."""
        with self._lock:
            return self._priors.is_settled(stamp_ns)

    def prior_age(self, stamp_ns: int) -> float:
        """Seconds from the newest fix to the stamp (negative: the fix is newer); NaN: no fix."""
        newest = self._priors.newest_fix_ns
        return float("nan") if newest is None else (stamp_ns - newest) * 1e-9

    def on_image(self, msg: Image | CompressedImage, info: CameraInfo) -> Outgoing | None:
        """The answer to an image and its CameraInfo; None for an image that cannot be read."""
        self.received["image"] += 1
        stamp_ns = conversions.stamp_ns(msg.header)
        try:
            image = image_from(msg)
        except ValueError as error:
            self.drop("image", str(error))
            return None
        with self._lock:
            prior = self._priors.at(stamp_ns)
        camera = self._camera(info, image)
        if not isinstance(prior, Prior):
            estimate = Estimate(stamp_ns, rejection=prior[0], detail=prior[1])
        elif not isinstance(camera, Camera):
            estimate = Estimate(stamp_ns, prior, rejection=Rejection.NO_CAMERA, detail=camera)
        else:
            estimate = self._localizer.localize(Observation(stamp_ns, image, camera, prior))
        return self._outgoing(estimate, camera if isinstance(camera, Camera) else None, image)

    def drop(self, topic: str, reason: str) -> None:
        self.dropped[topic] += 1
        self.drop_reason[topic] = reason

    def _take(self, topic: str, add: Callable[[], None]) -> None:
        self.received[topic] += 1
        try:
            with self._lock:
                add()
        except ValueError as error:
            self.drop(topic, str(error))

    def _camera(self, info: CameraInfo, image: NDArray[np.uint8]) -> Camera | str:
        """The Camera of an image, or why there is none."""
        try:
            camera = self._cameras.read(info, self._extrinsic(info.header.frame_id))
            if image.shape[:2] != (camera.height, camera.width):
                raise ValueError(
                    f"image is {image.shape[1]} x {image.shape[0]}, "
                    f"CameraInfo says {camera.width} x {camera.height}"
                )
        except ValueError as error:
            self.drop("camera_info", str(error))
            return str(error)
        return camera

    def _extrinsic(self, camera_frame: str) -> FloatArray:
        if self._lookup_extrinsic is None:
            return self._T_base_camera
        T = self._lookup_extrinsic(camera_frame).copy()
        T[2, 3] += self._config.base_link_height
        return T

    def _outgoing(
        self, estimate: Estimate, camera: Camera | None, image: NDArray[np.uint8]
    ) -> Outgoing:
        registration = conversions.registration_message(
            estimate,
            camera,
            self.frame,
            image_size=(image.shape[1], image.shape[0]),
            frame_id=self._config.map_frame,
            map_offset_m=self.map_offset_m,
            attribution=self.attribution,
            checkpoint=self.checkpoint_id,
        )
        pose = None
        if estimate.accepted:
            pose = conversions.pose_stamped_message(estimate, self._config.map_frame)
        return Outgoing(pose, registration, estimate)
