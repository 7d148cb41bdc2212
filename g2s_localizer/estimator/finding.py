# SPDX-License-Identifier: Apache-2.0
"""Finding: what a watch on the set-up says."""

from __future__ import annotations

from dataclasses import dataclass

from g2s_localizer.estimator.estimate import Rejection


@dataclass(frozen=True)
class Finding:
    """Say what a watch saw, with its value and the likely cause in words.

    rejection  why no pose is published while it holds; None: it is said, and poses go on
    """

    rejection: Rejection | None
    sentence: str
