# SPDX-License-Identifier: Apache-2.0
"""Imports run strictly down, and the core needs neither ROS nor PyTorch."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "g2s_localizer" / "model"

# Each room of the package, and the rooms it may import from (besides itself).
MAY_IMPORT = {
    "geometry": set(),
    "kitti": {"geometry", "imagery"},
    "bag_reader": set(),
    "imagery": {"geometry"},
    "model": {"geometry"},
    "messages": {"geometry", "imagery"},
    "motion_messages": {"geometry"},
    "vehicle": {"geometry", "motion_messages"},
    "estimator": {"geometry", "imagery", "model"},
    "ros": {"geometry", "imagery", "messages", "motion_messages", "vehicle", "estimator", "msg"},
    "tools": {
        "geometry",
        "imagery",
        "kitti",
        "bag_reader",
        "messages",
        "motion_messages",
        "model",
        "estimator",
        "ros",
        "msg",
    },
    "training": {
        "geometry",
        "imagery",
        "kitti",
        "bag_reader",
        "messages",
        "motion_messages",
        "vehicle",
        "model",
        "estimator",
    },
}
# The networks, which do not know each other, and the files that know them.
NETWORKS = {"compact", "lift", "paper"}
ABOVE_NETWORKS = {"__init__", "checkpoint", "presets"}
# The rooms of training, and the rooms of it that each may import from.
TRAINING_ROOMS = {
    "simulation": set(),
    "data": {"simulation"},
    "loop": {"data"},
    "score": {"data", "loop"},
    "paper": {"data", "loop", "score"},
    "lift": {"data", "loop", "score"},
}
ROS_PACKAGES = {
    "ament_index_python",
    "builtin_interfaces",
    "cv_bridge",
    "message_filters",
    "rclpy",
    "rosbag2_py",
    "rosidl_runtime_py",
    "std_srvs",
    "tf2_ros",
    "tf_transformations",
}


def imports(file: Path) -> Iterator[str]:
    """Dotted names that a file imports anywhere in it, relative ones made absolute."""
    package = file.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(file.read_text(), str(file))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def files_of(room: str) -> list[Path]:
    if room == "training":
        return sorted((ROOT / "training").rglob("*.py"))
    if (file := ROOT / "g2s_localizer" / f"{room}.py").is_file():
        return [file]
    return sorted((ROOT / "g2s_localizer" / room).rglob("*.py"))


def model_files(network: str) -> list[Path]:
    return [*(MODEL / network).glob("*.py"), *MODEL.glob(f"{network}.py")]


def ours(name: str) -> str | None:
    """The room a dotted name belongs to; None for a foreign package, and for the version."""
    head, _, rest = name.partition(".")
    if name == "g2s_localizer.__version__":
        return None
    if head == "g2s_localizer":
        return rest.partition(".")[0]
    return "training" if head == "training" else None


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_run_strictly_down(room):
    files = files_of(room)
    assert files, f"{room} is empty"
    upward = {
        (str(file.relative_to(ROOT)), name)
        for file in files
        for name in imports(file)
        if (target := ours(name)) is not None and target not in MAY_IMPORT[room] | {room}
    }
    assert not upward


@pytest.mark.parametrize("room", TRAINING_ROOMS)
def test_the_rooms_of_training_look_down(room):
    others = set(TRAINING_ROOMS) - TRAINING_ROOMS[room] - {room}
    files = sorted((ROOT / "training" / room).rglob("*.py"))
    assert len(files) > 1
    names = {
        name.split(".")[1] for file in files for name in imports(file) if ours(name) == "training"
    }
    assert not names & others


def modules() -> dict[str, Path]:
    """Each module of the package and of training by its dotted name."""
    files = [*(ROOT / "g2s_localizer").rglob("*.py"), *(ROOT / "training").rglob("*.py")]
    names = {".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in files}
    return {name.removesuffix(".__init__"): file for name, file in names.items()}


def test_no_modules_import_each_other_in_a_circle():
    known = modules()
    graph: dict[str, set[str]] = {}
    for module, file in known.items():
        graph[module] = set()
        for name in imports(file):
            while name and name not in known:
                name = name.rpartition(".")[0]
            if name and not f"{module}.".startswith(f"{name}."):
                graph[module].add(name)
    # Only where the node's module is the program itself, and then before its other imports.
    graph["g2s_localizer.ros.node"].remove("g2s_localizer.ros.main")
    # Raises CycleError, which names the circle.
    tuple(TopologicalSorter(graph).static_order())


def test_the_tools_alone_fetch():
    fetchers = {
        name
        for name, file in modules().items()
        if any(target.startswith("g2s_localizer.imagery.fetch.") for target in imports(file))
    }
    rooms = ("g2s_localizer.tools.", "g2s_localizer.imagery.fetch.")
    assert fetchers and all(name.startswith(rooms) for name in fetchers)


@pytest.mark.parametrize("room", ["g2s_localizer/imagery", "training"])
def test_a_room_holds_at_most_sixteen_files_beside_its_own_rooms(room):
    assert len(list((ROOT / room).glob("*.py"))) <= 16


def test_every_room_of_the_package_has_its_rule():
    package = ROOT / "g2s_localizer"
    rooms = {path.stem for path in package.iterdir() if path.is_dir() or path.suffix == ".py"}
    assert rooms - {"__init__", "__pycache__"} == set(MAY_IMPORT) - {"training"}


@pytest.mark.parametrize("room", sorted(set(MAY_IMPORT) - {"ros", "tools"}))
def test_only_the_edge_imports_ros(room):
    ros = {
        (str(file.relative_to(ROOT)), name)
        for file in files_of(room)
        for name in imports(file)
        if name.partition(".")[0] in ROS_PACKAGES or name.partition(".")[0].endswith("_msgs")
    }
    assert not ros


@pytest.mark.parametrize(
    "room", ["geometry", "imagery", "kitti", "bag_reader", "messages", "motion_messages", "vehicle"]
)
def test_torch_stays_above_the_ground_floor(room):
    names = [name for file in files_of(room) for name in imports(file)]
    assert not [name for name in names if name.partition(".")[0] in {"torch", "safetensors"}]


@pytest.mark.parametrize("network", sorted(NETWORKS))
def test_the_networks_do_not_know_each_other(network):
    known = {name for file in model_files(network) for name in imports(file)}
    others = tuple(f"g2s_localizer.model.{other}." for other in NETWORKS - {network})
    assert known and not [name for name in known if f"{name}.".startswith(others)]


def test_the_parts_of_the_model_do_not_know_the_networks():
    networks = tuple(f"g2s_localizer.model.{network}." for network in NETWORKS)
    parts = [file for file in MODEL.glob("*.py") if file.stem not in NETWORKS | ABOVE_NETWORKS]
    known = [name for file in parts for name in imports(file)]
    assert known and not [name for name in known if f"{name}.".startswith(networks)]


def test_the_core_imports_without_ros_and_torch():
    code = (
        "import sys\n"
        "sys.modules['rclpy'] = sys.modules['torch'] = None\n"
        "import g2s_localizer, g2s_localizer.geometry, g2s_localizer.imagery\n"
        "g2s_localizer.Pose2D(1.0, 2.0, 0.5), g2s_localizer.open_imagery, g2s_localizer.KittiDrive"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
