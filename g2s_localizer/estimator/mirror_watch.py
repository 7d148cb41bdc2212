# SPDX-License-Identifier: Apache-2.0
"""Watch whether the camera's pictures would look more like the imagery if they were mirrored."""

from __future__ import annotations

DECIDED = 4.0
"""Log-odds beyond which the question is asked again only now and then."""

MAX_LOG_ODDS = 6.0
SHARE = 0.5
"""Share of one image's evidence that counts: those after each other show nearly the same place."""

IN_A_ROW = 8
"""Questions that are asked of images one after the other, decided or not: each takes as long as an
image does."""

REST = 20
"""Images until it is asked again."""


class MirrorWatch:
    """Adds up how much more the mirrored images look like the imagery than the images do.

    A street that is alike on both sides looks right in a mirror: its mirrored image finds a place
    on the wrong side of the road, drives along there and is sure of it. Only beside the image as it
    should be does it lose. Not thread-safe.
    """

    def __init__(self) -> None:
        self._log_odds = 0.0
        self._rest = self._asked = 0

    def asks(self) -> bool:
        """Count an image, and return whether it is to be looked at mirrored too."""
        self._rest = max(self._rest - 1, 0)
        return self._rest == 0

    def add(self, evidence: float, mirrored: float) -> None:
        """Take the evidence (log-odds of belonging to the crop) of an image and of its mirror
        image. Where neither looks like the imagery, both say nothing of the camera.
        """
        if max(evidence, mirrored) > 0.0:
            self._log_odds += SHARE * (mirrored - evidence)
        self._log_odds = min(max(self._log_odds, -MAX_LOG_ODDS), MAX_LOG_ODDS)
        self._asked += 1
        if abs(self._log_odds) > DECIDED or self._asked % IN_A_ROW == 0:
            self._rest, self._asked = REST, 0

    @property
    def sentence(self) -> str:
        """Say what is wrong with the pictures, "" for nothing."""
        if self._log_odds <= 0.0:
            return ""
        return (
            f"mirrored, the images look more like the imagery (log-odds {self._log_odds:.1f}); "
            "likely the camera's pictures are mirrored"
        )
