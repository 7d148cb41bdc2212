# SPDX-License-Identifier: Apache-2.0
"""Launch files and YAML agree with the node, the package and robot_localization.

`launch` and `launch_ros` come with a ROS install only. Here stand-ins with their signatures take
down what the launch files ask for; a name or an argument that the real ones lack is an error.
"""

import re
import runpy
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import yaml
from lifecycle_msgs.msg import Transition

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "config"

# What the launch files use of launch 3.4 and launch_ros 0.26 (Jazzy): parameters in order.
PROCESS = "condition output additional_env emulate_tty prefix respawn respawn_delay shell sigterm"
NODE = "package executable name namespace exec_name parameters remappings ros_arguments arguments"
SIGNATURES = {
    "launch": {"LaunchDescription": "initial_entities deprecated_reason"},
    "launch.actions": {
        "DeclareLaunchArgument": "name default_value description choices condition",
        "EmitEvent": "event condition",
        "ExecuteProcess": f"cmd name cwd env {PROCESS}",
        "IncludeLaunchDescription": "launch_description_source launch_arguments condition",
        "RegisterEventHandler": "event_handler condition",
        "SetEnvironmentVariable": "name value condition",
    },
    "launch.conditions": {"IfCondition": "predicate_expression"},
    "launch.event_handlers": {"OnProcessStart": "target_action on_start"},
    "launch.events": {"matches_action": "action"},
    "launch.launch_description_sources": {"PythonLaunchDescriptionSource": "location"},
    "launch.substitutions": {
        "AndSubstitution": "left right",
        "LaunchConfiguration": "variable_name default",
        "NotEqualsSubstitution": "left right",
        "NotSubstitution": "value",
    },
    "launch_ros": {},
    "launch_ros.actions": {"Node": f"{NODE} {PROCESS}", "LifecycleNode": f"{NODE} {PROCESS}"},
    "launch_ros.event_handlers": {
        "OnStateTransition": "entities target_lifecycle_node transition start_state goal_state"
    },
    "launch_ros.events": {},
    "launch_ros.events.lifecycle": {"ChangeState": "lifecycle_node_matcher transition_id"},
    "launch_ros.parameter_descriptions": {"ParameterValue": "value value_type"},
}
# The executables of other packages that the launch files may start.
EXECUTABLES = {("robot_localization", "ekf_node"), ("rviz2", "rviz2")}


def stand_in(class_name, parameters):
    """A class with these parameters, whose instances keep what they were given."""
    names = parameters.split()

    def initialise(self, *args, **kwargs):
        for name, value in {**dict(zip(names, args, strict=False)), **kwargs}.items():
            if name not in names:
                raise TypeError(f"{class_name}() has no argument {name!r}")
            setattr(self, name, value)

    return type(class_name, (SimpleNamespace,), {"__init__": initialise})


@pytest.fixture
def load(monkeypatch):
    """Runs launch/NAME.launch.py against the stand-ins: its entities, with the nested ones."""
    for module_name, classes in SIGNATURES.items():
        module = ModuleType(module_name)
        for class_name, parameters in classes.items():
            setattr(module, class_name, stand_in(class_name, parameters))
        monkeypatch.setitem(sys.modules, module_name, module)
    share = SimpleNamespace(get_package_share_directory=lambda package: str(ROOT))
    monkeypatch.setitem(sys.modules, "ament_index_python.packages", share)

    def load_file(name):
        namespace = runpy.run_path(str(ROOT / "launch" / f"{name}.launch.py"))
        return list(walk(namespace["generate_launch_description"]().initial_entities))

    return load_file


def walk(entities):
    for entity in entities:
        yield entity
        if (handler := getattr(entity, "event_handler", None)) is not None:
            yield from walk(getattr(handler, "on_start", None) or handler.entities)


def kind(entities, *names):
    return [entity for entity in entities if type(entity).__name__ in names]


def perform(value, arguments):
    """The text of a substitution under these launch arguments, as launch would make it."""
    if isinstance(value, list):
        return "".join(perform(part, arguments) for part in value)
    match type(value).__name__:
        case "LaunchConfiguration":
            return perform(arguments[value.variable_name], arguments)
        case "NotEqualsSubstitution":
            return str(perform(value.left, arguments) != perform(value.right, arguments)).lower()
        case "AndSubstitution":
            both = [perform(side, arguments) for side in (value.left, value.right)]
            return str(both == ["true", "true"]).lower()
        case "NotSubstitution":
            return str(perform(value.value, arguments) == "false").lower()
        case "ParameterValue":
            return perform(value.value, arguments)
    return value


def defaults(entities):
    declared = kind(entities, "DeclareLaunchArgument")
    return {argument.name: getattr(argument, "default_value", None) for argument in declared}


