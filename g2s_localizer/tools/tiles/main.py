# SPDX-License-Identifier: Apache-2.0
"""g2s-tiles: stores of satellite imagery, from fetching them to knowing how far they are off."""

from __future__ import annotations

import argparse
import sys

from g2s_localizer.tools.tiles.convert import add_convert_commands
from g2s_localizer.tools.tiles.draw import add_draw_command
from g2s_localizer.tools.tiles.fetch import add_fetch_command
from g2s_localizer.tools.tiles.inspect import add_inspect_commands
from g2s_localizer.tools.tiles.offset import add_offset_command
from g2s_localizer.tools.tiles.preview import add_preview_command


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="g2s-tiles", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_fetch_command(commands)
    add_draw_command(commands)
    add_inspect_commands(commands)
    add_convert_commands(commands)
    add_preview_command(commands)
    add_offset_command(commands)
    args = parser.parse_args(argv)
    try:
        status: int = args.run(args)
    except KeyboardInterrupt:
        print(f"g2s-tiles {args.command}: interrupted", file=sys.stderr)
        return 130
    except (OSError, ValueError, ImportError) as error:
        print(f"g2s-tiles {args.command}: error: {error}", file=sys.stderr)
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())
