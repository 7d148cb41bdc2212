# SPDX-License-Identifier: Apache-2.0
"""Message types by name: the installed Python class, and the definition that a bag stores."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from rosbags.interfaces import Nodetype
from rosbags.typesys import get_types_from_msg
from rosbags.typesys.store import Typestore


def message_class(msgtype: str) -> type[Any]:
    """Return installed class of "package/msg/Name". Raises ImportError saying what is missing."""
    package, _, name = msgtype.split("/")
    try:
        found: type[Any] = getattr(importlib.import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError) as error:
        raise ImportError(f"{msgtype} is not installed here: {error}") from error
    return found


def register_type(typestore: Typestore, msgtype: str) -> None:
    """Teach `typestore` an installed message type and all that it is made of.

    The definition is read from the .msg file that every ROS package installs beside its code.
    Raises ImportError when the type is not installed, FileNotFoundError without its .msg file.
    """
    if msgtype in typestore.fielddefs:
        return
    definitions = get_types_from_msg(_definition(msgtype), msgtype)
    for _, fields in definitions.values():
        for _, kind in fields:
            if (part := _message_of(kind)) is not None and part not in definitions:
                register_type(typestore, part)
    typestore.register(definitions)


def _message_of(kind: tuple[Any, Any]) -> str | None:
    """Name of the message type that a field holds, alone or in an array."""
    node, content = kind
    if node == Nodetype.NAME:
        return str(content)
    if node in (Nodetype.ARRAY, Nodetype.SEQUENCE):
        return _message_of(content[0])
    return None


def _definition(msgtype: str) -> str:
    package, _, name = msgtype.split("/")
    module = Path(str(sys.modules[message_class(msgtype).__module__].__file__))
    below = Path("share") / package / "msg" / f"{name}.msg"
    for prefix in module.parents:
        if (prefix / below).is_file():
            return (prefix / below).read_text(encoding="utf-8")
    raise FileNotFoundError(f"no {below} in any folder above {module}")
