# SPDX-License-Identifier: Apache-2.0
"""Small files of a store, which may come from a stranger: regular ones inside it, and bounded."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class UnreadableFile(ValueError):
    """A file that is there and may not be read, with the reason."""


def read_file(path: Path, max_bytes: int, folder: Path | None = None) -> bytes:
    """Return the content of a regular file of at most `max_bytes`.

    folder  the folder, without links in its own path, that links in `path` must not lead out of;
            None: they may lead anywhere

    Raises FileNotFoundError for an absent one, UnreadableFile saying why another is not read.
    Nothing is waited for, as for the other end of a FIFO.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except NotADirectoryError as error:
        raise FileNotFoundError(*error.args) from error
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UnreadableFile(f"cannot be read: {error.strerror}") from error
    try:
        # After the cheap look whether it is there: most names that are tried are not.
        if folder is not None and not is_inside(path, folder):
            raise UnreadableFile("a link that leads out of the store; what lies there is not read")
        kind = stat.S_IFMT(os.fstat(handle).st_mode)
        if kind != stat.S_IFREG:
            raise UnreadableFile(f"{_KINDS.get(kind, 'something')}, no regular file")
        content = _read(handle, max_bytes + 1)
    except OSError as error:
        raise UnreadableFile(f"cannot be read: {error.strerror}") from error
    finally:
        os.close(handle)
    if len(content) > max_bytes:
        raise UnreadableFile(f"longer than {max_bytes} bytes")
    return content


def is_inside(path: Path, folder: Path) -> bool:
    """Return whether `path`, links followed, lies in `folder`, whose own path has no links."""
    return os.path.realpath(path).startswith(os.path.join(folder, ""))


def _read(handle: int, most: int) -> bytes:
    parts, left = [], most
    while left and (part := os.read(handle, min(left, 1 << 20))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
