# SPDX-License-Identifier: Apache-2.0
"""The main job end to end, shorter than `make demo`: simulator, bag, node over DDS, report."""

import json
from pathlib import Path

import pytest

from training.demo import demo

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
    assert demo(tmp_path / "demo", frames=60) == 0
    report = json.loads((tmp_path / "demo" / "report.json").read_text())
    assert report.keys() >= KEYS
    assert "synthetic" in report["data"]
    assert report["published"] > 0
    assert report["pose_median_m"] < report["gnss_median_m"] / 2
    assert (tmp_path / "demo" / "report.png").stat().st_size > 10_000
    assert not processes_naming(str(tmp_path / "demo"))
