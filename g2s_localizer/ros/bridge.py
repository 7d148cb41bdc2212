# SPDX-License-Identifier: Apache-2.0
"""LocalizerBridge: messages in, messages out; no node, no clock of its own.

Node, bag replay and tests drive the same bridge.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from g2s_localizer.estimator.estimate import Estimate, Observation, Prior, Rejection
from g2s_localizer.estimator.localizer import Localizer
from g2s_localizer.estimator.read_ahead import ReadAhead
from g2s_localizer.estimator.setup_watch import SetupWatch
from g2s_localizer.geometry import Camera, Panorama
from g2s_localizer.messages import CameraReader, image_from
from g2s_localizer.ros import conversions
from g2s_localizer.ros.sensor_input import BridgeConfig as BridgeConfig
from g2s_localizer.ros.sensor_input import SensorInput

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Outgoing:
    """Messages and pictures of one image: pose None when it was rejected; (H, W, 3) uint8 RGB with
    its header, and its camera, None where there is no usable one.
    """

    pose: PoseWithCovarianceStamped | None
    registration: Any
    estimate: Estimate
    image: NDArray[np.uint8]
    image_header: Header
    camera: Camera | Panorama | None


class LocalizerBridge(SensorInput):
    """Turns images into observations, by the sensors heard, and estimates into messages.

    Callbacks of the sensors and `on_image` may run in different threads.

    lookup_extrinsic  gives T_base_camera (4, 4) for the frame of a CameraInfo, raises ValueError
                      where it is not known; None: as the config says
    """

    def __init__(
        self,
        localizer: Localizer,
        config: BridgeConfig,
        lookup_extrinsic: Callable[[str], FloatArray] | None = None,
    ) -> None:
        super().__init__(config)
        self._localizer = localizer
        # A course is made of the fixes, and a filter's pose is that of who watches itself.
        self._watch = SetupWatch(
            config.heading_source != "course" and config.prior_source == "sensors"
        )
        self._lookup_extrinsic = lookup_extrinsic
        self._cameras = CameraReader(config.rectified)

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

    def on_image(self, msg: Image | CompressedImage, info: CameraInfo) -> Outgoing | None:
        """Return answer to an image and its CameraInfo; None for an image that cannot be read."""
        self.received["image"] += 1
        try:
            image = image_from(msg)
            stamp_ns = self.image_stamp(msg.header)
        except ValueError as error:
            self.drop("image", str(error))
            return None
        prior = self.prior_at(stamp_ns)
        camera = self._camera(info, image)
        if not isinstance(prior, Prior):
            estimate = Estimate(stamp_ns, rejection=prior[0], detail=prior[1])
        elif isinstance(camera, str):
            estimate = Estimate(stamp_ns, prior, rejection=Rejection.NO_CAMERA, detail=camera)
        else:
            observation = Observation(stamp_ns, image, camera, self._watched(prior))
            estimate = self._watch.look(observation, self._localizer.localize(observation))
        estimate = self._said_with_datum(estimate)
        known = None if isinstance(camera, str) else camera
        return self._outgoing(estimate, known, image, msg.header)

    def encode_ahead(self) -> None:
        """Work ahead on the crop that the next images need, while no image waits."""
        self._localizer.encode_ahead()

    def _watched(self, prior: Prior) -> Prior:
        """Return the prior with what the watches know of it, up to the newest messages."""
        with self._lock:
            self._watch.follow(self._priors)
        return self._watch.judge(prior)

    def _said_with_datum(self, estimate: Estimate) -> Estimate:
        """Return the estimate, if it is in the frame of map that all others will be in."""
        with self._lock:
            if self._priors.warning:
                warnings = (*estimate.warnings, self._priors.warning)
                estimate = replace(estimate, warnings=warnings)
            if not estimate.accepted or estimate.prior is None:
                return estimate
            if estimate.prior.frame is self._priors.frame:
                self._priors.keep_datum()
                return estimate
        detail = "the datum was given up while the image was worked on"
        return replace(estimate, rejection=Rejection.NO_PRIOR, detail=detail)

    def _camera(self, info: CameraInfo, image: NDArray[np.uint8]) -> Camera | Panorama | str:
        """Return the camera of an image, or why there is none."""
        try:
            camera = self._cameras.read(info, self._extrinsic(info.header.frame_id))
            if image.shape[:2] != (camera.height, camera.width):
                raise ValueError(
                    f"image is {image.shape[1]} x {image.shape[0]}, "
                    f"CameraInfo says {camera.width} x {camera.height} by its size, roi and binning"
                )
        except ValueError as error:
            self.drop("camera_info", str(error))
            return str(error)
        return camera

    def _extrinsic(self, camera_frame: str) -> FloatArray:
        lookup = self._lookup_extrinsic
        return self._config.T_base_camera(lookup(camera_frame) if lookup else None)

    def _outgoing(
        self,
        estimate: Estimate,
        camera: Camera | Panorama | None,
        image: NDArray[np.uint8],
        header: Header,
    ) -> Outgoing:
        registration = conversions.registration_message(
            estimate,
            camera,
            estimate.prior.frame if estimate.prior else self.frame,
            image_size=(image.shape[1], image.shape[0]),
            frame_id=self._config.map_frame,
            map_offset_m=self.map_offset_m,
            attribution=self.attribution,
            checkpoint=self.checkpoint_id,
        )
        pose = None
        if estimate.accepted:
            pose = conversions.pose_stamped_message(estimate, self._config.map_frame)
        return Outgoing(pose, registration, estimate, image, header, camera)
