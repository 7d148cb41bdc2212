# SPDX-License-Identifier: Apache-2.0
import contextlib
import struct
import time
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from g2s_localizer.imagery.picture import (
    MAX_PIXELS,
    ImageHeader,
    UnusablePicture,
    decode_picture,
    decode_with_alpha,
    read_header,
)
from g2s_localizer.imagery.source import UnusableTile
from g2s_localizer.imagery.tiles.tile import decode_tile

FORMATS = {"png": (0, []), "jpg": (1, []), "webp": (3, [cv2.IMWRITE_WEBP_QUALITY, 80])}


def encoded(suffix, width=256, height=256, options=()):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.imencode(f".{suffix}", image, list(options))[1].tobytes()


def chunk(kind, content):
    sum_ = zlib.crc32(kind + content).to_bytes(4, "big")
    return len(content).to_bytes(4, "big") + kind + content + sum_


def png(width, height, depth, kind, rows, extra=b""):
    """A PNG of raw rows, with chunks before its pixels."""
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    parts = chunk(b"IHDR", head), extra, chunk(b"IDAT", pixels), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(("width", "height"), [(256, 256), (1, 7), (300, 200)])
def test_the_header_says_format_and_size(suffix, width, height):
    tile_format, options = FORMATS[suffix]
    header = read_header(encoded(suffix, width, height, options))
    assert header == ImageHeader(tile_format, width, height)


def test_lossless_webp_and_progressive_jpeg_have_headers_too():
    lossless = encoded("webp", 33, 44, [cv2.IMWRITE_WEBP_QUALITY, 101])
    progressive = encoded("jpg", 33, 44, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
    assert read_header(lossless) == ImageHeader(3, 33, 44)
    assert read_header(progressive) == ImageHeader(1, 33, 44)


def test_an_extended_webp_has_its_canvas_for_size():
    canvas = (511).to_bytes(3, "little") + (255).to_bytes(3, "little")
    body = b"WEBPVP8X\x0a\0\0\0" + bytes(4) + canvas + bytes(20)
    assert read_header(b"RIFF" + len(body).to_bytes(4, "little") + body).width == 512


@given(
    st.binary(max_size=60), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF"])
)
def test_no_bytes_at_all_upset_the_header(body, magic):
    header = read_header(magic + body)
    assert header is None or header.format in (0, 1, 3)


def claiming(width, height):
    """PNG, JPEG and WebP of 8 x 8 pixels whose headers claim more."""
    sizes = struct.pack(">II", width, height)
    small = encoded("png", 8, 8)
    yield small[:16] + sizes + zlib.crc32(b"IHDR" + sizes + small[24:29]).to_bytes(4, "big")
    jpeg = encoded("jpg", 8, 8)
    at = jpeg.index(b"\xff\xc0") + 5
    yield jpeg[:at] + struct.pack(">HH", height, width) + jpeg[at + 4 :]
    body = b"WEBPVP8X\x0a\0\0\0" + bytes(4)
    body += (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little") + bytes(20)
    yield b"RIFF" + len(body).to_bytes(4, "little") + body


def test_a_small_file_of_too_many_pixels_is_refused_before_it_is_decoded():
    for bomb in claiming(30_000, 30_000):
        started = time.perf_counter()
        with pytest.raises(UnusablePicture, match="30000 x 30000 pixels .*limit is 67.1 million"):
            decode_picture(bomb + b"IEND\xff\xd9")
        assert time.perf_counter() - started < 0.1


def test_a_jpeg_of_thousands_of_scans_is_refused():
    jpeg = encoded("jpg", 8, 8, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
    scan = jpeg.index(b"\xff\xda")
    with pytest.raises(UnusablePicture, match="more than 100 scans"):
        decode_picture(jpeg[:scan] + jpeg[scan:-2] * 200 + jpeg[-2:])


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_picture_within_the_limit_has_its_pixels(suffix):
    assert decode_picture(encoded(suffix, 30, 20)).shape == (20, 30, 3)
    with pytest.raises(UnusablePicture, match="30 x 20 pixels"):
        decode_picture(encoded(suffix, 30, 20), max_pixels=599)


@given(st.sampled_from(sorted(FORMATS)), st.integers(0, 2000), st.binary(min_size=1, max_size=8))
def test_overwritten_bytes_give_pixels_or_an_unusable_picture(suffix, at, patch):
    broken = bytearray(encoded(suffix, 16, 16))
    at %= len(broken)
    broken[at : at + len(patch)] = patch
    with contextlib.suppress(UnusablePicture):
        assert decode_with_alpha(bytes(broken))[0].size <= 3 * MAX_PIXELS


RGB = [bytes([1, 2, 3, 40, 50, 60])]
KEYED = {
    "grey": png(2, 1, 8, 0, [bytes([85, 9])], chunk(b"tRNS", b"\0\x55")),
    "grey of two bits": png(2, 1, 2, 0, [b"\x60"], chunk(b"tRNS", b"\0\x01")),
    "grey of 16 bits": png(2, 1, 16, 0, [bytes([1, 2, 3, 4])], chunk(b"tRNS", b"\1\2")),
    "colour": png(2, 1, 8, 2, RGB, chunk(b"tRNS", b"\0\1\0\2\0\3")),
    "colour of 16 bits": png(2, 1, 16, 2, [b"\1\2" * 3 + b"\3\4" * 3], chunk(b"tRNS", b"\1\2" * 3)),
    "palette": png(
        2, 1, 8, 3, [b"\0\1"], chunk(b"PLTE", b"987654") + chunk(b"tRNS", b"\x7f\x80")
    ),
    "grey and alpha": png(2, 1, 8, 4, [bytes([9, 127, 9, 128])]),
    "colour and alpha": png(2, 1, 8, 6, [bytes([9, 8, 7, 127, 9, 8, 7, 128])]),
    "alpha of 16 bits": png(2, 1, 16, 6, [b"\1\2" * 3 + b"\x7f\xff" + b"\1\2" * 3 + b"\x80\0"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", KEYED)
def test_alpha_below_half_and_the_transparent_colour_of_a_png_are_transparent(kind):
    image, transparent = decode_with_alpha(KEYED[kind])
    assert transparent.tolist() == [[True, False]]
    assert np.array_equal(image, decode_picture(KEYED[kind]))


def test_alpha_of_a_webp_is_transparent_lossless_or_not():
    image = np.full((16, 16, 4), 99, np.uint8)
    image[:, :, 3] = np.where(np.arange(16) < 8, 0, 255)
    for quality in (80, 101):
        webp = cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes()
        transparent = decode_with_alpha(webp)[1]
        assert np.array_equal(transparent, image[:, :, 3] == 0)


def test_a_picture_without_alpha_has_nothing_transparent():
    assert all(decode_with_alpha(encoded(suffix))[1] is None for suffix in FORMATS)


def test_a_tile_of_too_many_pixels_is_refused():
    bomb = png(5000, 5000, 1, 0, [bytes(625)] * 5000)
    with pytest.raises(UnusableTile, match="5000 x 5000 pixels .*limit is 16.8 million"):
        decode_tile(bomb)
