# SPDX-License-Identifier: Apache-2.0
"""Cost of one image in the node, from the message to the answer: g2s-benchmark's last rows."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from geometry_msgs.msg import Quaternion
from numpy.typing import NDArray
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, Image, Imu, NavSatFix
from std_msgs.msg import Header

from g2s_localizer.estimator.config import LocalizerConfig
from g2s_localizer.estimator.localizer import Localizer
from g2s_localizer.geometry import Camera, LatLon, Panorama
from g2s_localizer.imagery import SatelliteCrop
from g2s_localizer.imagery.level import Level
from g2s_localizer.messages import EQUIRECTANGULAR
from g2s_localizer.model import Network
from g2s_localizer.ros.bridge import BridgeConfig, LocalizerBridge
from g2s_localizer.ros.conversions import image_message, time_message

_PLACE = LatLon(49.0, 8.4)
_START_NS = 1_700_000_000_000_000_000
_PERIOD_NS = 100_000_000
_WARM_UP = 3


@dataclass(frozen=True)
class PictureImagery:
    """Imagery that shows the same picture (S, S, 3) RGB uint8 everywhere."""

    picture: NDArray[np.uint8]
    attribution: str = ""
    offset_m: tuple[float, float] = (0.0, 0.0)
    georeferencing_sigma_m: float | None = None

    def crop(self, centre: LatLon, size_m: float, gsd: float, yaw: float = 0.0) -> SatelliteCrop:
        return SatelliteCrop(self.picture, centre, gsd, "", yaw)

    def levels(self) -> list[Level]:
        return []

    def check(self) -> Iterator[tuple[str, str]]:
        return iter(())

    def missing(self, centre: LatLon, size_m: float, gsd: float) -> tuple[str, ...]:
        return ()


def node_cost(
    network: Network,
    image: NDArray[np.uint8],
    satellite: NDArray[np.uint8],
    camera: Camera | Panorama,
    config: LocalizerConfig,
    runs: int,
) -> dict[str, list[float]]:
    """Return milliseconds of `runs` images through a bridge whose crop is cached: `total` from the
    bytes that DDS delivers to those that it sends, `processor` of all threads meanwhile.

    The vehicle stands and every image (H, W, 3) differs from the one before, as a camera's do.
    Raises ValueError for a network that the localizer does not take, or one whose images do not
    get as far as the network.
    """
    localizer = Localizer(network, "benchmark", PictureImagery(satellite), config)
    bridge = LocalizerBridge(localizer, _bridge_config(camera))
    total, processor = [], []
    for run in range(-_WARM_UP, runs):
        stamp = _START_NS + (run + _WARM_UP) * _PERIOD_NS
        bridge.on_fix(_fix(stamp))
        bridge.on_imu(_imu(stamp))
        sent = serialize_message(_image(np.roll(image, run, axis=1), stamp))
        info = serialize_message(_camera_info(camera, stamp))
        wall, cpu = time.perf_counter(), time.process_time()
        outgoing = bridge.on_image(
            deserialize_message(sent, Image), deserialize_message(info, CameraInfo)
        )
        if outgoing is None or outgoing.estimate.score_grid is None:
            reason = outgoing.estimate.reason if outgoing else bridge.drop_reason
            raise ValueError(f"the node's cost: the image was refused: {reason}")
        serialize_message(outgoing.registration)
        if run >= 0:
            total.append((time.perf_counter() - wall) * 1e3)
            processor.append((time.process_time() - cpu) * 1e3)
    return {"total": total, "processor": processor}


def _bridge_config(camera: Camera | Panorama) -> BridgeConfig:
    x, y, z = camera.T_base_camera[:3, 3].tolist()
    return BridgeConfig(
        camera_translation=(x, y, z),
        camera_rpy=(0.0, 0.0, 0.0),
        map_frame="map",
        datum=_PLACE,
        heading_source="imu",
        max_gap_s=2.5,
        max_extrapolation_s=1.2,
    )


def _header(stamp: int, frame: str) -> Header:
    return Header(stamp=time_message(stamp), frame_id=frame)


def _fix(stamp: int) -> NavSatFix:
    fix = NavSatFix(header=_header(stamp, "gnss"), latitude=_PLACE.lat, longitude=_PLACE.lon)
    fix.position_covariance = np.diag([4.0, 4.0, 4.0]).ravel()
    fix.position_covariance_type = NavSatFix.COVARIANCE_TYPE_DIAGONAL_KNOWN
    fix.status.status = fix.status.STATUS_FIX
    return fix


def _imu(stamp: int) -> Imu:
    imu = Imu(header=_header(stamp, "imu"), orientation=Quaternion(w=1.0))
    imu.orientation_covariance = np.diag([1e-4, 1e-4, math.radians(2.0) ** 2]).ravel()
    return imu


def _image(pixels: NDArray[np.uint8], stamp: int) -> Any:
    return image_message(pixels, _header(stamp, "camera"), "rgb8", pixels.shape[1])


def _camera_info(camera: Camera | Panorama, stamp: int) -> CameraInfo:
    info = CameraInfo(header=_header(stamp, "camera"), width=camera.width, height=camera.height)
    if camera.K is None:
        info.distortion_model = EQUIRECTANGULAR
        return info
    info.distortion_model, info.d = "plumb_bob", [0.0] * 5
    info.k, info.r = camera.K.ravel(), np.eye(3).ravel()
    info.p = np.hstack([camera.K, np.zeros((3, 1))]).ravel()
    return info
