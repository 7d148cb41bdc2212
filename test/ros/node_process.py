# SPDX-License-Identifier: Apache-2.0
"""`g2s-node` in processes of their own, forked from one that has done its imports: they take
seconds, dozens of times.
"""

import multiprocessing
import os
import signal
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
FORKING = multiprocessing.get_context("forkserver")
FORKING.set_forkserver_preload(["g2s_localizer.ros.node", "g2s_localizer.ros.main"])


def serve(arguments: list[str], environment: dict[str, str], output: str) -> None:
    """Do what the command does, with an environment, into a file."""
    for stream in (1, 2):
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    sys.argv = ["g2s-node", *arguments]
    from g2s_localizer.ros.main import main

    raise SystemExit(main())


class NodeProcess:
    """The node with KITTI's YAML and changes, its output in a file; ended by SIGINT."""

    def __init__(self, folder: Path, changes: dict, *remaps: str):
        parameters = {"/**": {"ros__parameters": changes}}
        (folder / "changes.yaml").write_text(yaml.safe_dump(parameters))
        arguments = ["--ros-args"]
        for file in (ROOT / "config" / "kitti.yaml", folder / "changes.yaml"):
            arguments += ["--params-file", str(file)]
        for remap in remaps:
            arguments += ["-r", remap]
        self.output = folder / "output.txt"
        self.output.touch()
        of_process = (arguments, dict(os.environ), str(self.output))
        self.process = FORKING.Process(target=serve, args=of_process)
        self.process.start()

    def stop(self, how: int = signal.SIGINT) -> int:
        """The exit code; a process that does not end by itself is killed."""
        os.kill(self.process.pid, how)
        self.process.join(20)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
        return self.process.exitcode
