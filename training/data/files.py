# SPDX-License-Identifier: Apache-2.0
"""Pictures on disk that may be absent or cut short, and the lists that name them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from g2s_localizer.imagery.picture import UnusablePicture, decode_picture

_LOG = logging.getLogger(__name__)

_MAX_NAMED = 5


def name_some(names: Sequence[str]) -> str:
    """Join names to 'a, b, c, d, e and 7 more'."""
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return f"{', '.join(names[:_MAX_NAMED])}{more}"


def said(error: Exception) -> str:
    """Return an error's text in one line, with its type where the words are a library's."""
    words = " ".join(str(error).split())
    if isinstance(error, (OSError, ValueError)) and words:
        return words
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def report_missing(missing: Sequence[str], total: int, listed_in: Path | str, root: Path) -> None:
    """Warn how many of the `total` lines of a list have no file below `root`, and which.

    Raises ValueError with the same words when none has.
    """
    report = f"{len(missing)} of {total} lines of {listed_in} have no file in {root}: "
    if missing and len(missing) == total:
        raise ValueError(report + name_some(missing))
    if missing:
        _LOG.warning("%s%s", report, name_some(missing))


def read_picture(file: Path) -> NDArray[np.uint8]:
    """Return a PNG or JPEG as (H, W, 3) uint8 RGB.

    Raises FileNotFoundError, and ValueError naming the file that cannot be decoded, as when it is
    truncated or larger than any picture.
    """
    try:
        return decode_picture(file.read_bytes())
    except UnusablePicture as error:
        raise ValueError(f"{file} cannot be decoded: {error}") from error
