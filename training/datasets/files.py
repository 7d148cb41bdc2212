# SPDX-License-Identifier: Apache-2.0
"""Pictures on disk that may be absent or cut short, and the lists that name them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

_LOG = logging.getLogger(__name__)

_NAMED = 5


def name_some(names: Sequence[str]) -> str:
    """'a, b, c, d, e and 7 more'"""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"


def report_missing(missing: Sequence[str], total: int, listed_in: Path, root: Path) -> None:
    """Warn how many of the `total` lines of a list have no file below `root`, and which.

    Raises ValueError with the same words when none has.
    """
    report = f"{len(missing)} of {total} lines of {listed_in} have no file in {root}: "
    if missing and len(missing) == total:
        raise ValueError(report + name_some(missing))
    if missing:
        _LOG.warning("%s%s", report, name_some(missing))


def read_picture(file: Path) -> NDArray[np.uint8]:
    """A PNG or JPEG as (H, W, 3) uint8 RGB.

    Raises FileNotFoundError, and ValueError naming the file that cannot be decoded, as when it is
    truncated.
    """
    return decode_picture(file.read_bytes(), str(file))


def decode_picture(data: bytes, name: str) -> NDArray[np.uint8]:
    """The bytes of a PNG or JPEG as (H, W, 3) uint8 RGB; ValueError naming what is no picture."""
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    if image is None:
        raise ValueError(f"{name} cannot be decoded")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
