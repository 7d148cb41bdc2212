# SPDX-License-Identifier: Apache-2.0
"""Kind of a file that should hold weights, from its first bytes; nothing of it is executed."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path

_HEAD_BYTES = 4096
_TITLE = re.compile(r"<title[^>]*>([^<]{1,80})", re.I)
_TAR_MAGIC_AT = 257


class WeightsKind(Enum):
    SAFETENSORS = "a safetensors file"
    PICKLE = "a PyTorch pickle"
    UNKNOWN = "no file of weights"


def weights_kind(file: Path) -> WeightsKind:
    """Return which kind of weights a file holds, by its content: a suffix may lie.

    Raises ValueError saying what it is, without its name, where that has a remedy of its own: an
    absent file, a folder, an empty file, a web page, a pointer of Git LFS.
    """
    if file.is_dir():
        raise ValueError("a folder, no file of weights")
    if not file.exists():
        raise ValueError("no such file")
    if not file.is_file():
        raise ValueError("no regular file")
    with file.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    if not head:
        raise ValueError("empty")
    if head[8:9] == b"{":
        return WeightsKind.SAFETENSORS
    if head.startswith(b"version https://git-lfs"):
        raise ValueError("a pointer of Git LFS, not the file itself: run git lfs pull")
    if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<":
        title = _TITLE.search(head.decode("utf-8", "replace"))
        quoted = f" ({' '.join(title[1].split())})" if title and title[1].isprintable() else ""
        raise ValueError(
            f"a web page{quoted}, not the file itself: the server asked for a login or a "
            "confirmation, or has no such file; download it with a browser"
        )
    is_tar = head[_TAR_MAGIC_AT : _TAR_MAGIC_AT + 5] == b"ustar"
    is_pickle = head.startswith(b"PK\x03\x04") or (head[0] == 0x80 and head[1:2] <= b"\x05")
    return WeightsKind.PICKLE if is_pickle or is_tar else WeightsKind.UNKNOWN
