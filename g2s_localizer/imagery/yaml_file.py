# SPDX-License-Identifier: Apache-2.0
"""The one reader of YAML files: bounded in bytes, depth and aliases; plain values only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 64 * 1024
"""A configuration is a few pages; what is longer is not read."""

MAX_VALUES = 10_000
"""Most values of a file, each alias counted with all that it stands for."""

MAX_DEPTH = 64


def read_yaml(file: Path) -> Any:
    """Return what a YAML file holds: mappings, lists, numbers, text, dates.

    Raises FileNotFoundError for an absent file, another OSError for one that cannot be read, and
    ValueError naming the file and what is wrong in it: too long, no YAML, tags of other types,
    a key that is given twice, aliases that unfold to too much.
    """
    if not file.exists():
        raise FileNotFoundError(f"no such file: {file}")
    if not file.is_file():
        raise ValueError(f"{file} is no regular file, so it holds no YAML")
    with file.open("rb") as stream:
        content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"{file} is longer than {MAX_BYTES} bytes")
    return parse_yaml(content, str(file))


def parse_yaml(content: bytes, source: str) -> Any:
    """Return what YAML text holds. Raises ValueError naming `source`, as `read_yaml`."""
    try:
        return _parse(content)
    except RecursionError:
        raise ValueError(f"{source} is nested more deeply than {MAX_DEPTH} levels") from None
    except Exception as error:
        # Values that are not what their tags say fail in any way.
        said = " ".join(str(error).split())
        raise ValueError(f"{source} is no YAML that is read here: {said}") from error


def _parse(content: bytes) -> Any:
    loader = yaml.SafeLoader(content)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        # Before anything is constructed: merging an alias copies what it stands for.
        _measure(node, {})
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _measure(node: yaml.Node, known: dict[yaml.Node, tuple[int, int]]) -> tuple[int, int]:
    """Return how many values a node unfolds to, and how deeply it is nested.

    known   of the nodes that were measured; those that are being measured have depth 0
    """
    if node in known:
        if known[node][1] == 0:
            raise ValueError(f"{_line(node)}: an alias that holds itself")
        return known[node]
    known[node] = (0, 0)
    values, depth = 1, 1
    for child in _children(node):
        more, deep = _measure(child, known)
        values, depth = values + more, max(depth, 1 + deep)
    if values > MAX_VALUES:
        raise ValueError(f"{_line(node)}: unfolds to more than {MAX_VALUES} values")
    if depth > MAX_DEPTH:
        raise ValueError(f"{_line(node)}: nested more deeply than {MAX_DEPTH} levels")
    known[node] = (values, depth)
    return known[node]


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    if not isinstance(node, yaml.MappingNode):
        return []
    names: set[str] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            if key.value in names:
                raise ValueError(f"{_line(key)}: the key {key.value} is given twice")
            names.add(key.value)
    return [each for pair in node.value for each in pair]


def _line(node: yaml.Node) -> str:
    return f"line {node.start_mark.line + 1}"
