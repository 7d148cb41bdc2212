# SPDX-License-Identifier: Apache-2.0
"""The main job end to end, shorter than `make demo`: simulator, bag, node over DDS, report."""

import json
from pathlib import Path

import pytest

from training.demo import demo, main, make_room

KEYS = {
    "gnss_median_m", "pose_median_m", "pose_lateral_within_1m", "pose_longitudinal_within_1m",
    "yaw_median_deg", "published", "rejected", "latency_p50_ms", "latency_p99_ms", "coverage_95",
}  # fmt: skip


def processes_naming(text: str) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in command:
            found.append(command)
    return found


@pytest.mark.slow
@pytest.mark.ros
def test_a_simulated_vehicle_is_put_back_by_the_real_node(tmp_path):
    assert demo(tmp_path / "demo", frames=40) == 0
    report = json.loads((tmp_path / "demo" / "report.json").read_text())
    assert report.keys() >= KEYS
    assert "synthetic" in report["data"]
    assert report["published"] > 0
    assert report["pose_median_m"] < report["gnss_median_m"] / 2
    assert (tmp_path / "demo" / "report.png").stat().st_size > 10_000
    assert not processes_naming(str(tmp_path / "demo"))


@pytest.mark.parametrize("name", ["notes.txt", "drive/world.json", "report.json"])
def test_a_folder_that_holds_anything_but_a_former_demo_is_left_alone(tmp_path, capsys, name):
    (tmp_path / "out" / name).parent.mkdir(parents=True)
    (tmp_path / "out" / name).write_text("years of work")
    assert main(["--out", str(tmp_path / "out")]) == 1
    assert (tmp_path / "out" / name).read_text() == "years of work"
    assert "no former demo" in capsys.readouterr().err


def test_a_former_demo_makes_room_for_the_next_one_but_not_with_a_file_of_the_user_s(tmp_path):
    make_room(tmp_path)
    (tmp_path / "drive").mkdir()
    (tmp_path / "report.json").write_text("{}")
    (tmp_path / "drive_bag").symlink_to(tmp_path / "drive")
    make_room(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["made_by_training_demo"]
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(FileExistsError, match=r"thesis.tex"):
        make_room(tmp_path)


def test_a_demo_from_before_there_was_a_mark_makes_room_too(tmp_path):
    (tmp_path / "drive").mkdir()
    (tmp_path / "drive" / "world.json").write_text('{"synthetic": true, "seed": 7305}')
    make_room(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["made_by_training_demo"]
