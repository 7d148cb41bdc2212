# SPDX-License-Identifier: Apache-2.0
"""colcon builds messages, Python code, executables and share files, copied or symlinked."""

import os
import subprocess
import sysconfig
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module", params=["copied", "symlinked"])
def install(request, tmp_path_factory):
    """An installed workspace, built from this source tree."""
    workspace = tmp_path_factory.mktemp(request.param)
    options = ["--symlink-install"] if request.param == "symlinked" else []
    subprocess.run(
        ["bash", str(ROOT / ".ci" / "colcon_build.sh"), str(ROOT), str(workspace), *options],
        check=True,
        timeout=500,
    )
    return workspace / "install"


COMMANDS = (
    "g2s-node",
    "g2s-benchmark",
    "g2s-kitti-to-rosbag2",
    "g2s-tiles",
    "g2s-check",
    "g2s-replay",
)


def run_installed(install, command):
    """Standard output of a command in a shell that has sourced this installation alone."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["PATH"] = f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", f'source "{install}/setup.bash" && {command}'],
        cwd=install,
        env=environment,
        check=True,
        timeout=60,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout


def test_messages_stand_beside_the_python_code(install):
    code = (
        "import g2s_localizer.geometry as geometry; from g2s_localizer.msg import Registration;"
        "print(geometry.__file__, Registration(checkpoint='x').checkpoint)"
    )
    file, checkpoint = run_installed(install, f'python -c "{code}"').split()
    assert Path(file).is_relative_to(install)
    assert checkpoint == "x"


def test_a_source_tree_first_on_the_path_finds_the_messages(install):
    code = (
        "import g2s_localizer; from g2s_localizer.msg import Registration;"
        "print(g2s_localizer.__file__)"
    )
    file = run_installed(install, f'PYTHONPATH="{ROOT}:$PYTHONPATH" python -c "{code}"').strip()
    assert Path(file) == ROOT / "g2s_localizer" / "__init__.py"


def test_executables_and_share_files_are_installed(install):
    prefix = install / "g2s_localizer"
    for name in ("localizer_node", "kitti_to_rosbag2", "tiles", "replay_bag", *COMMANDS):
        assert os.access(prefix / "lib" / "g2s_localizer" / name, os.X_OK), name
    share = prefix / "share" / "g2s_localizer"
    sources = [file for folder in ("config", "launch") for file in (ROOT / folder).glob("*.*")]
    for file in [*sources, *(ROOT / "msg").glob("*.msg")]:
        assert (share / file.relative_to(ROOT)).read_bytes() == file.read_bytes(), file


def test_every_file_of_the_package_is_installed(install):
    [installed] = install.glob("g2s_localizer/lib/python3*/site-packages/g2s_localizer")
    for file in (ROOT / "g2s_localizer").rglob("*"):
        if file.is_file() and "__pycache__" not in file.parts:
            assert (installed / file.relative_to(ROOT / "g2s_localizer")).is_file(), file


def test_an_executable_starts_and_explains_itself(install):
    executable = install / "g2s_localizer" / "lib" / "g2s_localizer" / "kitti_to_rosbag2"
    assert "--drive" in run_installed(install, f'"{executable}" --help')


def test_every_command_is_on_the_path_of_a_sourced_workspace(install):
    # The virtual environment's own commands are before them.
    lines = run_installed(install, f"which -a {' '.join(COMMANDS)}").splitlines()
    for name in COMMANDS:
        assert str(install / "g2s_localizer" / "bin" / name) in lines, name


@pytest.mark.parametrize("folder", ["bin", "lib/g2s_localizer"])
def test_a_command_that_fails_says_so_by_its_exit_code(install, folder):
    command = install / "g2s_localizer" / folder / "g2s-replay"
    assert run_installed(install, f'"{command}" no_bag 2>/dev/null || echo $?').strip() == "1"
