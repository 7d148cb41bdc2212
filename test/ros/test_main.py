# SPDX-License-Identifier: Apache-2.0
"""Signals end the process in silence, whatever it is doing."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.ros

ROOT = Path(__file__).parents[2]
SCRIPT = "import sys; from g2s_localizer.ros.main import main; sys.exit(main())"
STARTS = (["-m", "g2s_localizer.ros.node"], ["-c", SCRIPT])


def end(start, delay, signals, arguments=()):
    """Exit status and output of the node, sent the signals from `delay` s after its start on."""
    process = subprocess.Popen(
        [sys.executable, *start, "--ros-args", *arguments],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    time.sleep(delay)
    for one in signals:
        process.send_signal(one)
        time.sleep(0.05)
    output, _ = process.communicate(timeout=30)
    return process.returncode, output


def test_help_is_said_and_no_node_is_started():
    command = [sys.executable, "-c", SCRIPT, "--help"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=5)
    assert (said.returncode, said.stderr) == (0, "") and "--params-file" in said.stdout


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("delay", [0.4, 1.5])
def test_ctrl_c_while_the_node_is_imported_or_just_has_been_is_silent(start, delay):
    status, output = end(start, delay, [signal.SIGINT])
    assert status in (0, 130)
    # After 1.5 s a quick machine has a node, which says that it has no imagery.
    assert (
        output == "" if delay < 1.0 else all(line.startswith("[") for line in output.splitlines())
    )


@pytest.mark.parametrize("delay", [0.5, 3.0])
def test_two_ctrl_c_end_it_without_a_traceback(delay):
    status, output = end(STARTS[0], delay, [signal.SIGINT, signal.SIGINT])
    assert status in (0, 130) and "Traceback" not in output


def test_what_ros_cannot_start_is_said_in_one_sentence():
    status, output = end(STARTS[0], 0, [], ["--params-file", "absent.yaml"])
    assert status == 1 and "Traceback" not in output
    assert "g2s-node: error: " in output and "absent.yaml" in output


def test_a_signal_ends_a_configure_that_does_not_end(tmp_path):
    code = (
        "import time, g2s_localizer.ros.main as m, g2s_localizer.ros.node as n\n"
        "n.LocalizerNode.autostart = lambda self: (print('configuring', flush=True),"
        " time.sleep(60))\nraise SystemExit(m.main())"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"configuring\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) in (0, 130)
