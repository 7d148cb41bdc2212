# SPDX-License-Identifier: Apache-2.0
"""BagReader: a recorded bag of ROS 2 or ROS 1, and in a sentence what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from rosbags import rosbag1, rosbag2
from rosbags.interfaces import Connection, MessageDefinition, MessageDefinitionFormat
from rosbags.rosbag2.reader import DirectoryReader
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

FILES = (".mcap", ".db3")
_IDL_PART = "=" * 80 + "\n"


class BagReader:
    """The messages of a ROS 2 bag (its folder, or one .mcap or .db3 file) or of a ROS 1 .bag file.

    What metadata.yaml says of qualities of service, type hashes and counts need not be what the
    files hold, as when one was edited: topic and type say what belongs together.

    A context manager, or `open` and `close`. Raises FileNotFoundError for an absent path, and
    ValueError with the path and the likely cause for what is no bag, is not complete, or turns
    out to be damaged while it is read.
    """

    def __init__(self, path: Path) -> None:
        _require_bag(path)
        self.path = path
        self.is_ros1 = is_ros1(path)
        self.connections: list[Connection] = []
        self._reader: Any = None
        self._types = get_typestore(Stores.EMPTY)
        self._defaults = get_typestore(Stores.ROS2_JAZZY)

    def open(self) -> BagReader:
        try:
            self._reader = (rosbag1.Reader if self.is_ros1 else rosbag2.Reader)(self.path)
            self._reader.open()
            if not self.is_ros1 and isinstance(self._reader.storage, DirectoryReader):
                _join_by_topic(self._reader.storage)
        except Exception as error:  # every storage has errors of its own
            kind = "ROS 1" if self.is_ros1 else "ROS 2"
            raise ValueError(
                f"{self.path} is no complete {kind} bag: {_said(error)}. Was its recorder killed? "
                + ("`rosbag reindex`" if self.is_ros1 else "`ros2 bag reindex`")
                + " repairs what can be"
            ) from error
        self.connections = list(self._reader.connections)
        return self

    def close(self) -> None:
        self._reader.close()

    def __enter__(self) -> BagReader:
        return self.open()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def message_count(self) -> int:
        return sum(connection.msgcount for connection in self.connections)

    @property
    def start_time(self) -> int:
        """Log time of the earliest message (ns), as the files have it."""
        return min(int(each.start_time) for each in self._spans())

    @property
    def end_time(self) -> int:
        """Return the log time of the latest message (ns), in some files 1 ns after it."""
        return max(int(each.end_time) for each in self._spans())

    def _spans(self) -> list[Any]:
        if self.is_ros1 or not isinstance(self._reader.storage, DirectoryReader):
            return [self._reader]
        return [file.metadata for file in self._reader.storage.storages]

    @property
    def topics(self) -> str:
        """Return the topics with their types, in words."""
        return ", ".join(sorted({f"{c.topic} ({c.msgtype})" for c in self.connections}))

    def messages(
        self,
        connections: Sequence[Connection],
        start: int | None = None,
        stop: int | None = None,
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """Yield (connection, log time in ns, serialized message) in order of the log times.

        connections  of these alone; start and stop: log times from one to before the other
        """
        if not connections:
            return
        count = 0
        found = self._reader.messages(connections, start, stop)
        while True:
            try:
                connection, logged, data = next(found)
            except StopIteration:
                break
            except Exception as error:  # as in `open`
                raise ValueError(f"{self.path} is damaged: {_said(error)}") from error
            count += 1
            yield connection, int(logged), bytes(data)
        # A damaged chunk can end in silence: the storage itself counted when it was written.
        total = sum(connection.msgcount for connection in connections)
        if start is None and stop is None and count < total:
            raise ValueError(f"{self.path} is damaged: {count} of {total} messages can be read")

    def deserialize(self, data: bytes, connection: Connection) -> Any:
        """Return the message, with the fields that the bag's own definition names.

        Raises ValueError naming the type when the bytes are not of it, or nobody defines it.
        """
        try:
            self._learn(connection.msgdef, connection.msgtype)
            if self.is_ros1:
                return self._types.deserialize_ros1(data, connection.msgtype)
            return self._types.deserialize_cdr(data, connection.msgtype)
        except Exception as error:  # bytes of any kind meet code made for their type
            raise ValueError(f"no {connection.msgtype}: {_said(error)}") from error

    def _learn(self, definition: MessageDefinition, msgtype: str) -> None:
        if msgtype in self._types.fielddefs:
            return
        if definition.format == MessageDefinitionFormat.MSG:
            found = get_types_from_msg(definition.data, msgtype)
        elif definition.format == MessageDefinitionFormat.IDL:
            # each file has a line "IDL: name" before it, where there are several
            parts = [part for part in definition.data.split(_IDL_PART) if part.strip()]
            texts = [p.partition("\n")[2] if p.startswith("IDL: ") else p for p in parts]
            found = {
                name: made for text in texts for name, made in get_types_from_idl(text).items()
            }
        else:
            found = dict(self._defaults.fielddefs)
        known = self._types.fielddefs
        self._types.register({name: made for name, made in found.items() if name not in known})


def is_ros1(path: Path) -> bool:
    """Return whether the path names a ROS 1 bag, which is one file."""
    return path.suffix == ".bag" and not path.is_dir()


def _require_bag(path: Path) -> None:
    if not path.exists():
        raise FileNotFoundError(f"no such bag: {path}")
    # A pipe would be waited for without end.
    for file in path.iterdir() if path.is_dir() else (path,):
        if file.exists() and not (file.is_file() or file.is_dir()):
            raise ValueError(f"{file} is no regular file, so it is no part of a bag")
    if path.is_dir():
        if (path / "metadata.yaml").is_file():
            return
        held = sorted(file.name for file in path.glob("[!.]*") if file.suffix in FILES)
        inner = sorted(file.parent.name for file in path.glob("*/metadata.yaml"))
        if held:
            why = f"`ros2 bag reindex {path}` writes it; or name the file itself, {held[0]}"
        elif inner:
            why = f"the bags in it are {', '.join(inner[:3])}"
        else:
            why = f"nor a file of {' or '.join(FILES)}"
        raise ValueError(f"{path} is no complete ROS 2 bag: it has no metadata.yaml; {why}")
    if path.suffix not in (*FILES, ".bag"):
        raise ValueError(
            f"{path} is no bag: a bag is the folder of metadata.yaml, one file of "
            f"{' or '.join(FILES)}, or a ROS 1 .bag"
        )


def _join_by_topic(storage: DirectoryReader) -> None:
    """Make the folder's connections those of its files, found by topic and type alone.

    rosbags looks a file's connection up by quality of service and type hash as well, and yields
    nothing of one that it does not find.
    """
    joined: dict[tuple[str, str], Connection] = {}
    for listed in storage.connections:
        joined.setdefault((listed.topic, listed.msgtype), listed._replace(msgcount=0))
    for file in storage.storages:
        for i, held in enumerate(file.connections):
            key = (held.topic, held.msgtype)
            same = joined.setdefault(key, held._replace(msgcount=0))
            joined[key] = same._replace(msgcount=same.msgcount + held.msgcount)
            file.connections[i] = held._replace(ext=same.ext, digest=same.digest)
    filled = {topic for (topic, _), held in joined.items() if held.msgcount}
    # metadata.yaml can name another type for a topic than the files do.
    storage.connections[:] = [c for c in joined.values() if c.msgcount or c.topic not in filled]


def _said(error: Exception) -> str:
    """Return the error's first line, or its name where it says nothing."""
    return (str(error).partition("\n")[0] or type(error).__name__).rstrip(".")
