# SPDX-License-Identifier: Apache-2.0
"""Repoints the ROS wheels of this virtual environment to this Python.

The CMake files in the wheels name the folders of the machine that built them, for the headers of
Python and of NumPy. Each is replaced by this Python's own; a second run changes nothing.
"""

import re
import sys
import sysconfig
from pathlib import Path

import numpy

HEADERS = {
    re.compile(r'[^";]*/numpy/_?core/include'): numpy.get_include(),
    re.compile(r'[^";]*/include/python3\.\d+(?=[";])'): sysconfig.get_path("include"),
}


def repoint(text: str) -> str:
    """Return the CMake text with this machine's header folders."""
    for pattern, folder in HEADERS.items():
        text = pattern.sub(lambda _match, folder=folder: folder, text)
    return text


def main() -> None:
    """Rewrites the exported Python targets of every message package in this environment."""
    if sys.prefix == sys.base_prefix:
        sys.exit(f"repoint_wheels: {sys.executable} is not in a virtual environment")
    exports = sorted(Path(sys.prefix, "share").glob("*/cmake/*rosidl_generator_pyExport.cmake"))
    if not exports:
        sys.exit(f"repoint_wheels: no message packages under {sys.prefix}/share")
    for export in exports:
        text = export.read_text()
        if (repointed := repoint(text)) != text:
            export.write_text(repointed)


if __name__ == "__main__":
    main()
