# SPDX-License-Identifier: Apache-2.0
"""Presence: the probability that the images of late belong to the imagery around the prior."""

from __future__ import annotations

import math

FORGOTTEN_S = 2.0
"""Images further apart share no place: each is judged alone."""

INDEPENDENT_S = 0.3
"""Images this far apart are taken for independent evidence; closer ones show nearly the same place,
and count by their share of it."""

CHANGE = 0.05
"""Probability that the vehicle leaves the imagery, or comes back, between independent images."""

MAX_LOG_ODDS = 6.0
"""Largest log-odds that one image gives and that are kept, so that a doubt is heard in time."""


class Presence:
    """A Bayes filter over two states, the vehicle is here or is not.

    Each image brings its evidence: the log-odds that it belongs to its crop when both states are
    equally likely (calibrated; see `Registration.evidence`). Between two images the state changes
    with the probability CHANGE. Not thread-safe.
    """

    def __init__(self) -> None:
        self._stamp_ns: int | None = None
        self._log_odds = 0.0

    def update(self, stamp_ns: int, evidence: float) -> float:
        """Return the log-odds of being here after an image with its evidence (log-odds).

        A stamp that is not newer than the last one, or much newer, begins anew: the same image
        twice has the same answer.
        """
        evidence = min(max(evidence, -MAX_LOG_ODDS), MAX_LOG_ODDS)
        apart_s = math.inf if self._stamp_ns is None else (stamp_ns - self._stamp_ns) * 1e-9
        if 0.0 < apart_s < FORGOTTEN_S:
            share = min(apart_s / INDEPENDENT_S, 1.0)
            here = probability(self._log_odds)
            change = CHANGE * share
            here = here * (1.0 - change) + (1.0 - here) * change
            self._log_odds = math.log(here / (1.0 - here)) + share * evidence
        else:
            self._log_odds = evidence
        self._log_odds = min(max(self._log_odds, -MAX_LOG_ODDS), MAX_LOG_ODDS)
        self._stamp_ns = stamp_ns
        return self._log_odds


def probability(log_odds: float) -> float:
    """Return the probability of log-odds."""
    return 1.0 / (1.0 + math.exp(-log_odds))
