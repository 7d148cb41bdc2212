# SPDX-License-Identifier: Apache-2.0
"""Write the table of the node's parameters into docs/node.md.

python docs/parameters.py      after a change of g2s_localizer/ros/parameter_table.py
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from g2s_localizer.ros.parameter_table import SPECIFICATIONS, Specification, Value

PAGE = Path(__file__).with_name("node.md")

_TABLE = re.compile(r"(<!-- parameters -->\n).*?(<!-- end of parameters -->)", re.DOTALL)


def table() -> str:
    """Return the table as Markdown, one row for each parameter."""
    head = "| name | type | default | range | meaning |\n|---|---|---|---|---|\n"
    return head + "".join(_row(one) for one in SPECIFICATIONS)


def with_table(page: str) -> str:
    """Return the text of the page with its table made anew.

    Raises ValueError for a page without the two comments around the table.
    """
    new, count = _TABLE.subn(lambda found: f"{found[1]}{table()}{found[2]}", page)
    if count != 1:
        raise ValueError(f"{PAGE.name} has {count} pairs of the comments around the table, not 1")
    return new


def _row(one: Specification) -> str:
    kind = _type_of(one.default) + (", read-only" if one.read_only else "")
    limits = ", ".join(one.choices)
    if math.isfinite(one.high):
        limits = f"{one.low:.4g} .. {one.high:.5g}"
    meaning = one.meaning.replace("|", "\\|")
    return f"| `{one.name}` | {kind} | `{_text(one.default)}` | {limits} | {meaning} |\n"


def _type_of(default: Value) -> str:
    if isinstance(default, list):
        return f"double[{len(default)}]"
    return {str: "string", bool: "bool", int: "int", float: "double"}[type(default)]


def _text(default: Value) -> str:
    """Return the value as a YAML file has it."""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, list):
        return f"[{', '.join(_text(value) for value in default)}]"
    if isinstance(default, float) and math.isnan(default):
        return ".nan"
    return str(default) or '""'


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