def flat(tree, prefix=""):
    """{'a.b': value} of nested YAML mappings."""
    pairs = {}
    for key, value in tree.items():
        pairs |= (
            flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return pairs


def parameters_of(file, node):
    return flat(yaml.safe_load((CONFIG / file).read_text())[node]["ros__parameters"])


def declared_by_the_node():
    from g2s_localizer.ros.parameter_table import SPECIFICATIONS

    return {spec.name: spec.default for spec in SPECIFICATIONS}


@pytest.mark.parametrize("name", ["localize", "replay"])
def test_every_node_is_one_that_is_installed(load, name):
    ours = re.findall(r"^install_executable\((\w+)", (ROOT / "CMakeLists.txt").read_text(), re.M)
    known = EXECUTABLES | {("g2s_localizer", executable) for executable in ours}
    nodes = kind(load(name), "Node", "LifecycleNode")
    assert nodes
    for node in nodes:
        assert (node.package, node.executable) in known


@pytest.mark.parametrize("name", ["localize", "replay"])
def test_package_xml_names_every_package_that_is_started(load, name):
    root = ElementTree.parse(ROOT / "package.xml").getroot()
    named = {element.text for element in root if element.tag.endswith("depend")} | {"g2s_localizer"}
    for node in kind(load(name), "Node", "LifecycleNode"):
        assert node.package in named
    assert {"launch", "launch_ros", "ros2bag"} <= named


def test_every_file_that_is_named_exists(load):
    entities = load("localize")
    arguments = defaults(entities)
    [rviz] = kind(entities, "Node")
    [include] = kind(load("replay"), "IncludeLaunchDescription")
    [ekf] = kind(load("replay"), "Node")
    named = [arguments["parameters"], arguments["fastdds_profile"], rviz.arguments[1]]
    for file in [*named, include.launch_description_source.location, ekf.parameters[0]]:
        assert Path(file).is_file(), file


def test_simulated_time_is_taken_with_a_bag_only(load):
    entities = load("localize")
    arguments = defaults(entities)
    assert perform(arguments["use_sim_time"], arguments) == "false"
    assert perform(arguments["use_sim_time"], arguments | {"bagfile": "drive"}) == "true"


def test_a_bag_is_played_once_the_node_is_active_and_not_without_one(load):
    entities = load("localize")
    arguments = defaults(entities) | {"bagfile": "drive"}
    register = next(r for r in kind(entities, "RegisterEventHandler") if plays(r))
    [play] = kind(entities, "ExecuteProcess")
    [localizer] = kind(entities, "LifecycleNode")
    assert perform(register.condition.predicate_expression, defaults(entities)) == "false"
    assert register.event_handler.goal_state == "active"
    assert register.event_handler.target_lifecycle_node is localizer
    command = [perform(word, arguments) for word in play.cmd]
    assert command == ["ros2", "bag", "play", "drive", "--clock", "100"]


def plays(register):
    return kind(walk([register]), "ExecuteProcess") != []


@pytest.mark.parametrize("autostart", ["true", "false"])
@pytest.mark.parametrize("bagfile", ["", "drive"])
def test_with_a_bag_launch_starts_the_node_so_that_it_hears_of_it(load, autostart, bagfile):
    entities = load("localize")
    arguments = defaults(entities) | {"autostart": autostart, "bagfile": bagfile}
    [localizer] = kind(entities, "LifecycleNode")
    by_itself = perform(localizer.parameters[1]["autostart"], arguments)
    asked = [r for r in kind(entities, "RegisterEventHandler") if not plays(r)]
    conditions = [perform(r.condition.predicate_expression, arguments) for r in asked]
    transitions = [e.event.transition_id for e in kind(entities, "EmitEvent")]
    assert transitions == [Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE]
    assert by_itself == str(autostart == "true" and not bagfile).lower()
    assert set(conditions) == {str(autostart == "true" and bagfile != "").lower()}


def test_topics_are_remapped_from_those_the_node_takes(load):
    entities = load("localize")
    [localizer] = kind(entities, "LifecycleNode")
    arguments = defaults(entities) | {"image": "/front/image_raw"}
    remapped = {name: perform(topic, arguments) for name, topic in localizer.remappings}
    files = ("sensor_input.py", "image_input.py", "topics.py")
    source = "".join((ROOT / "g2s_localizer" / "ros" / file).read_text() for file in files)
    assert all(f'"{name}"' in source for name in remapped)
    assert remapped["image"] == "/front/image_raw"
    assert remapped["image/compressed"] == "/front/image_raw/compressed"


def test_the_shipped_yaml_names_exactly_the_parameters_of_the_node():
    assert set(parameters_of("localizer.yaml", "/**")) == set(declared_by_the_node())


def test_the_shipped_yaml_has_the_types_and_lengths_of_the_node():
    declared = declared_by_the_node()
    for name, value in parameters_of("localizer.yaml", "/**").items():
        assert type(value) is type(declared[name]), name
        if isinstance(value, list):
            assert len(value) == len(declared[name]), name


def test_the_yaml_of_kitti_names_parameters_of_the_node():
    assert set(parameters_of("kitti.yaml", "/**")) <= set(declared_by_the_node())


def test_launch_sets_parameters_that_the_node_has(load):
    [localizer] = kind(load("localize"), "LifecycleNode")
    assert localizer.name == "localizer"
    for name in localizer.parameters[1]:
        assert name in {*declared_by_the_node(), "use_sim_time"}


def test_replay_needs_a_bag_and_takes_its_time(load):
    entities = load("replay")
    [include] = kind(entities, "IncludeLaunchDescription")
    passed = dict(include.launch_arguments)
    assert defaults(entities) == {"bagfile": None}
    assert perform(passed["bagfile"], {"bagfile": "drive"}) == "drive"
    assert set(passed) <= set(defaults(load("localize")))
    assert passed["use_sim_time"] == "true"


def robot_localization_type(name):
    """Type and lengths of one of ekf_node's parameters; a KeyError names one it does not have."""
    table = yaml.safe_load(
        Path(__file__).with_name("robot_localization_parameters.yaml").read_text()
    )
    return table[re.sub(r"^(odom|pose|twist|imu)\d+", r"\1N", name)]


def test_the_ekf_has_every_parameter_that_is_set(load):
    [ekf] = kind(load("replay"), "Node")
    types = {"double": float, "integer": int, "bool": bool, "string": str}
    for name, value in parameters_of("ekf.yaml", ekf.name).items():
        known = robot_localization_type(name)
        values = value if "lengths" in known else [value]
        assert {type(item) for item in values} == {types[known["type"]]}, name
        assert len(values) in known.get("lengths", [1]), name
    for name in ekf.parameters[1]:
        assert robot_localization_type(name)


def test_the_ekf_fuses_what_the_localizer_knows():
    ekf = parameters_of("ekf.yaml", "ekf_filter_node")
    state = ["x", "y", "z", "roll", "pitch", "yaw", "vx", "vy", "vz"]
    state += ["vroll", "vpitch", "vyaw", "ax", "ay", "az"]
    fused = {
        name: {s for s, on in zip(state, ekf[f"{name}_config"], strict=True) if on}
        for name in ("pose0", "odom0")
    }
    assert fused == {"pose0": {"x", "y", "yaw"}, "odom0": {"vx", "vyaw"}}
    assert ekf["pose0"] == "/localizer/pose"
    assert not ekf["pose0_differential"] and not ekf["pose0_relative"]
    assert ekf["smooth_lagged_data"] and ekf["history_length"] > 0.0
    assert ekf["world_frame"] == ekf["map_frame"] == "map"


def test_the_first_pose_of_the_ekf_may_be_anywhere():
    ekf = parameters_of("ekf.yaml", "ekf_filter_node")
    x, y, *_, yaw = ekf["initial_estimate_covariance"][:6]
    limit = ekf["pose0_rejection_threshold"]
    assert 1000.0 / x**0.5 < limit and 1000.0 / y**0.5 < limit and 3.15 / yaw**0.5 < limit


def test_the_ekf_says_how_it_is_and_keeps_its_rate():
    ekf = parameters_of("ekf.yaml", "ekf_filter_node")
    assert ekf["predict_to_current_time"] and ekf["print_diagnostics"]
    assert "reset_on_time_jump" not in ekf  # without effect in ROS 2


@pytest.mark.parametrize("axis", [0, 1])
def test_many_poses_do_not_make_the_ekf_surer_than_the_imagery(axis):
    noise = parameters_of("ekf.yaml", "ekf_filter_node")["process_noise_covariance"][axis]
    pose, variance, rate = 0.5**2, 1e6, 10.0
    for _ in range(1000):
        predicted = variance + noise / rate
        variance = predicted * pose / (predicted + pose)
    assert variance**0.5 > 0.8 * declared_by_the_node()["map.sigma_m"]


def test_rviz_shows_topics_that_are_published():
    text = (CONFIG / "g2s.rviz").read_text()
    published = {"pose", "overlay", "camera_overlay", "score_map"}
    ours = {f"/localizer/{name}" for name in published}
    assert set(re.findall(r"Value: (/\S+)", text)) == ours | {"/odometry/filtered"}
