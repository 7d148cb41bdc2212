# SPDX-License-Identifier: Apache-2.0
"""What a server sent in place of a tile: told from its bytes, before anything decodes them."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from g2s_localizer.imagery.tile import UnusableTile, decode_tile

MOST_PIXELS = 4096
"""Pixels a side beyond which an image is called too large, whatever it is."""

TILE_SIDES = (256, 512)

CONSTANT_WITHIN = 2
"""An image whose channels each span no more grey levels than this shows nothing."""

QUOTED = 160
"""Characters of a server's own message that are shown."""

_MEDIA_TYPES = {"image/png": 0, "image/jpeg": 1, "image/jpg": 1, "image/webp": 3}
# What servers say that know no better.
_UNSAID = {"", "application/octet-stream", "binary/octet-stream"}
_FORMAT_NAMES = {0: "PNG", 1: "JPEG", 3: "WebP"}


@dataclass(frozen=True)
class ImageHeader:
    """What the first bytes of an image say: its format (place in SUFFIXES), width, height."""

    format: int
    width: int
    height: int


def check_tile(encoded: bytes, content_type: str) -> ImageHeader:
    """The header of a tile that is one: square, complete, decodable, and showing something.

    content_type  as the server declared it. Raises UnusableTile saying what it is instead.
    """
    declared = content_type.partition(";")[0].strip().lower()
    header = read_header(encoded)
    if header is None:
        raise UnusableTile(f"declared {declared or 'nothing'}, but is {_describe(encoded)}")
    if declared not in _UNSAID and _MEDIA_TYPES.get(declared) != header.format:
        raise UnusableTile(f"declared {quote(declared)}, but is {_FORMAT_NAMES[header.format]}")
    size = f"{header.width} x {header.height} pixels"
    if max(header.width, header.height) > MOST_PIXELS:
        raise UnusableTile(f"{size}; the limit is {MOST_PIXELS} a side")
    if header.width != header.height or header.width not in TILE_SIDES:
        raise UnusableTile(f"{size}; a tile has 256 x 256 or 512 x 512")
    image = decode_tile(encoded)
    if image.shape[:2] != (header.height, header.width):
        raise UnusableTile(f"{size} by its header, {image.shape[1]} x {image.shape[0]} decoded")
    if int(np.ptp(image.reshape(-1, 3), axis=0).max()) <= CONSTANT_WITHIN:
        raise PlaceholderTile(f"placeholder: all of it has the colour {image[0, 0].tolist()}")
    return header


class PlaceholderTile(UnusableTile):
    """The server has no imagery there, and says so with a picture."""


def read_header(encoded: bytes) -> ImageHeader | None:
    """Format and size of a PNG, JPEG or WebP image, None for anything else."""
    if encoded[:8] == b"\x89PNG\r\n\x1a\n" and encoded[12:16] == b"IHDR" and len(encoded) >= 24:
        return ImageHeader(0, _big(encoded, 16, 4), _big(encoded, 20, 4))
    if encoded[:3] == b"\xff\xd8\xff":
        return _jpeg_header(encoded)
    if encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP" and len(encoded) >= 30:
        return _webp_header(encoded)
    return None


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
        return ImageHeader(3, 1 + _little(encoded, 24, 3), 1 + _little(encoded, 27, 3))
    if kind == b"VP8 " and encoded[23:26] == b"\x9d\x01\x2a":
        return ImageHeader(3, _little(encoded, 26, 2) & 0x3FFF, _little(encoded, 28, 2) & 0x3FFF)
    if kind == b"VP8L" and encoded[20] == 0x2F:
        bits = _little(encoded, 21, 4)
        return ImageHeader(3, 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    return None


def _big(encoded: bytes, at: int, count: int) -> int:
    return int.from_bytes(encoded[at : at + count], "big")


def _little(encoded: bytes, at: int, count: int) -> int:
    return int.from_bytes(encoded[at : at + count], "little")


def quote(text: str) -> str:
    """A server's words, fit to be shown: no markup, no control characters, not too many."""
    words = " ".join(re.sub(r"<[^>]*>", " ", text).split())
    shown = "".join(character for character in words if character.isprintable())
    return shown if len(shown) <= QUOTED else f"{shown[:QUOTED]}..."


def _describe(encoded: bytes) -> str:
    if not encoded:
        return "empty"
    start = encoded[:4096].decode("utf-8", "replace")
    lower = start.lstrip("\ufeff \t\r\n").lower()
    for opening, name in (("<!doctype html", "HTML"), ("<html", "HTML"), ("<", "XML")):
        if lower.startswith(opening):
            return f"{name}: {quote(start)}"
    if lower.startswith("{"):
        return f"JSON: {quote(start)}"
    if encoded[:4] == b"GIF8":
        return "GIF"
    return f"no PNG, JPEG or WebP: {len(encoded)} bytes that start {encoded[:8].hex(' ')}"
