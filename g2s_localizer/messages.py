# SPDX-License-Identifier: Apache-2.0
"""Sensor messages, live or recorded, as the package's types: the one reader of images and cameras.

Messages are read by the names of their fields alone, whether rclpy or rosbags made them; ROS 1's
K, D and P serve as well. What a message cannot be turned into raises ValueError that names the
field, the value and the likely cause.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from g2s_localizer.geometry import Camera, Panorama
from g2s_localizer.geometry.distortion import COEFFICIENTS
from g2s_localizer.geometry.mounting import check_mounting, check_view
from g2s_localizer.imagery.picture import MAX_PIXELS, UnusablePicture, decode_picture

FloatArray = NDArray[np.float64]
Image = NDArray[np.uint8]

_BAYER = {
    "bayer_rggb": cv2.COLOR_BayerBG2RGB,
    "bayer_bggr": cv2.COLOR_BayerRG2RGB,
    "bayer_gbrg": cv2.COLOR_BayerGR2RGB,
    "bayer_grbg": cv2.COLOR_BayerGB2RGB,
}
"""OpenCV names a mosaic by the second row's second and third pixel."""

_UYVY, _YUYV = cv2.COLOR_YUV2RGB_UYVY, cv2.COLOR_YUV2RGB_YUY2

_PACKED = {
    **{f"mono{bits}": (1, bits, cv2.COLOR_GRAY2RGB) for bits in (8, 16)},
    **{f"rgb{bits}": (3, bits, None) for bits in (8, 16)},
    **{f"bgr{bits}": (3, bits, cv2.COLOR_BGR2RGB) for bits in (8, 16)},
    **{f"rgba{bits}": (4, bits, cv2.COLOR_RGBA2RGB) for bits in (8, 16)},
    **{f"bgra{bits}": (4, bits, cv2.COLOR_BGRA2RGB) for bits in (8, 16)},
    **{f"{name}{bits}": (1, bits, code) for name, code in _BAYER.items() for bits in (8, 16)},
    # Matrices of OpenCV, whose channels are blue, green, red.
    "8UC1": (1, 8, cv2.COLOR_GRAY2RGB),
    "8UC3": (3, 8, cv2.COLOR_BGR2RGB),
    "8UC4": (4, 8, cv2.COLOR_BGRA2RGB),
    **dict.fromkeys(("uyvy", "yuv422"), (2, 8, _UYVY)),
    **dict.fromkeys(("yuyv", "yuv422_yuy2"), (2, 8, _YUYV)),
}
"""By encoding: numbers a pixel, bits of each, and OpenCV's conversion to RGB."""

_PLANES = {"nv12": cv2.COLOR_YUV2RGB_NV12, "nv21": cv2.COLOR_YUV2RGB_NV21}
"""A plane of luminance, and below it one of colour with half the rows."""

_MAX_SIDE = 32_766
"""Pixels of an image's side that OpenCV can undistort."""

ENCODINGS = (*_PACKED, *_PLANES)
"""Values of sensor_msgs/Image.encoding that are read."""

_MODELS = {
    **dict.fromkeys(("", "plumb_bob", "radtan", "brown_conrady"), "plumb_bob"),
    "rational_polynomial": "rational_polynomial",
    **dict.fromkeys(("equidistant", "fisheye", "kannala_brandt", "kannala_brandt4"), "equidistant"),
}
"""Words for the distortion models of Camera."""

EQUIRECTANGULAR = "equirectangular"
"""CameraInfo.distortion_model of a Panorama, whose K, D and P say nothing."""


def stamp_ns(header: Any) -> int:
    """Return the stamp of a std_msgs/Header (ns)."""
    return int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)


def image_from(message: Any) -> Image:
    """Return sensor_msgs/Image or CompressedImage as (H, W, 3) uint8 RGB.

    Raises ValueError for an encoding that is none of ENCODINGS, bytes that do not fit the size,
    and a compressed picture that is damaged, too large or no JPEG, PNG or WebP.
    """
    return _decompressed(message) if hasattr(message, "format") else _unpacked(message)


