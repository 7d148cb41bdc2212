# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest

from g2s_localizer.imagery.fetch.guards import PlaceholderTile, check_tile, quote
from g2s_localizer.imagery.picture import ImageHeader
from g2s_localizer.imagery.source import UnusableTile

FORMATS = {"png": (0, []), "jpg": (1, []), "webp": (3, [cv2.IMWRITE_WEBP_QUALITY, 80])}


def encoded(suffix, width=256, height=256, options=()):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.imencode(f".{suffix}", image, list(options))[1].tobytes()


@pytest.mark.parametrize("suffix", FORMATS)
def test_no_cut_makes_a_tile_pass(suffix):
    whole = encoded(suffix)
    for share in (0.0, 0.01, 0.5, 0.99):
        with pytest.raises(UnusableTile):
            check_tile(whole[: int(share * len(whole))], "")


@pytest.mark.parametrize(
    "declared", ["image/png", "IMAGE/PNG; charset=x", "", "binary/octet-stream"]
)
def test_a_tile_of_its_declared_type_passes(declared):
    assert check_tile(encoded("png"), declared) == ImageHeader(0, 256, 256)


@pytest.mark.parametrize(
    ("suffix", "declared"),
    [
        ("jpg", "image/pjpeg"),
        ("jpg", "image/jpg"),
        ("png", "image/x-png"),
        ("png", "image/vnd.jpeg-png"),
        ("jpg", "image/vnd.jpeg-png8"),
    ],
)
def test_other_names_of_the_same_type_are_taken(suffix, declared):
    assert check_tile(encoded(suffix), declared).width == 256


def see_through(suffix, share, colour=None):
    """A tile whose left part is transparent, the rest noise or of one colour."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (256, 256, 4), np.uint8)
    if colour is not None:
        image[:, :, :3] = colour
    image[:, :, 3] = 255
    image[:, : round(256 * share), 3] = 0
    return cv2.imencode(f".{suffix}", image, [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_a_tile_that_is_all_transparent_is_a_placeholder(suffix):
    with pytest.raises(PlaceholderTile, match="all of it is transparent"):
        check_tile(see_through(suffix, 1.0), "")


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_a_tile_of_one_colour_beside_what_is_transparent_is_a_placeholder(suffix):
    with pytest.raises(PlaceholderTile, match=r"not transparent has the colour \[9, 9, 9\]"):
        check_tile(see_through(suffix, 0.5, colour=9), "")


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_a_tile_that_is_transparent_in_part_is_one(suffix):
    assert check_tile(see_through(suffix, 0.5), "").width == 256


@pytest.mark.parametrize(
    ("body", "is_really"),
    [
        (b"", "empty"),
        (b"  <html><body>No tiles <b>here</b></body>", "HTML: No tiles here"),
        (b"<?xml version='1.0'?><ServiceException>bad layer</ServiceException>", "XML: bad layer"),
        (b'{"error": "quota"}', 'JSON: {"error": "quota"}'),
        (b"GIF89a......", "GIF"),
        (b"PK\x03\x04zip", "no PNG, JPEG or WebP: 7 bytes that start 50 4b 03 04"),
        (b"%PDF-1.7", "no PNG, JPEG or WebP: 8 bytes"),
    ],
)
def test_what_is_no_picture_is_said_to_be_what_it_is(body, is_really):
    with pytest.raises(UnusableTile, match="declared image/png, but is") as error:
        check_tile(body, "image/png")
    assert is_really in str(error.value)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_picture_of_one_colour_is_a_placeholder(suffix):
    image = np.full((256, 256, 3), 229, np.uint8)
    with pytest.raises(PlaceholderTile, match=r"has the colour \[229, 229, 229\]"):
        check_tile(cv2.imencode(f".{suffix}", image)[1].tobytes(), "")


def test_a_server_cannot_write_to_the_terminal():
    assert quote("a\x1b[2J\x07b\n\n c" + "x" * 500) == "a[2Jb c" + "x" * 153 + "..."
