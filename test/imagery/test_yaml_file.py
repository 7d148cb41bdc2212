# SPDX-License-Identifier: Apache-2.0
"""Whatever a YAML file holds: plain values or a sentence, and soon."""

import os
import time

import pytest

from g2s_localizer.imagery.yaml_file import MAX_BYTES, read_yaml

# Nine doublings by ten: a thousand million values of a few hundred bytes.
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
)
MERGE_BOMB = "a0: &a0 {k: v, l: w}\n" + "".join(
    f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}\n" for i in range(1, 10)
)
HOSTILE = {
    "an alias bomb": (BOMB, "line 4: unfolds to more than 10000 values"),
    "a merge bomb": (MERGE_BOMB, "unfolds to more than 10000 values"),
    "a list in itself": ("&a [*a]", "line 1: an alias that holds itself"),
    "a mapping in itself": ("b: &a\n  <<: *a\n", "line 1: an alias that holds itself"),
    "depth": ("[" * 2000, "nested more deeply than 64 levels"),
    "depth by aliases": (
        "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 99)),
        "nested more deeply than 64 levels",
    ),
    "length": ("a: " + "x" * MAX_BYTES, f"longer than {MAX_BYTES} bytes"),
    "many values": ("[" + "x," * 20000 + "]", "unfolds to more than 10000 values"),
    "a key given twice": ("a: 1\nb: 2\na: 3\n", "line 3: the key a is given twice"),
    "a class": ("!!python/object/apply:os.getcwd []", "python/object/apply:os.getcwd"),
    "a number without end": ("a: " + "9" * 60000, "no YAML that is read here"),
    "no date": ("a: !!timestamp soon", "no YAML that is read here"),
    "no truth": ("a: !!bool maybe", "no YAML that is read here"),
    "no number": ("a: !!int ''", "no YAML that is read here"),
    "a number of base 60": ("a: " + ":".join(["59"] * 2000) + ".5", "no YAML that is read here"),
    "no YAML": ("a: [", "line 1, column 5"),
    "two documents": ("a: 1\n---\nb: 2\n", "expected a single document"),
    "bytes": (b"\xff\xfea\x00\xd8", "no YAML that is read here"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_hostile_or_broken_is_a_sentence_that_names_the_file(tmp_path, kind):
    content, says = HOSTILE[kind]
    file = tmp_path / "p.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    started = time.monotonic()
    with pytest.raises(ValueError, match=r"p\.yaml") as error:
        read_yaml(file)
    assert says in str(error.value) and time.monotonic() - started < 10.0
    assert len(str(error.value)) < 1000 and "\n" not in str(error.value)


def test_plain_values_and_a_few_aliases_are_read(tmp_path):
    (tmp_path / "p.yaml").write_text("a: &a {x: 1.5, y: [yes, null]}\nb: {<<: *a, x: 2}\nc: *a\n")
    shared = {"x": 1.5, "y": [True, None]}
    assert read_yaml(tmp_path / "p.yaml") == {"a": shared, "b": shared | {"x": 2}, "c": shared}


def test_an_empty_file_holds_nothing(tmp_path):
    (tmp_path / "p.yaml").write_text("# nothing\n")
    assert read_yaml(tmp_path / "p.yaml") is None


def test_what_is_no_regular_file_is_refused_without_waiting_for_it(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    for name in ("pipe.yaml", "."):
        with pytest.raises(ValueError, match="no regular file"):
            read_yaml(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="absent.yaml"):
        read_yaml(tmp_path / "absent.yaml")
