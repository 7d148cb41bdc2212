# SPDX-License-Identifier: Apache-2.0
"""What the package says of itself agrees between pip, colcon and Python."""

import ast
import re
import sys
import sysconfig
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import g2s_localizer

ROOT = Path(__file__).resolve().parents[1]


def package_xml():
    return ElementTree.parse(ROOT / "package.xml").getroot()


def test_package_xml_and_python_have_one_version():
    assert package_xml().findtext("version") == g2s_localizer.__version__


def test_every_public_name_is_there():
    for name in g2s_localizer._HOME:
        assert getattr(g2s_localizer, name).__name__ == name


def test_type_checkers_and_python_see_the_same_names():
    tree = ast.parse(Path(g2s_localizer.__file__).read_text())
    guard = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname: node.module.removeprefix("g2s_localizer.")
        for node in guard.body
        for alias in node.names
    }
    assert seen == g2s_localizer._HOME


def test_an_unknown_name_is_refused_by_name():
    with pytest.raises(AttributeError, match="g2s_localizer.*no attribute 'Pose3D'"):
        _ = g2s_localizer.Pose3D


def test_every_console_script_is_installed_and_has_its_function():
    lines = re.findall(r'"(g2s-[\w-]+) = ([\w.]+):main"', (ROOT / "setup.py").read_text())
    names = {"g2s-benchmark", "g2s-check", "g2s-kitti-to-rosbag2", "g2s-node", "g2s-replay"}
    names |= {"g2s-tiles"}
    assert {name for name, _ in lines} == names
    for name, module in lines:
        assert Path(sysconfig.get_path("scripts"), name).is_file()
        assert "main" in functions_of(module), module


def test_every_executable_of_colcon_has_its_function():
    lines = re.findall(r"^install_executable\((\w+) ([\w.]+)\)", cmake(), re.MULTILINE)
    assert {name for name, _ in lines} == {
        "benchmark",
        "kitti_to_rosbag2",
        "localizer_node",
        "replay_bag",
        "tiles",
    }
    for _, module in lines:
        assert "main" in functions_of(module), module


def test_pip_and_colcon_install_the_same_commands():
    pip = re.findall(r'"(g2s-[\w-]+) = ([\w.]+):main"', (ROOT / "setup.py").read_text())
    colcon = re.findall(r"^install_command\((g2s-[\w-]+) ([\w.]+)\)", cmake(), re.MULTILINE)
    assert sorted(pip) == sorted(colcon)


def test_what_a_workspace_needs_comes_from_rosdep_or_the_readme_s_pip_line():
    required = re.findall(
        r'^        "([\w-]+)[<>=]', (ROOT / "setup.py").read_text().partition("extras")[0], re.M
    )
    by_rosdep = {"numpy", "opencv-python-headless", "pyproj", "pyyaml", "tqdm"}
    [line] = re.findall(r"^pip install torch.*$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert {"torch", "httpx"} < set(required)
    assert not [name for name in set(required) - by_rosdep if f"{name}" not in line]


def test_every_message_is_generated():
    listed = set(re.findall(r'"(msg/\w+\.msg)"', cmake()))
    assert listed == {f"msg/{file.name}" for file in (ROOT / "msg").glob("*.msg")}


def test_package_xml_names_every_package_that_python_imports():
    from_pip = {"torch", "safetensors", "rosbags", "httpx", "pmtiles", "rasterio"}
    by_import = {"cv2": "python3-opencv", "numpy": "python3-numpy", "pyproj": "python3-pyproj"}
    by_import |= {"tqdm": "python3-tqdm", "yaml": "python3-yaml"}
    named = {element.text for element in package_xml() if element.tag.endswith("depend")}
    for name in sorted(foreign_imports() - from_pip):
        assert by_import.get(name, name) in named, name


def functions_of(module):
    tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def cmake():
    return (ROOT / "CMakeLists.txt").read_text()


def foreign_imports():
    """Top-level packages, neither ours nor Python's own, that the package and launch import."""
    files = [*(ROOT / "g2s_localizer").rglob("*.py"), *(ROOT / "launch").glob("*.py")]
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    tops = {name.partition(".")[0] for name in names}
    return tops - set(sys.stdlib_module_names) - {"g2s_localizer"}
