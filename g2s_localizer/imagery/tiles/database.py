# SPDX-License-Identifier: Apache-2.0
"""SQLite files from anywhere: opened to be read alone, and no query goes on for ever."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from threading import Lock
from typing import Any

QUERY_S = 5.0
"""Longest time for one query: a view may be one that never ends."""

MAX_ZOOM = 30
"""Zooms beyond it have no meaning: a pixel of 0.1 mm."""

_STEPS = 20_000
"""Steps of SQLite's machine, some milliseconds, between two looks at the clock."""


class Database:
    """One read-only connection for all threads, one thread in it at a time.

    Raises sqlite3.DatabaseError for a file that is no database, sqlite3.OperationalError, which is
    one too, for a database that cannot be opened here, and `query` for whatever SQLite
    objects to, a query of more than QUERY_S included.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = Lock()
        self._connection = self._connect("")
        try:
            self.query("SELECT count(*) FROM sqlite_master")
        except sqlite3.OperationalError:
            # A database with a write-ahead log wants to write beside itself even to be read.
            self._connection.close()
            self._refuse_log()
            self._connection = self._connect("&immutable=1")
            self.query("SELECT count(*) FROM sqlite_master")

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def query(self, statement: str, *values: Any) -> list[Any]:
        """Return all rows of one statement."""
        with self._lock:
            return timed_query(self._connection, statement, values)

    def _connect(self, more: str) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self._file.resolve().as_uri()}?mode=ro{more}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
        )
        connection.execute("PRAGMA trusted_schema = OFF")
        return connection

    def _refuse_log(self) -> None:
        log = self._file.with_name(f"{self._file.name}-wal")
        if log.is_file() and log.stat().st_size:
            raise sqlite3.OperationalError(
                f"{log} holds changes that only somebody who may write here can apply: "
                f"sqlite3 {self._file.name} 'PRAGMA journal_mode = DELETE' where that is possible"
            )


def timed_query(connection: sqlite3.Connection, statement: str, values: Any = ()) -> list[Any]:
    """Return all rows of one statement; raises sqlite3.OperationalError after QUERY_S.

    A signal that comes meanwhile ends it too.
    """
    ends = 0.0

    def is_late() -> bool:
        nonlocal ends
        # Only from the first step on: before it another process may hold the file for a while.
        ends = ends or time.monotonic() + QUERY_S
        return time.monotonic() > ends

    connection.set_progress_handler(is_late, _STEPS)
    try:
        return connection.execute(statement, values).fetchall()
    except sqlite3.OperationalError as error:
        if "interrupted" not in str(error):
            raise
        if time.monotonic() <= ends:
            # SQLite swallows what a signal's handler raises within the look at the clock.
            raise KeyboardInterrupt from error
        raise sqlite3.OperationalError(
            f"a query took longer than {QUERY_S:g} s: its tables are views that do not end, or "
            "lack an index"
        ) from error
    finally:
        connection.set_progress_handler(None, 0)
