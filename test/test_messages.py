# SPDX-License-Identifier: Apache-2.0
"""What a driver sends is read the same, whether live, from a ROS 2 bag or from a ROS 1 bag."""

import contextlib
import itertools
import math
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from rosbags.typesys import Stores, get_typestore

from g2s_localizer import messages
from g2s_localizer.geometry import Panorama
from g2s_localizer.geometry.mounting import extrinsic_from_parameters
from g2s_localizer.messages import CameraReader, camera_from, image_from

T = extrinsic_from_parameters((1.0, 0.0, 1.5), (0.0, 0.0, 0.0))
RGB = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
GREY = RGB[..., 0]
WIDE = RGB.astype(np.uint16) * 257
FLAT = np.full((4, 6, 3), (200, 100, 30), np.uint8)


def image(pixels, encoding, padding=0, big=0):
    """sensor_msgs/Image of the bytes of an array; its rows may be padded."""
    rows = np.ascontiguousarray(pixels).reshape(len(pixels), -1).view(np.uint8)
    step = rows.shape[1] + padding
    data = np.pad(rows, ((0, 0), (0, padding)), constant_values=255).ravel()
    return SimpleNamespace(
        encoding=encoding, width=6, height=4, step=step, data=data, is_bigendian=big
    )


ALPHA = np.dstack([RGB, GREY])
SAME = {
    "rgb8": RGB, "bgr8": RGB[..., ::-1], "8UC3": RGB[..., ::-1], "rgba8": ALPHA,
    "bgra8": ALPHA[..., [2, 1, 0, 3]], "8UC4": ALPHA[..., [2, 1, 0, 3]], "rgb16": WIDE,
    "bgr16": WIDE[..., ::-1], "rgba16": np.dstack([WIDE, WIDE[..., 0]]),
}  # fmt: skip


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("encoding", SAME)
def test_every_encoding_of_a_colour_image_gives_the_same_rgb(encoding, padding):
    np.testing.assert_array_equal(image_from(image(SAME[encoding], encoding, padding)), RGB)


@pytest.mark.parametrize("encoding", ["mono8", "8UC1", "mono16"])
def test_every_encoding_of_a_grey_image_gives_the_same_rgb(encoding):
    found = image_from(image(WIDE[..., 0] if encoding == "mono16" else GREY, encoding))
    np.testing.assert_array_equal(found, np.repeat(GREY[..., None], 3, axis=2))


def test_the_order_of_bytes_is_the_messages():
    np.testing.assert_array_equal(image_from(image(WIDE.astype(">u2"), "rgb16", big=1)), RGB)


def mosaic(first_row, second_row):
    """FLAT (4, 6) seen through a mosaic of colours."""
    channel = ["rgb".index(letter) for letter in (first_row + second_row)]
    tiles = np.tile(np.reshape(channel, (2, 2)), (2, 3))
    return np.take_along_axis(FLAT, tiles[..., None], axis=2)[..., 0]


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("order", ["rggb", "bggr", "gbrg", "grbg"])
def test_a_mosaic_gives_its_colours_back(order, bits):
    pixels = mosaic(order[:2], order[2:])
    pixels = pixels if bits == 8 else pixels.astype(np.uint16) * 257
    np.testing.assert_array_equal(image_from(image(pixels, f"bayer_{order}{bits}")), FLAT)


def yuv(encoding):
    """The bytes of FLAT in an encoding of luminance and colour, rows as in the message."""
    y, u, v = (int(p) for p in cv2.cvtColor(FLAT, cv2.COLOR_RGB2YUV_I420).ravel()[[0, 24, 30]])
    pair = {"uyvy": (u, y, v, y), "yuv422": (u, y, v, y)}.get(encoding, (y, u, y, v))
    if encoding.startswith("nv"):
        colour = (u, v) if encoding == "nv12" else (v, u)
        return np.array([[y] * 6] * 4 + [[*colour] * 3] * 2, np.uint8)
    return np.array([[*pair] * 3] * 4, np.uint8)


