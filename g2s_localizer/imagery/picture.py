# SPDX-License-Identifier: Apache-2.0
"""Encoded pictures: what the first bytes say of them, and pixels when that is acceptable.

Whatever comes from a file, a message or a server is decoded here alone. The size is read from
the header first, since a file of a megabyte can ask for gigabytes of pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from g2s_localizer.imagery.complaints import decode_listening

Image = NDArray[np.uint8]
BoolArray = NDArray[np.bool_]

MAX_PIXELS = 64 * 1024 * 1024
"""Pixels of the largest picture that is decoded: 200 MB in memory, two of an 8K camera's."""

MAX_SCANS = 100
"""Scans of a progressive JPEG: each goes over all pixels, and costs the sender a few bytes."""

OPAQUE = 128
"""Alpha of 255 from which on a pixel counts as there."""

NAMES = {0: "PNG", 1: "JPEG", 3: "WebP"}
"""Names of the `format` of a header."""


class UnusablePicture(ValueError):
    """Bytes that cannot serve as a picture, with the reason."""


@dataclass(frozen=True)
class ImageHeader:
    """Format and size of an image, from its first bytes.

    format  its place in the list of suffixes in tiles/index.py
    alpha   whether some of its pixels may be transparent
    """

    format: int
    width: int
    height: int
    alpha: bool = False


def decode_picture(encoded: bytes, max_pixels: int = MAX_PIXELS) -> Image:
    """Decode PNG, JPEG or WebP to (H, W, 3) uint8 RGB, an alpha channel being dropped.

    Raises UnusablePicture, a ValueError, as `check_header` does, and for what cannot be decoded.
    """
    header = check_header(encoded, max_pixels)
    pixels = _decoded(encoded, header, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)


def decode_with_alpha(
    encoded: bytes, max_pixels: int = MAX_PIXELS
) -> tuple[Image, BoolArray | None]:
    """Decode the picture, and say which pixels (H, W) are transparent; None if none can be."""
    header = check_header(encoded, max_pixels)
    if not header.alpha:
        return decode_picture(encoded, max_pixels), None
    pixels = _decoded(encoded, header, cv2.IMREAD_UNCHANGED)
    transparent = None
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        half = OPAQUE if pixels.dtype == np.uint8 else OPAQUE << 8
        transparent = pixels[:, :, 3] < half
    elif header.format == 0:
        # Not every version of OpenCV looks for the one transparent colour of a PNG.
        transparent = _has_colour(pixels, _transparent_colour(encoded), depth=encoded[24])
    if pixels.dtype != np.uint8:
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.ndim == 2:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    return np.ascontiguousarray(pixels[:, :, 2::-1], np.uint8), transparent


def check_header(encoded: bytes, max_pixels: int = MAX_PIXELS) -> ImageHeader:
    """Return the header of a picture that can be decoded without harm; nothing is decoded.

    Raises UnusablePicture for what is no PNG, JPEG or WebP, is truncated, or is too large.
    """
    header = read_header(encoded)
    if not _is_complete(encoded):
        raise UnusablePicture(f"truncated at {len(encoded)} bytes")
    if header is None:
        raise UnusablePicture(f"{len(encoded)} bytes that are {_kind(encoded)}")
    size = f"{header.width} x {header.height} pixels by its header"
    if header.width * header.height > max_pixels:
        raise UnusablePicture(f"{size}; the limit is {max_pixels / 1e6:.3g} million")
    if not header.width * header.height:
        raise UnusablePicture(size)
    if header.format == 1 and encoded.count(b"\xff\xda") > MAX_SCANS:
        raise UnusablePicture(f"a JPEG of more than {MAX_SCANS} scans")
    return header


def read_header(encoded: bytes) -> ImageHeader | None:
    """Return the format and size of a PNG, JPEG or WebP image, None for anything else."""
    if encoded[:8] == b"\x89PNG\r\n\x1a\n" and encoded[12:16] == b"IHDR" and len(encoded) >= 26:
        alpha = encoded[25] in (4, 6) or _transparent_colour(encoded) is not None
        return ImageHeader(0, _big(encoded, 16, 4), _big(encoded, 20, 4), alpha)
    if encoded[:3] == b"\xff\xd8\xff":
        return _jpeg_header(encoded)
    if encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP" and len(encoded) >= 30:
        return _webp_header(encoded)
    return None


