# SPDX-License-Identifier: Apache-2.0
"""Runs as processes of their own: Ctrl-C, a full disk, two ranks."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from flat_world import update

from g2s_localizer.model import build_network
from training.loop.run_folder import RunFolder

SCRIPT = Path(__file__).with_name("flat_world.py")
LIMIT_S = 120


def start(*arguments, launcher=(sys.executable,)):
    """The run as the leader of a process group, as a shell starts it."""
    return subprocess.Popen(
        [*launcher, str(SCRIPT), *map(str, arguments)], start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def finish(process):
    """Exit code and output."""
    try:
        output, _ = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.returncode, output


def wait_for(condition):
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_ctrl_c_saves_and_says_how_to_go_on(recipe, tmp_path):
    stage = recipe.stages[1]
    file = recipe.file(last={"steps": 2000, "validate_every": 5}, data={"workers": 1})
    process = start(file)
    wait_for((tmp_path / "run" / f"best_{stage}.safetensors").exists)
    os.killpg(process.pid, signal.SIGINT)
    code, output = finish(process)
    assert (code, "Traceback" in output) == (130, False), output
    step = RunFolder(tmp_path / "run").load_state()["progress"]["step"]
    end = f"stopped after step {step} of 2000 of {stage}; go on with\n  the command --resume\n"
    assert output.endswith(end)


def test_a_full_disk_stops_the_run_by_the_name_of_the_file(recipe, tmp_path):
    network = build_network(recipe.config().model)
    weights = sum(tensor.nbytes for tensor in network.state_dict().values())
    code, output = finish(start(recipe.file(), "--limit", 3 * weights))
    assert code == 1
    assert "training: [Errno 27] cannot write: File too large" in output
    assert str(tmp_path / "run" / "state.pt") in output
    names = {file.name for file in (tmp_path / "run").iterdir()}
    assert f"best_{recipe.stages[0]}.safetensors" in names
    assert not {name for name in names if "state" in name or "partial" in name}


TWO = [
    *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"),
    *("--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"),
    *("--local-addr", "127.0.0.1"),
]


def test_two_ranks_end_a_run(recipe, tmp_path):
    file = recipe.file(first={"steps": 1}, last={"steps": 2})
    code, output = finish(start(file, "--update", tmp_path, launcher=TWO))
    assert code == 0, output
    state = RunFolder(tmp_path / "run").load_state()
    assert (state["ranks"], len(state["recipe"])) == (2, 2)
    assert (tmp_path / "run" / "run.safetensors").is_file()
    if recipe.name == "paper":
        two_do_as_one_with_twice_the_batch(tmp_path)


def two_do_as_one_with_twice_the_batch(tmp_path):
    update(tmp_path)
    first, second, alone = (
        torch.load(tmp_path / f"{name}.pt", weights_only=True)
        for name in ("0_of_2", "1_of_2", "0_of_1")
    )
    torch.testing.assert_close(first.pop("norms"), alone.pop("norms"), rtol=1e-3, atol=0.0)
    assert all(torch.equal(first[name], second[name]) for name in alone)
    # Adam takes a full step along a gradient that is nothing but rounding: not all weights agree
    near = [torch.isclose(first[name], alone[name], atol=1e-4).flatten() for name in alone]
    assert torch.cat(near).float().mean() > 0.99