@pytest.mark.parametrize(
    "encoding", ["uyvy", "yuv422", "yuyv", "yuv422_yuy2", "nv12", "nv21"]
)  # fmt: skip
@pytest.mark.parametrize("padding", [0, 10])
def test_luminance_and_colour_give_rgb(encoding, padding):
    found = image_from(image(yuv(encoding), encoding, padding))
    np.testing.assert_allclose(found.astype(int), FLAT, atol=3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"encoding": "32FC1"}, "'32FC1' is none of mono8.*is it a depth image"),
        ({"encoding": "16UC1"}, "'16UC1' is none of .*is it a depth image"),
        ({"encoding": "h264"}, "'h264' is none of"),
        ({"width": 0}, "0 x 4"),
        ({"width": 2**31, "height": 2**31}, "2147483648 x 2147483648"),
        ({"step": 8}, "step 8 is less than a row of 18"),
        ({"height": 3}, "72 bytes, 18 x 3 = 54 expected"),
        ({"encoding": "yuv422", "width": 5}, "odd size: 5 x 4"),
        ({"encoding": "nv12", "height": 3}, "odd size: 6 x 3"),
    ],
)
def test_an_image_that_cannot_be_read_says_what_it_has(change, said):
    message = image(RGB, "rgb8")
    vars(message).update(change)
    with pytest.raises(ValueError, match=said):
        image_from(message)


@pytest.mark.parametrize("encoding", messages.ENCODINGS)
def test_whatever_the_size_an_image_is_read_or_refused_by_name(encoding):
    for width, height in itertools.product(range(1, 6), repeat=2):
        for step in (width, 2 * width, 8 * width):
            for rows in (height, height * 3 // 2):
                data = np.zeros(step * rows, np.uint8)
                message = SimpleNamespace(
                    encoding=encoding, width=width, height=height, step=step, data=data,
                    is_bigendian=0,
                )  # fmt: skip
                with contextlib.suppress(ValueError):
                    assert image_from(message).shape == (height, width, 3)


def compressed(pixels, suffix, name):
    data = cv2.imencode(suffix, pixels)[1].ravel()
    return SimpleNamespace(format=name, data=data)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_a_compressed_image_is_decoded_to_rgb(suffix):
    pixels = np.full((16, 16, 3), (200, 100, 30), np.uint8)
    found = image_from(compressed(pixels[..., ::-1], suffix, f"rgb8; {suffix} compressed bgr8"))
    np.testing.assert_allclose(found.astype(int), pixels, atol=3)


def test_a_mosaic_inside_a_picture_is_known_by_the_format():
    message = compressed(mosaic("gb", "rg"), ".png", "bayer_gbrg8; png compressed ")
    np.testing.assert_array_equal(image_from(message), FLAT)
    coloured = compressed(FLAT[..., ::-1], ".png", "bayer_gbrg8; png compressed bgr8")
    np.testing.assert_array_equal(image_from(coloured), FLAT)


def test_a_picture_stored_in_the_order_of_rgb_is_turned():
    message = compressed(FLAT, ".png", "rgb8; png compressed rgb8")
    np.testing.assert_array_equal(image_from(message), FLAT)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("jpeg", b"", "format 'jpeg': 0 bytes"),
        ("jpeg", b"not an image", "format 'jpeg': 12 bytes"),
        ("16UC1; compressedDepth png", b"12345", "holds depths"),
        ("h264", b"\0\0\0\1", "format 'h264': 4 bytes that are no PNG, JPEG or WebP"),
    ],
)
def test_a_compressed_image_that_is_none_says_its_format_and_size(name, data, said):
    with pytest.raises(ValueError, match=said):
        image_from(SimpleNamespace(format=name, data=np.frombuffer(data, np.uint8)))


def test_a_compressed_image_that_lost_bytes_is_named_as_damaged():
    rng = np.random.default_rng(0)
    noise = cv2.GaussianBlur(rng.integers(0, 256, (200, 320, 3), dtype=np.uint8), (0, 0), 2)
    message = compressed(noise, ".jpg", "rgb8; jpeg compressed bgr8")
    image_from(message)
    message.data = np.delete(message.data, slice(4000, 4900))
    with pytest.raises(ValueError, match="'rgb8; jpeg compressed bgr8': damaged.*Corrupt JPEG"):
        image_from(message)