def _unpacked(message: Any) -> Image:
    encoding, width, height = message.encoding, int(message.width), int(message.height)
    check_encoding(encoding)
    if width == 0 or height == 0 or width * height > MAX_PIXELS:
        raise ValueError(f"image size is {width} x {height}")
    planes = encoding in _PLANES
    channels, bits, code = (1, 8, _PLANES[encoding]) if planes else _PACKED[encoding]
    if (channels == 2 and width % 2) or (planes and (width % 2 or height % 2)):
        raise ValueError(f"image of encoding '{encoding}' has an odd size: {width} x {height}")
    rows = height * 3 // 2 if planes else height
    row, step = width * channels * bits // 8, int(message.step)
    if step < row:
        raise ValueError(f"image step {step} is less than a row of {row} bytes")
    if len(message.data) != step * rows:
        raise ValueError(
            f"image data has {len(message.data)} bytes, {step} x {rows} = {step * rows} expected"
        )
    pixels: Any = np.frombuffer(message.data, np.uint8).reshape(rows, step)[:, :row]
    pixels = np.ascontiguousarray(pixels)
    if bits == 16:
        values = pixels.view(">u2" if message.is_bigendian else "<u2").astype(np.uint16, copy=False)
        pixels = cv2.convertScaleAbs(values, alpha=255.0 / 65535.0)
    pixels = pixels.reshape((rows, width, channels) if channels > 1 else (rows, width))
    try:
        return np.asarray(pixels if code is None else cv2.cvtColor(pixels, code), np.uint8)
    except cv2.error as error:
        raise ValueError(f"image of encoding '{encoding}', {width} x {height}: {error}") from error


def check_encoding(encoding: str) -> None:
    """Raise ValueError for an encoding of sensor_msgs/Image that is not read."""
    if encoding not in ENCODINGS:
        depth = encoding.startswith(("16UC1", "32FC1"))
        raise ValueError(
            f"image encoding '{encoding[:40]}' is none of {', '.join(ENCODINGS)}"
            f"{': is it a depth image?' if depth else ''}"
        )


def _decompressed(message: Any) -> Image:
    # As image_transport writes it: "bayer_rggb8; jpeg compressed ".
    source, _, compression = message.format.partition(";")
    name = f"compressed image of format '{message.format[:80]}'"
    if "compressedDepth" in compression or source in ("16UC1", "32FC1"):
        raise ValueError(f"{name} holds depths and no picture")
    try:
        image = decode_picture(bytes(message.data))
    except UnusablePicture as error:
        raise ValueError(f"{name}: {error}") from error
    if "compressed rgb" in compression:
        # Stored in the order of RGB where a picture's decoder expects BGR.
        return np.ascontiguousarray(image[:, :, ::-1])
    code = _BAYER.get(source[:10])
    if code is not None and "compressed bgr" not in compression and _is_grey(image):
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(image[:, :, 0]), code), np.uint8)
    return image


def _is_grey(image: Image) -> bool:
    red, green, blue = (image[:, :, channel] for channel in range(3))
    return np.array_equal(red, green) and np.array_equal(green, blue)


def camera_from(info: Any, T_base_camera: FloatArray, rectified: bool) -> Camera | Panorama:
    """Return the camera of a sensor_msgs/CameraInfo: of the window and binning it names (REP-104),
    or the Panorama of one whose distortion_model is `equirectangular`.

    T_base_camera  (4, 4) of the frame of the message, at the ground; for a rectified stereo pair
                   that of the first camera, from which P says where the second one is
    rectified      images are: P and no distortion in place of K and D

    Raises ValueError also for a camera that cannot see the ground from there.
    """
    width, height = int(info.width), int(info.height)
    if _model_word(info.distortion_model) == EQUIRECTANGULAR:
        check_mounting(T_base_camera)
        return _panorama(info, T_base_camera)
    if rectified:
        P = np.reshape(_field(info, "p"), (3, 4))
        K, distortion, model = P[:, :3], np.zeros(5), "plumb_bob"
        _check_intrinsics(K, "P", "no rectification was calibrated: are the images raw?")
        T_base_camera = T_base_camera.copy()
        # Zero but for the second camera of a stereo pair, minus its place in the first one's frame.
        T_base_camera[:3, 3] -= T_base_camera[:3, :3] @ np.linalg.solve(K, P[:, 3])
    else:
        K = np.reshape(_field(info, "k"), (3, 3))
        _check_intrinsics(K, "K", "the camera is not calibrated")
        distortion, model = _distortion(info.distortion_model, _field(info, "d"))
    camera = Camera(K, width, height, distortion, T_base_camera, model)
    camera = _captured(camera, info)
    check_mounting(camera.T_base_camera)
    check_view(camera)
    return camera


def _field(info: Any, name: str) -> FloatArray:
    """Return a matrix of CameraInfo; ROS 1 writes its name in upper case."""
    return np.asarray(getattr(info, name if hasattr(info, name) else name.upper()), np.float64)


