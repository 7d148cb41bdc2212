# SPDX-License-Identifier: Apache-2.0
import math
from pathlib import Path

import pytest
import rclpy
import yaml
from rclpy.node import Node
from rclpy.parameter import Parameter

from g2s_localizer.geometry import LatLon
from g2s_localizer.imagery.coverage import box_around
from g2s_localizer.imagery.level import Box
from g2s_localizer.ros.parameter_table import SPECIFICATIONS
from g2s_localizer.ros.parameters import Parameters

ROOT = Path(__file__).parents[2]
GIVEN = {"imagery.uri": "slippy:tiles", "camera.translation": [1.0, 0.0, 1.5]}


@pytest.fixture
def make():
    """make(overrides, arguments) -> (node, Parameters)"""
    context, nodes = rclpy.Context(), []
    rclpy.init(context=context)

    def make(overrides, arguments=()):
        node = Node(
            f"parameters{len(nodes)}",
            context=context,
            parameter_overrides=[Parameter(name, value=v) for name, v in overrides.items()],
            automatically_declare_parameters_from_overrides=True,
        )
        nodes.append(node)
        return node, Parameters(node, arguments)

    yield make
    for node in nodes:
        node.destroy_node()
    context.try_shutdown()


def flat(tree, prefix=""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def test_the_shipped_yaml_names_every_parameter_with_its_default():
    text = (ROOT / "config" / "localizer.yaml").read_text()
    shipped = dict(flat(yaml.safe_load(text)["/**"]["ros__parameters"]))
    assert list(shipped) == [spec.name for spec in SPECIFICATIONS]
    for spec in SPECIFICATIONS:
        if not spec.name.startswith(("camera.translation", "camera.rotation_rpy")):
            assert shipped[spec.name] == pytest.approx(spec.default, nan_ok=True), spec.name


def test_every_parameter_is_described_and_numbers_have_a_range(make):
    node, _ = make({})
    for spec in SPECIFICATIONS:
        descriptor = node.describe_parameter(spec.name)
        assert descriptor.description
        ranged = bool(descriptor.floating_point_range or descriptor.integer_range)
        absent = isinstance(spec.default, float) and math.isnan(spec.default)
        assert ranged == (type(spec.default) in (int, float) and not absent)


def test_parameters_reach_the_configurations(make):
    given = {"gate.max_entropy": 0.5, "heading.offset": 0.244, "map.sigma_m": 1, "device": "cuda"}
    config = make(GIVEN | given)[1].read()
    assert (config.localizer.imagery, config.localizer.device) == ("slippy:tiles", "cuda")
    assert (config.localizer.gate.max_entropy, config.localizer.map_sigma_m) == (0.5, 1.0)
    assert config.bridge.heading_offset == 0.244
    assert config.bridge.datum is None


def test_the_bounds_of_threads_and_memory_reach_the_localizer(make):
    assert make(GIVEN)[1].read().localizer.threads == 1
    config = make(GIVEN | {"threads": 3, "cache_mb": 20})[1].read().localizer
    assert (config.threads, config.cache_mb) == (3, 20.0)


def test_the_pin_of_the_checkpoint_reaches_the_localizer(make):
    assert make(GIVEN)[1].read().localizer.checkpoint_sha256 == ""
    pinned = make(GIVEN | {"checkpoint_sha256": "ab" * 32})[1].read()
    assert pinned.localizer.checkpoint_sha256 == "ab" * 32


def test_the_planned_area_is_the_given_one_or_the_datums_surroundings_or_none(make):
    datum = {"map.datum_latitude": 49.0, "map.datum_longitude": 8.4}
    corners = [8.41, 49.0, 8.45, 49.02]
    assert make(GIVEN | datum | {"imagery.area": corners})[1].read().area == Box(*corners)
    assert make(GIVEN | datum)[1].read().area == box_around(LatLon(49.0, 8.4), 500.0)
    assert make(GIVEN)[1].read().area is None


def test_a_datum_is_a_place(make):
    given = GIVEN | {"map.datum_latitude": -33.9, "map.datum_longitude": 18.4}
    assert make(given)[1].read().bridge.datum == LatLon(-33.9, 18.4)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"gate.max_entropi": 0.5}, "unknown parameter gate.max_entropi = 0.5"),
        ({"gate.max_entropy": 1.5}, "gate.max_entropy out of range .* 1.5"),
        ({"gnss.default_sigma_m": math.nan}, "gnss.default_sigma_m out of range .* nan"),
        ({"precision": "fp8"}, "precision must be one of fp32, bf16, fp16, got 'fp8'"),
        ({"threads": -1}, "threads out of range.* -1"),
        ({"threads": 1.5}, "threads must be integer, got double 1.5"),
        ({"cache_mb": 0.0}, "cache_mb out of range .* 0.0"),
        ({"device": 3}, "device must be string, got integer 3"),
        ({"camera.rectified": 1}, "camera.rectified must be bool, got integer 1"),
        ({"gnss.antenna_offset": [1.0]}, "gnss.antenna_offset needs 2 numbers, got"),
        ({"gnss.antenna_offset": "left"}, "gnss.antenna_offset must be double_array"),
        ({"camera.translation": [1.0, math.nan, 1.0]}, "camera.translation must be given and fin"),
        ({"imagery.uri": ""}, "imagery.uri is empty"),
        ({"imagery.offline": False}, "imagery.offline is false.*g2s-tiles fetch"),
        ({"imagery.area": [8.0, 49.0, 8.0, 50.0]}, r"imagery.area: .*\(8.0, 49.0, 8.0, 50.0\)"),
        ({"imagery.area": [8.0, math.nan, 9.0, 50.0]}, r"imagery.area: .*\(8.0, nan"),
        ({"map.frame_id": ""}, "map.frame_id must be the name of a frame .* got ''"),
        ({"map.frame_id": "/map"}, "map.frame_id must be .* got '/map'"),
        ({"base_frame": " "}, "base_frame must be the name of a frame .* got ' '"),
        ({"prior.source": "pose"}, "prior.source is pose, but map.datum_latitude"),
        ({"map.datum_latitude": 49.0}, r"map.datum_longitude: .*\(49.0, nan\)"),
    ],
)
def test_what_is_wrong_is_refused_by_name_with_the_value(make, given, said):
    with pytest.raises(ValueError, match=said):
        make(GIVEN | given)[1].read()