def test_a_picture_of_gigabytes_is_refused_by_its_header():
    message = compressed(np.zeros((1, 1), np.uint8), ".png", "png")
    message.data[16:24] = np.array([30_000, 30_000], ">u4").view(np.uint8)
    with pytest.raises(ValueError, match="format 'png': 30000 x 30000 pixels .* limit is 67"):
        image_from(message)


def info(**changes):
    roi = {"x_offset": 0, "y_offset": 0, "width": 0, "height": 0}
    fields = {
        "width": 128, "height": 96, "distortion_model": "plumb_bob",
        "k": np.array([80.0, 0.0, 63.5, 0.0, 81.0, 30.0, 0.0, 0.0, 1.0]),
        "d": np.array([-0.3, 0.1, 0.001, 0.002, 0.01]),
        "p": np.array([70.0, 0.0, 60.0, 0.0, 0.0, 71.0, 31.0, 0.0, 0.0, 0.0, 1.0, 0.0]),
        "binning_x": 0, "binning_y": 0, "roi": SimpleNamespace(**(roi | changes.pop("roi", {}))),
    }  # fmt: skip
    return SimpleNamespace(**(fields | changes))


def test_raw_images_take_k_and_d_rectified_ones_p_without_distortion():
    raw = camera_from(info(), T, rectified=False)
    assert (raw.K[1, 1], raw.distortion[0], raw.width) == (81.0, -0.3, 128)
    rectified = camera_from(info(), T, rectified=True)
    assert (rectified.K[1, 1], rectified.K[0, 2], rectified.is_distorted) == (71.0, 60.0, False)


@pytest.mark.parametrize("coefficients", [[], [0.0] * 4, [0.0] * 5, [0.0] * 8, [0.0] * 14])
@pytest.mark.parametrize(
    "word", ["", "plumb_bob", "rational_polynomial", "equidistant", "none", "pinhole", "mei"]
)
def test_zero_coefficients_are_no_distortion_whatever_the_word(word, coefficients):
    assert not camera_from(info(d=coefficients, distortion_model=word), T, False).is_distorted


@pytest.mark.parametrize(
    ("word", "count", "trailing", "model", "kept"),
    [
        ("plumb_bob", 4, 0, "plumb_bob", 5),
        ("plumb_bob", 5, 9, "plumb_bob", 5),
        ("Plumb Bob", 5, 0, "plumb_bob", 5),
        ("radtan", 4, 0, "plumb_bob", 5),
        ("rational_polynomial", 4, 0, "rational_polynomial", 8),
        ("rational_polynomial", 8, 0, "rational_polynomial", 8),
        ("rational_polynomial", 8, 6, "rational_polynomial", 8),
        ("rational_polynomial", 12, 0, "rational_polynomial", 12),
        ("rational_polynomial", 14, 0, "rational_polynomial", 14),
        ("equidistant", 4, 0, "equidistant", 4),
        ("fisheye", 3, 2, "equidistant", 4),
    ],
)
def test_the_words_of_drivers_are_opencvs_models(word, count, trailing, model, kept):
    given = [0.01 * (i + 1) for i in range(count)] + [0.0] * trailing
    camera = camera_from(info(d=given, distortion_model=word), T, False)
    assert camera.distortion_model == model and len(camera.distortion) == kept
    np.testing.assert_array_equal(np.trim_zeros(camera.distortion), given[:count])


@pytest.mark.parametrize(
    ("changes", "rectified", "said"),
    [
        ({"k": np.zeros(9)}, False, "CameraInfo.K .* fx 0.0, fy 0.0: the camera is not calibrated"),
        ({"p": np.zeros(12)}, True, "CameraInfo.P .* fx 0.0.*are the images raw"),
        ({"k": np.full(9, math.nan)}, False, "CameraInfo.K .* fx nan"),
        ({"width": 0}, False, "0 x 96"),
        ({"k": [80, 0, 0, 0, 80, 0, 0, 0, 1]}, False, r"principal point \[0.0, 0.0\].*unset"),
        ({"k": [80, 0, 60, 0, 80, 40, 0, 0, 0]}, False, r"last row \[0.0, 0.0, 0.0\]"),
        ({"d": [math.nan] * 5}, False, "CameraInfo.d must be finite"),
        ({"distortion_model": "mei"}, False, "'mei' with coefficients .* is none of plumb_bob"),
        ({"d": [0.1] * 8}, False, "CameraInfo.d has 8: is it rational_polynomial"),
        ({"distortion_model": "equidistant"}, False, "has 4 coefficients, CameraInfo.d has 5"),
        ({"width": 40_000}, False, "image of 40000 x 96 pixels"),
        ({"binning_x": 200}, False, "image of 0 x 96 pixels: .* binning 200 x 1"),
        ({"roi": {"x_offset": 100, "width": 64, "height": 48}}, False, "roi: window .* leaves"),
    ],
)
def test_a_camera_info_that_is_no_camera_says_why(changes, rectified, said):
    with pytest.raises(ValueError, match=said):
        camera_from(info(**changes), T, rectified)


