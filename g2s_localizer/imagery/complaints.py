# SPDX-License-Identifier: Apache-2.0
"""Complaints of the JPEG decoder: it fills what it cannot read, and the picture looks whole.

OpenCV keeps libjpeg's warnings from its caller: they are lines on the process's standard error
and nothing else. They are read from there.
"""

from __future__ import annotations

import os
import tempfile
from threading import Lock
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

_DAMAGE = (b"Corrupt JPEG data", b"Premature end of JPEG", b"Inconsistent progression")
"""Beginnings of libjpeg's warnings about lost data; its others leave the pixels as they are."""

_STDERR = 2

_LOCK = Lock()
# A child forked meanwhile would keep the memory file for its standard error.
os.register_at_fork(
    before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_LOCK.release
)


def decode_listening(encoded: bytes, flags: int) -> tuple[NDArray[Any] | None, str]:
    """Return what cv2.imdecode makes of a JPEG, and the decoder's complaints of damage, "" if none.

    What anybody else writes to standard error meanwhile is passed on after it. Raises cv2.error.
    """
    buffer = np.frombuffer(encoded, np.uint8)
    with _LOCK, _memory_file() as said:
        before = _copy_of_stderr()
        os.dup2(said.fileno(), _STDERR)
        try:
            pixels = cv2.imdecode(buffer, flags)
        finally:
            if before is None:
                os.close(_STDERR)
            else:
                os.dup2(before, _STDERR)
                os.close(before)
            said.seek(0)
            lines = said.read().splitlines(keepends=True)
            others = b"".join(line for line in lines if not line.startswith(_DAMAGE))
            if others and before is not None:
                os.write(_STDERR, others)
    found = [line.decode(errors="replace").strip() for line in lines if line.startswith(_DAMAGE)]
    return pixels, "; ".join(dict.fromkeys(found))


def _memory_file() -> Any:
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("complaints"), "w+b", buffering=0)
    return tempfile.TemporaryFile(buffering=0)


def _copy_of_stderr() -> int | None:
    """Return None where standard error is closed, as of some daemons."""
    try:
        return os.dup(_STDERR)
    except OSError:
        return None
