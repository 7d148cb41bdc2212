# SPDX-License-Identifier: Apache-2.0
"""The list that g2s-check prints, one line for everything it looked at."""

from __future__ import annotations


class Report:
    """Prints each line as it is found.

    wrong  how many of them are
    """

    def __init__(self) -> None:
        self.wrong = 0

    def right(self, subject: str, said: str) -> None:
        """Say what was found to be in order."""
        self._print("OK", subject, said)

    def fault(self, subject: str, said: str) -> None:
        """Say what is wrong: the value, the likely cause, what to do."""
        self.wrong += 1
        self._print("WRONG", subject, said)

    def unseen(self, subject: str, said: str) -> None:
        """Say what could not be looked at, and why."""
        self._print("UNCHECKED", subject, said)

    def judge(self, subject: str, fault: str, otherwise: str) -> None:
        """Say the fault, or what is in order where there is none."""
        if fault:
            self.fault(subject, fault)
        else:
            self.right(subject, otherwise)

    def _print(self, verdict: str, subject: str, said: str) -> None:
        print(f"{verdict:9} {subject}: {said}", flush=True)
