# SPDX-License-Identifier: Apache-2.0
"""What tests in several folders need: the repository, and the folder of real recordings."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

# A loaded machine may pause within any example; these tests state laws, not times.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# A shell that runs pytest in the background has it, and all that it starts, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the source tree."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def test_data(repository: Path) -> Path:
    """The folder of real recordings; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("G2S_TEST_DATA", repository.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real recordings at {folder} (set G2S_TEST_DATA)")
    return folder
