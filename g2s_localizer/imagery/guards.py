# SPDX-License-Identifier: Apache-2.0
"""What a server sent in place of a tile: told from its bytes, before anything decodes them."""

from __future__ import annotations

import re

import numpy as np

from g2s_localizer.imagery.picture import NAMES, ImageHeader, read_header
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


def check_tile(encoded: bytes, content_type: str) -> ImageHeader:
    """The header of a tile that is one: square, complete, decodable, and showing something.

    content_type  as the server declared it. Raises UnusableTile saying what it is instead.
    """
    declared = content_type.partition(";")[0].strip().lower()
    header = read_header(encoded)
    if header is None:
        raise UnusableTile(f"declared {declared or 'nothing'}, but is {_describe(encoded)}")
    if declared not in _UNSAID and _MEDIA_TYPES.get(declared) != header.format:
        raise UnusableTile(f"declared {quote(declared)}, but is {NAMES[header.format]}")
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