def _check_intrinsics(K: FloatArray, name: str, cause: str) -> None:
    """Refuse what a driver left unset, in whole or in part."""
    if not (K[0, 0] > 0 and K[1, 1] > 0 and np.isfinite(K).all()):
        raise ValueError(
            f"CameraInfo.{name} has the focal lengths fx {K[0, 0]}, fy {K[1, 1]}: {cause}"
        )
    if not K[:2, 2].any() or K[2].tolist() != [0.0, 0.0, 1.0]:
        raise ValueError(
            f"CameraInfo.{name} has the principal point {K[:2, 2].tolist()} and the last row "
            f"{K[2].tolist()}: was it left unset?"
        )


def _distortion(word: str, coefficients: FloatArray) -> tuple[FloatArray, str]:
    """Return coefficients and model of Camera for those of CameraInfo."""
    if not np.isfinite(coefficients).all():
        raise ValueError(f"CameraInfo.d must be finite, got {coefficients.tolist()[:14]}")
    coefficients = np.trim_zeros(coefficients, "b")
    if not len(coefficients):
        return np.zeros(5), "plumb_bob"
    model = _MODELS.get(_model_word(word))
    if model is None:
        raise ValueError(
            f"distortion model '{word[:40]}' with coefficients {coefficients.tolist()[:14]} is "
            f"none of {', '.join(name for name in (*_MODELS, EQUIRECTANGULAR) if name)}"
        )
    fitting = [number for number in COEFFICIENTS[model] if number >= len(coefficients)]
    if not fitting:
        raise ValueError(
            f"distortion model '{word}' has {COEFFICIENTS[model][-1]} coefficients, CameraInfo.d "
            f"has {len(coefficients)}"
            f"{': is it rational_polynomial?' if model == 'plumb_bob' else ''}"
        )
    return np.pad(coefficients, (0, fitting[0] - len(coefficients))), model


def _model_word(word: str) -> str:
    return word.strip().lower().replace(" ", "_").replace("-", "_")


def _panorama(info: Any, T_base_camera: FloatArray) -> Panorama:
    width, height = int(info.width), int(info.height)
    columns, rows = width // max(1, int(info.binning_x)), height // max(1, int(info.binning_y))
    if info.roi.width not in (0, width) or info.roi.height not in (0, height):
        raise ValueError("CameraInfo.roi: of an equirectangular image the whole is needed")
    if columns != 2 * rows:
        raise ValueError(
            f"an equirectangular image shows a whole turn, twice as wide as high, got {columns} x "
            f"{rows}: is it cropped or not stitched?"
        )
    return Panorama(columns, rows, T_base_camera)


def _captured(camera: Camera, info: Any) -> Camera:
    """Return part of the sensor that the images show, whose K is that of the full resolution."""
    roi = info.roi
    x, y, width, height = (int(v) for v in (roi.x_offset, roi.y_offset, roi.width, roi.height))
    # 0 stands for 1, and a window of zeros for the whole sensor.
    across, down = max(1, int(info.binning_x)), max(1, int(info.binning_y))
    if (x, y, width, height) == (0, 0, 0, 0):
        width, height = camera.width, camera.height
    columns, rows = width // across, height // down
    if not 0 < min(columns, rows) <= max(columns, rows) <= _MAX_SIDE:
        raise ValueError(
            f"CameraInfo makes an image of {columns} x {rows} pixels: roi {width} x {height} at "
            f"({x}, {y}), binning {across} x {down}"
        )
    try:
        window = camera.cropped(x, y, columns * across, rows * down)
    except ValueError as error:
        raise ValueError(f"CameraInfo.roi: {error}") from None
    return window.scaled(columns, rows)


class CameraReader:
    """Reads the CameraInfo of every image, and gives the same Camera while nothing changes.

    So does all stay that is kept by camera, as the maps that undistort its images. For one
    thread.
    """

    def __init__(self, rectified: bool) -> None:
        self._rectified = rectified
        self._key: tuple[Any, ...] = ()
        self._camera: Camera | Panorama | None = None

    def read(self, info: Any, T_base_camera: FloatArray) -> Camera | Panorama:
        """Return `camera_from` of the message, and raise as it does."""
        roi = info.roi
        key = (
            *(info.width, info.height, info.distortion_model, info.binning_x, info.binning_y),
            *(roi.x_offset, roi.y_offset, roi.width, roi.height),
            *(_field(info, name).tobytes() for name in ("k", "d", "p")),
            T_base_camera.tobytes(),
        )
        if self._camera is None or key != self._key:
            self._camera = camera_from(info, T_base_camera, self._rectified)
            self._key = key
        return self._camera