def shipped(name):
    tree = yaml.safe_load((ROOT / "config" / name).read_text())
    return dict(flat(tree["/**"]["ros__parameters"]))


def test_the_shipped_yaml_must_be_filled_in_and_all_that_is_missing_is_told_at_once(make):
    with pytest.raises(ValueError, match=r"imagery.uri is.*translation must.*rotation_rpy must"):
        make(shipped("localizer.yaml"))[1].read()
    filled = GIVEN | {"camera.rotation_rpy": [0.0, 0.1, 0.0]}
    assert make(shipped("localizer.yaml") | filled)[1].read().bridge.camera_rpy == (0.0, 0.1, 0.0)


def test_kittis_yaml_needs_imagery_only(make):
    with pytest.raises(ValueError, match=r"^imagery.uri is empty[^;]*$"):
        make(shipped("kitti.yaml"))[1].read()
    bridge = make(shipped("kitti.yaml") | {"imagery.uri": "tiles"})[1].read().bridge
    assert bridge.camera_translation == (1.0805, -0.25, 1.6593)


def test_missing_parameters_that_a_file_gives_to_another_node_are_found(make, tmp_path):
    file = tmp_path / "car.yaml"
    file.write_text("localiser: {ros__parameters: {imagery: {uri: tiles}}}")
    _, parameters = make({}, ["--ros-args", "--params-file", str(file)])
    with pytest.raises(ValueError, match=f"uri is empty.*{file} holds parameters of /localiser"):
        parameters.read()


def test_all_faults_are_told_at_once(make):
    with pytest.raises(ValueError, match="unknown parameter a = 1.*max_entropy"):
        make(GIVEN | {"a": 1, "gate.max_entropy": 7.0})[1].read()


def test_a_value_that_is_set_right_clears_its_fault(make):
    node, parameters = make(GIVEN | {"gate.max_entropy": 7.0})
    node.add_on_set_parameters_callback(lambda p: parameters.check(p, configured=False))
    assert node.set_parameters([Parameter("gate.max_entropy", value=0.6)])[0].successful
    assert parameters.read().localizer.gate.max_entropy == 0.6


@pytest.mark.parametrize(
    ("configured", "value", "said"),
    [(True, "bf16", "takes effect at configure"), (False, "fp8", "must be one of")],
)
def test_a_value_that_cannot_take_effect_is_not_accepted(make, configured, value, said):
    node, parameters = make(GIVEN)
    node.add_on_set_parameters_callback(lambda p: parameters.check(p, configured=configured))
    result = node.set_parameters([Parameter("precision", value=value)])[0]
    assert not result.successful and said in result.reason


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"camera.translation": [1080.0, -250.0, 1659.3]}, "1659 m above .* millimetres"),
        ({"camera.base_link_height": -2.0}, "camera is -0.5 m above the ground"),
        ({"camera.rotation_rpy": [math.pi, 0.0, 0.0]}, "upside down"),
        ({"camera.rotation_rpy": [-math.pi / 2, 0.0, -math.pi / 2]}, "those of the optical frame"),
        ({"camera.rotation_rpy": [0.0, 12.0, 0.0]}, "in radians.*degrees"),
    ],
)
def test_a_camera_that_cannot_sit_there_is_refused_at_configure(make, given, said):
    with pytest.raises(ValueError, match=f"camera.*{said}"):
        make(GIVEN | given)[1].read()
    if "camera.base_link_height" not in given:
        make(GIVEN | given | {"camera.extrinsic_source": "tf"})[1].read()
