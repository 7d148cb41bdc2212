# SPDX-License-Identifier: Apache-2.0
"""Imagery that the workers of a data loader can share."""

from __future__ import annotations

import os
from typing import Any

from g2s_localizer.imagery import open_imagery


class ProcessImagery:
    """The imagery of a URI, opened anew in each process: workers share no file handle.

    Raises what `open_imagery` raises, at once.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._process, self._opened = os.getpid(), open_imagery(uri)

    def __getattr__(self, name: str) -> Any:
        """Return everything else that Imagery has."""
        if name.startswith("_"):
            raise AttributeError(name)
        if self._process != os.getpid():
            self._process, self._opened = os.getpid(), open_imagery(self.uri)
        return getattr(self._opened, name)

    def __reduce__(self) -> tuple[type[ProcessImagery], tuple[str]]:
        return ProcessImagery, (self.uri,)
