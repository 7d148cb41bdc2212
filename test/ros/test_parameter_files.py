# SPDX-License-Identifier: Apache-2.0
import pytest

from g2s_localizer.ros.parameter_files import for_other_nodes


def told(tmp_path, text, node="/front/localizer"):
    file = tmp_path / "car.yaml"
    file.write_text(text)
    return for_other_nodes(["node", "--ros-args", "--params-file", str(file)], node)


@pytest.mark.parametrize(
    "name",
    ["/**", "/front/localizer", "front/localizer", "/front/*", "/**/localizer", "/*/localizer"],
)
def test_a_file_with_parameters_of_the_node_is_not_spoken_of(tmp_path, name):
    assert told(tmp_path, f"{name}: {{ros__parameters: {{device: cpu}}}}") == ""


@pytest.mark.parametrize(
    "name", ["localizer", "/localizer", "/front/localiser", "/rear/*", "/*", "localizer_node"]
)
def test_a_file_for_another_node_is_named_with_its_node(tmp_path, name):
    said = told(tmp_path, f"{name}: {{ros__parameters: {{device: cpu}}}}")
    assert f"holds parameters of /{name.strip('/')}, none of this node, /front/localizer" in said


def test_namespaces_may_be_nested(tmp_path):
    text = "front: {localizer: {ros__parameters: {device: cpu}}}"
    assert told(tmp_path, text) == ""
    assert "/front/localizer, none of this node, /localizer" in told(tmp_path, text, "/localizer")


# Nine tenfold unfoldings: a thousand million names.
BOMB = "a0: &a0 {x: 1}\n" + "".join(
    f"a{i}: &a{i} {{{', '.join(f'k{j}: *a{i - 1}' for j in range(10))}}}\n" for i in range(1, 10)
)


@pytest.mark.parametrize("text", ["", "[1, 2]", "a: [", "device: cpu", BOMB, "a: !!bool maybe"])
def test_a_file_without_node_names_is_left_to_ros(tmp_path, text):
    assert told(tmp_path, text) == ""
