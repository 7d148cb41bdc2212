# SPDX-License-Identifier: Apache-2.0
"""Provenance of a checkpoint: the commit of the code that made it."""

from __future__ import annotations

import subprocess
from pathlib import Path

_SOURCE = Path(__file__).resolve().parent
_SECONDS = 10.0


def commit(folder: Path = _SOURCE) -> str:
    """Return the git commit of the code in `folder`, ", changed" where tracked files differ from
    it, and "unknown" where the code lies in no repository or git is not there.
    """
    found = _git(folder, "rev-parse", "HEAD")
    if found is None:
        return "unknown"
    return found if _git(folder, "status", "--porcelain", "-uno") == "" else f"{found}, changed"


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
