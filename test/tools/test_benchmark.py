# SPDX-License-Identifier: Apache-2.0
import json
import re
import sys

import pytest
import torch

from g2s_localizer.model import build_network, model_config, save_checkpoint
from g2s_localizer.tools.benchmark import STAGES, main, make_scene, register_once

TINY = model_config(
    width=4, levels=3, features=4, gsd=1.0, ground_height=32, ground_width=128, yaw_step_deg=6.0
)


@pytest.fixture
def tiny(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(path, build_network(TINY), {})
    return path


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_report_holds_every_stage_both_totals_and_the_memory(tiny, tmp_path, precision):
    out = tmp_path / "report.json"
    options = ["--checkpoint", str(tiny), "--runs", "3", "--json", str(out)]
    assert main([*options, "--precision", precision]) == 0
    report = json.loads(out.read_text())
    assert tuple(report["stages_ms"]) == STAGES
    for figures in (*report["stages_ms"].values(), report["total_ms"], report["total_cached_ms"]):
        assert 0 < figures["p50"] <= figures["p99"]
    assert report["peak_mb"] > 50 and report["threads"] >= 1 and report["precision"] == precision


def test_the_stages_add_up_to_the_total_and_a_cached_crop_leaves_one_out():
    network = build_network(TINY).eval()
    scene = make_scene(TINY)
    with torch.inference_mode():
        whole, features = register_once(network, scene, torch.device("cpu"), None)
        cached, _ = register_once(network, scene, torch.device("cpu"), features)
    assert sum(whole[name] for name in STAGES) == pytest.approx(whole["total"], rel=0.2, abs=2.0)
    assert cached["satellite features"] == 0.0 < whole["satellite features"]


def test_the_node_s_own_cost_stands_beside_the_network_s(tiny, tmp_path, capsys):
    pytest.importorskip("g2s_localizer.msg", reason="messages are not generated")
    out = tmp_path / "report.json"
    assert main(["--checkpoint", str(tiny), "--runs", "5", "--json", str(out)]) == 0
    report = json.loads(out.read_text())
    node = report["node"]
    assert node["total_ms"]["p50"] > report["stages_ms"]["rotation"]["p50"]
    assert 0 < node["processor_ms"]["p50"] <= node["processor_ms"]["p99"]
    assert "node, crop cached" in capsys.readouterr().out


def test_where_the_node_cannot_be_measured_it_is_said_why(tmp_path, monkeypatch, tiny, capsys):
    monkeypatch.setitem(sys.modules, "g2s_localizer.tools.benchmark_node", None)
    assert main(["--checkpoint", str(tiny), "--runs", "1"]) == 0
    assert re.search(r"node +not measured: .*benchmark_node", capsys.readouterr().out)


@pytest.mark.parametrize("threads", [1, 2])
def test_as_many_threads_compute_as_are_asked_for(tiny, tmp_path, threads):
    before, out = torch.get_num_threads(), tmp_path / "report.json"
    options = ["--checkpoint", str(tiny), "--runs", "1", "--json", str(out)]
    assert main([*options, "--threads", str(threads)]) == 0
    torch.set_num_threads(before)
    assert json.loads(out.read_text())["threads"] == threads


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--device", "cuda:9"], "there is no device cuda:9: "),
        (["--checkpoint", "nowhere.safetensors"], "nowhere.json: no such file"),
    ],
)
def test_what_cannot_be_run_is_an_error_and_no_traceback(options, message, capsys):
    assert main([*options, "--runs", "1"]) == 1
    assert message in capsys.readouterr().err


def test_runs_must_be_positive(capsys):
    with pytest.raises(SystemExit):
        main(["--runs", "0"])
    assert "must be at least 1, got 0" in capsys.readouterr().err


@pytest.mark.slow
def test_compiled_extractors_give_what_the_plain_ones_give():
    network = build_network(TINY).eval()
    image = torch.randint(256, (1, 3, 96, 96), dtype=torch.uint8)
    with torch.inference_mode():
        plain = network.satellite_features(image)
        network.compile_extractors()
        compiled = network.satellite_features(image)
    torch.testing.assert_close(compiled, plain, atol=1e-4, rtol=1e-3)


def test_a_file_that_is_no_report_is_not_replaced(tmp_path, capsys):
    for content in ('{"camera": 1}', "notes", "[1]"):
        (tmp_path / "out.json").write_text(content)
        assert main(["--json", str(tmp_path / "out.json")]) == 1
        assert "no report of g2s-benchmark" in capsys.readouterr().err
        assert (tmp_path / "out.json").read_text() == content
