# SPDX-License-Identifier: Apache-2.0
"""Checks of a server's reply by its bytes, before anything decodes them."""

from __future__ import annotations

import re

import numpy as np

from g2s_localizer.imagery.picture import (
    NAMES,
    BoolArray,
    Image,
    ImageHeader,
    UnusablePicture,
    decode_with_alpha,
    read_header,
)
from g2s_localizer.imagery.source import UnusableTile

MAX_PIXELS = 4096
"""Pixels a side beyond which an image is called too large, whatever it is."""

TILE_SIDES = (256, 512)

CONSTANT_WITHIN = 2
"""An image whose channels each span no more grey levels than this shows nothing."""

MAX_QUOTED = 160
"""Characters of a server's own message that are shown."""

_MEDIA_TYPES = {
    "image/png": 0,
    "image/x-png": 0,
    "image/jpeg": 1,
    "image/jpg": 1,
    "image/pjpeg": 1,
    "image/webp": 3,
}
# What servers say that know no better, or choose the format tile by tile.
_UNSAID = {
    "",
    "application/octet-stream",
    "binary/octet-stream",
    "image/vnd.jpeg-png",
    "image/vnd.jpeg-png8",
}


def check_tile(encoded: bytes, content_type: str) -> ImageHeader:
    """Return the header of a tile that is one: square, complete, decodable, and showing something.

    content_type  as the server declared it. Raises UnusableTile saying what it is instead.
    """
    declared = content_type.partition(";")[0].strip().lower()
    header = read_header(encoded)
    if header is None:
        raise UnusableTile(f"declared {declared or 'nothing'}, but is {_describe(encoded)}")
    if declared not in _UNSAID and _MEDIA_TYPES.get(declared) != header.format:
        raise UnusableTile(f"declared {quote(declared)}, but is {NAMES[header.format]}")
    size = f"{header.width} x {header.height} pixels"
    if max(header.width, header.height) > MAX_PIXELS:
        raise UnusableTile(f"{size}; the limit is {MAX_PIXELS} a side")
    if header.width != header.height or header.width not in TILE_SIDES:
        raise UnusableTile(f"{size}; a tile has 256 x 256 or 512 x 512")
    try:
        image, transparent = decode_with_alpha(encoded)
    except UnusablePicture as error:
        raise UnusableTile(str(error)) from error
    _refuse_placeholder(image, transparent)
    return header


def _refuse_placeholder(image: Image, transparent: BoolArray | None) -> None:
    shown, what = image.reshape(-1, 3), "all of it"
    if transparent is not None and transparent.any():
        shown, what = image[~transparent], "all of it that is not transparent"
    if not len(shown):
        raise PlaceholderTile("placeholder: all of it is transparent")
    if int(np.ptp(shown, axis=0).max()) <= CONSTANT_WITHIN:
        raise PlaceholderTile(f"placeholder: {what} has the colour {shown[0].tolist()}")


class PlaceholderTile(UnusableTile):
    """The server has no imagery there, and says so with a picture."""


def quote(text: str) -> str:
    """Return a server's words, fit to be shown: no markup, no control characters, not too many."""
    words = " ".join(re.sub(r"<[^>]*>", " ", text).split())
    shown = "".join(character for character in words if character.isprintable())
    return shown if len(shown) <= MAX_QUOTED else f"{shown[:MAX_QUOTED]}..."


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