def panorama_info(**changes):
    said = {"width": 400, "height": 200, "distortion_model": "Equirectangular", "k": np.zeros(9)}
    return info(**(said | {"p": np.zeros(12), "d": []} | changes))


@pytest.mark.parametrize("rectified", [False, True])
def test_an_equirectangular_image_is_a_panorama_whatever_k_and_p_say(rectified):
    camera = camera_from(panorama_info(binning_x=2, binning_y=2), T, rectified)
    assert isinstance(camera, Panorama) and (camera.width, camera.height) == (200, 100)
    np.testing.assert_array_equal(camera.T_base_camera, T)


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"height": 180}, "twice as wide as high, got 400 x 180"), ({"roi": {"width": 200}}, "roi")],
)
def test_a_part_of_a_panorama_is_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        camera_from(panorama_info(**changes), T, False)


@pytest.mark.parametrize("rectified", [False, True])
def test_a_window_binned_by_two_sees_a_point_where_the_full_sensor_does(rectified):
    window = {"x_offset": 32, "y_offset": 24, "width": 65, "height": 64}
    part = camera_from(info(roi=window, binning_x=2, binning_y=4), T, rectified)
    assert (part.width, part.height) == (32, 16)
    points = [[10.0, 1.0, 0.0], [7.0, -2.0, 0.5]]
    full, _ = camera_from(info(), T, rectified).project(points)
    # A pixel's centre is at a whole number, its borders are at halves.
    np.testing.assert_allclose((part.project(points)[0] + 0.5) * [2, 4], full + 0.5 - [32, 24])


def test_a_rectified_point_lies_where_p_projects_it_also_in_the_second_camera():
    P = np.reshape(info().p, (3, 4)).copy()
    P[0, 3] = -70.0 * 0.12
    camera = camera_from(info(p=P.ravel()), T, rectified=True)
    point = np.array([11.0, 0.5, 0.2, 1.0])
    u, v, w = P @ (np.linalg.inv(T) @ point)
    np.testing.assert_allclose(camera.project(point[None, :3])[0], [[u / w, v / w]])


def test_a_ros_1_camera_info_with_its_upper_case_is_the_same_camera():
    types = get_typestore(Stores.ROS1_NOETIC).types
    ours = vars(info())
    roi = types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
    old = types["sensor_msgs/msg/CameraInfo"](
        header=None, height=96, width=128, distortion_model="plumb_bob", D=ours["d"], K=ours["k"],
        R=np.eye(3).ravel(), P=ours["p"], binning_x=0, binning_y=0, roi=roi,
    )  # fmt: skip
    np.testing.assert_equal(vars(camera_from(old, T, False)), vars(camera_from(info(), T, False)))


def test_a_camera_is_kept_while_its_info_and_place_stay():
    reader = CameraReader(rectified=False)
    first = reader.read(info(), T)
    assert reader.read(info(), T.copy()) is first
    moved = reader.read(info(), extrinsic_from_parameters((1.0, 0.0, 1.6), (0.0, 0.0, 0.0)))
    assert moved.ground_height == 1.6
    assert reader.read(info(binning_x=2), T).width == 64


def test_every_camera_must_see_the_road():
    with pytest.raises(ValueError, match="camera is 1500 m above the ground.*millimetres"):
        camera_from(info(), extrinsic_from_parameters((1.0, 0.0, 1500.0), (0, 0, 0)), False)
