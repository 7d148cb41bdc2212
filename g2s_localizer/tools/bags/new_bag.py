# SPDX-License-Identifier: Apache-2.0
"""New ROS 2 bags as Jazzy writes them."""

from __future__ import annotations

from pathlib import Path

from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore


def new_bag(out: Path, storage: StoragePlugin = StoragePlugin.MCAP) -> Writer:
    """Return unopened writer of the new folder `out`. Raises FileExistsError when it is there."""
    if out.exists():
        raise FileExistsError(f"{out} exists already; a bag needs a new folder")
    return Writer(out, version=9, storage_plugin=storage)


def jazzy_types() -> Typestore:
    """Return the message types of ROS 2 Jazzy, without a ROS installation."""
    return get_typestore(Stores.ROS2_JAZZY)
