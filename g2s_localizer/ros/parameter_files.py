# SPDX-License-Identifier: Apache-2.0
"""For which nodes the parameter files of this process are: names that the YAML gives them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from g2s_localizer.imagery.yaml_file import read_yaml

_FLAGS = ("--params-file", "--param-file")


def for_other_nodes(arguments: Sequence[str], node: str) -> str:
    """Return a sentence on parameter files that hold nothing for `node`, a fully qualified name.

    arguments  of the process, as ROS reads them (`--params-file FILE`)
    """
    said = []
    for flag, file in pairwise(arguments):
        if flag not in _FLAGS:
            continue
        names = _names(Path(file))
        if names and not any(_matches(name, node) for name in names):
            listed = ", ".join(sorted(set(names)))
            said.append(f"{file} holds parameters of {listed}, none of this node, {node}")
    return "; ".join(said)


def _names(file: Path) -> list[str]:
    """Return node names of a parameter file; none of one that ROS could not read either."""
    try:
        tree = read_yaml(file)
    except (OSError, ValueError):
        return []
    return list(_walk(tree, ""))


def _walk(tree: Any, above: str) -> Iterator[str]:
    for key, below in tree.items() if isinstance(tree, dict) else ():
        if key == "ros__parameters":
            yield above
        else:
            yield from _walk(below, f"{above.rstrip('/')}/{str(key).strip('/')}")


def _matches(name: str, node: str) -> bool:
    """Match a node's name; `*` stands for one part of it, `**` for any number of them."""
    parts = {"/**": r"(/[^/]+)*", "/*": r"/[^/]+"}
    pattern = re.sub(r"/\*\*|/\*|[^/]+|/", lambda one: parts.get(one[0]) or re.escape(one[0]), name)
    return re.fullmatch(pattern, node) is not None
