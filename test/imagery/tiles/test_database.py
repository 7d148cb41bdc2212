# SPDX-License-Identifier: Apache-2.0
import os
import shutil
import signal
import sqlite3
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from g2s_localizer.imagery.open import scheme_and_path
from g2s_localizer.imagery.tiles.database import Database

NEVER_ENDS = (
    "WITH RECURSIVE rows(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM rows)"
    " SELECT n AS zoom_level, n AS tile_column, n AS tile_row, x'00' AS tile_data FROM rows"
)


@pytest.fixture
def endless(tmp_path):
    connection = sqlite3.connect(tmp_path / "t.mbtiles")
    connection.execute(f"CREATE VIEW tiles AS {NEVER_ENDS}")
    connection.close()
    return tmp_path / "t.mbtiles"


def test_a_query_that_does_not_end_is_ended(endless, monkeypatch):
    monkeypatch.setattr("g2s_localizer.imagery.tiles.database.QUERY_S", 0.2)
    started = time.monotonic()
    with pytest.raises(sqlite3.OperationalError, match="longer than 0.2 s.*views that do not end"):
        Database(endless).query("SELECT max(tile_row) FROM tiles")
    assert time.monotonic() - started < 2.0


def test_a_signal_ends_a_query(endless):
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        Database(endless).query("SELECT max(tile_row) FROM tiles")
    assert time.monotonic() - started < 2.0


@pytest.fixture
def medium():
    """A folder, made outside of those that pytest keeps to its user."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@contextmanager
def reading_only(folder):
    """As on a read-only medium: nobody may write to the folder, not even root."""
    folder.chmod(0o555)
    user = os.geteuid()
    os.seteuid(65534 if user == 0 else user)
    try:
        yield
    finally:
        os.seteuid(user)
        folder.chmod(0o755)


def with_log(file, closed):
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE tiles (zoom_level INT)")
    connection.execute("INSERT INTO tiles VALUES (7)")
    connection.commit()
    if closed:
        connection.close()
    return connection


def test_a_database_with_a_write_ahead_log_is_read_on_a_read_only_medium(medium):
    file = medium / "t.mbtiles"
    with_log(file, closed=True)
    with reading_only(medium):
        assert Database(file).query("SELECT zoom_level FROM tiles") == [(7,)]
        assert scheme_and_path(str(file))[0] == "mbtiles"


def test_a_log_that_cannot_be_applied_there_is_not_passed_over(medium, tmp_path):
    connection = with_log(tmp_path / "t.mbtiles", closed=False)
    for file in ("t.mbtiles", "t.mbtiles-wal"):
        shutil.copy(tmp_path / file, medium)
    connection.close()
    with (
        reading_only(medium),
        pytest.raises(ValueError, match="t.mbtiles-wal holds changes that only"),
    ):
        scheme_and_path(str(medium / "t.mbtiles"))