def _decoded(encoded: bytes, header: ImageHeader, flags: int) -> NDArray[Any]:
    """Return pixels as OpenCV gives them, of the size that the header says."""
    complaint = ""
    try:
        if header.format == 1:
            pixels, complaint = decode_listening(encoded, flags)
        else:
            pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)
    except (cv2.error, MemoryError) as error:
        raise UnusablePicture(f"cannot be decoded: {error}") from error
    if pixels is None:
        raise UnusablePicture(
            f"{len(encoded)} bytes of {NAMES[header.format]} that cannot be decoded"
        )
    if complaint:
        raise UnusablePicture(f"damaged, bytes are missing or wrong: {complaint}")
    if pixels.shape[:2] != (header.height, header.width):
        raise UnusablePicture(
            f"{header.width} x {header.height} pixels by its header, "
            f"{pixels.shape[1]} x {pixels.shape[0]} decoded"
        )
    return pixels


def _is_complete(encoded: bytes) -> bool:
    """Return whether the image has its end: decoders silently fill a missing one with grey."""
    if encoded.startswith(b"\x89PNG"):
        return b"IEND" in encoded[-64:]
    if encoded.startswith(b"\xff\xd8"):
        return b"\xff\xd9" in encoded[-64:]
    if encoded.startswith(b"RIFF"):
        return len(encoded) >= 8 + int.from_bytes(encoded[4:8], "little")
    return True


def _kind(encoded: bytes) -> str:
    """Name what bytes are instead of a picture, as far as their start tells."""
    kinds = (
        (b"\x1f\x8b", ", but compressed by gzip, as vector tiles are"),
        (b"\x1a", ", but a vector tile (MVT)"),
        (b"GIF8", ", but a GIF"),
    )
    more = [kind for magic, kind in kinds if encoded.startswith(magic)]
    return "no PNG, JPEG or WebP image" + "".join(more)


def _transparent_colour(encoded: bytes) -> bytes | None:
    """Return the content of the PNG chunk tRNS, None without one before the pixels."""
    at = 8
    while at + 8 <= len(encoded):
        length, kind = _big(encoded, at, 4), encoded[at + 4 : at + 8]
        if kind == b"tRNS":
            return encoded[at + 8 : at + 8 + length]
        if kind == b"IDAT":
            return None
        at += 12 + length
    return None


def _has_colour(pixels: NDArray[Any], colour: bytes | None, depth: int) -> BoolArray | None:
    """Return which pixels (H, W) of a grey or BGR image have the colour that tRNS names.

    depth  bits a channel in the file; fewer than eight are stretched when they are decoded
    """
    channels = 1 if pixels.ndim == 2 else 3
    if colour is None or len(colour) != 2 * channels:
        return None
    values = np.frombuffer(colour, ">u2")[::-1].astype(np.int64)
    if depth < 8:
        values *= 255 // ((1 << depth) - 1)
    same: BoolArray = (pixels.reshape(*pixels.shape[:2], channels) == values).all(axis=2)
    return same


def _jpeg_header(encoded: bytes) -> ImageHeader | None:
    at = 2
    while at + 9 <= len(encoded) and encoded[at] == 0xFF:
        marker = encoded[at + 1]
        if marker == 0xFF:
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return ImageHeader(1, _big(encoded, at + 7, 2), _big(encoded, at + 5, 2))
        else:
            at += 2 + _big(encoded, at + 2, 2)
    return None


def _webp_header(encoded: bytes) -> ImageHeader | None:
    kind = encoded[12:16]
    if kind == b"VP8X":
        width, height = 1 + _little(encoded, 24, 3), 1 + _little(encoded, 27, 3)
        return ImageHeader(3, width, height, bool(encoded[20] & 0x10))
    if kind == b"VP8 " and encoded[23:26] == b"\x9d\x01\x2a":
        return ImageHeader(3, _little(encoded, 26, 2) & 0x3FFF, _little(encoded, 28, 2) & 0x3FFF)
    if kind == b"VP8L" and encoded[20] == 0x2F:
        bits = _little(encoded, 21, 4)
        size = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        return ImageHeader(3, *size, bool(bits >> 28 & 1))
    return None


def _big(encoded: bytes, at: int, count: int) -> int:
    return int.from_bytes(encoded[at : at + count], "big")


def _little(encoded: bytes, at: int, count: int) -> int:
    return int.from_bytes(encoded[at : at + count], "little")
