# SPDX-License-Identifier: Apache-2.0
"""The options that name a configuration: a file, and settings that take the place of its values."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from g2s_localizer.imagery.yaml_file import parse_yaml


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --config, --set and --seed."""
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="a value in place of the file's, as translation.loss.weak=0.5; may be repeated",
    )
    parser.add_argument("--seed", type=int, help="in place of the configuration's")


def config_words(arguments: argparse.Namespace) -> str:
    """Return these options as they were given, to be typed into a shell again."""
    words = ["--config", str(arguments.config)]
    for text in arguments.set:
        words += ["--set", text]
    if arguments.seed is not None:
        words += ["--seed", str(arguments.seed)]
    return shlex.join(words)


def with_settings(values: Any, settings: Sequence[str]) -> Any:
    """Return what a file holds with each KEY=VALUE in its place; a mapping is merged, as it is by
    `extends`.

    KEY is a path of names with dots between them, VALUE is YAML; an empty VALUE is empty text. Of
    two settings of one key the later one holds. Raises ValueError naming the setting that is no
    key and value, or whose key lies in something that is no mapping.
    """
    for text in settings:
        key, equals, value = text.partition("=")
        names = key.split(".")
        if not equals or not all(names):
            raise ValueError(f"--set {text}: needs a key and a value, as seed=2 or model.gsd=0.5")
        read = parse_yaml(value.encode(), f"--set {text}") if value else ""
        values = _inserted(values, names, read, "")
    return values


def merged(below: Any, above: Any) -> Any:
    """Return `above`, where both are mappings with the keys that only `below` has."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    shared = {key: merged(below[key], above[key]) for key in below.keys() & above.keys()}
    return {**below, **above, **shared}


def _inserted(values: Any, names: Sequence[str], value: Any, where: str) -> Any:
    if not names:
        return merged(values, value)
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise ValueError(f"{where.rstrip('.') or 'the file'} is {values!r}, which has no keys")
    first, *rest = names
    return {**values, first: _inserted(values.get(first), rest, value, f"{where}{first}.")}
