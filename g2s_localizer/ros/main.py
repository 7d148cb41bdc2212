# SPDX-License-Identifier: Apache-2.0
"""Console script g2s-node and executable localizer_node: the node until SIGINT or SIGTERM.

The node's imports take seconds (PyTorch). This module takes none, so that a signal ends the
process in silence from the first moment on.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

INTERRUPTED = 130
"""Exit status of a process that Ctrl-C ended before it could end in good order."""

USAGE = """\
g2s-node --ros-args --params-file YAML [-p NAME:=VALUE] [-r NAME:=TOPIC]

The lifecycle node /localizer: image and camera_info, fix and heading in, ~/pose, ~/registration
and /diagnostics out. It runs until Ctrl-C. docs/node.md has its topics and parameters;
g2s-check, with the same arguments, says whether they can work."""

GRACE_S = 5.0
"""Time (s) from the first signal that ending in good order may take."""


def main() -> int:
    """Run the node; returns 0 after a signal, 1 when the process cannot be set up."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(USAGE)
        return 0
    # An import cannot be interrupted in good order: what it raises half way prints a traceback.
    signal.signal(signal.SIGINT, _end_now)
    import rclpy
    from rclpy.executors import ExternalShutdownException

    from g2s_localizer.ros.node import LocalizerNode

    node = None
    try:
        signal.signal(signal.SIGINT, _interrupt)
        signal.signal(signal.SIGTERM, _interrupt)
        # rclpy's own handlers end the context, and then call those above.
        rclpy.init()
        threading.Thread(target=_watch, args=(rclpy.get_default_context(),), daemon=True).start()
        node = LocalizerNode()
        node.autostart()
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except Exception as error:
        # A signal ends the context under whatever is being sent; that complaint is no failure.
        if node is None and not _interrupted.is_set():
            print(f"g2s-node: error: {error}", file=sys.stderr)
            return 1
        if rclpy.ok() and not _interrupted.is_set():
            raise
    finally:
        if node is not None:
            node.close()
            node.destroy_node()
        rclpy.try_shutdown()
        # Python gives signals their default back while it ends: one more would be its status.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return 0


_interrupted = threading.Event()


def _end_now(signum: int, frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """End in good order, at a second signal at once."""
    signal.signal(signal.SIGINT, _end_now)
    signal.signal(signal.SIGTERM, _end_now)
    _interrupted.set()
    raise KeyboardInterrupt


def _watch(context: Any) -> None:
    """End the process when a signal has ended the context and work does not let go of it."""
    while context.ok():
        time.sleep(0.2)
    time.sleep(GRACE_S)
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main())
