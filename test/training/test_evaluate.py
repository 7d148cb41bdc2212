# SPDX-License-Identifier: Apache-2.0
"""The command: one table, with its keys, from a simulated world to files."""

import argparse
import json

import cv2
import numpy as np
import pytest
import torch

from g2s_localizer.imagery.level import Box
from g2s_localizer.model import G2SNet, save_checkpoint
from g2s_localizer.tools.tiles.draw import draw_map
from training.evaluate import add_dataset_arguments, main, parse_seeds
from training.loop.devices import chosen_device

KEYS = {
    "median_m", "offset_lateral_m", "offset_longitudinal_m", "mean_m", "lateral_within_1m",
    "longitudinal_within_1m", "yaw_median_deg", "anees", "coverage_50", "coverage_90",
    "coverage_99", "published_share", "frames", "auroc_5m", "ece", "gross_at_90", "gross_at_80",
    "published_wrong_5m", "places", "intervals",
}  # fmt: skip


@pytest.fixture
def checkpoint(tmp_path, tiny_model):
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "tiny.safetensors", G2SNet(tiny_model), {})
    return tmp_path / "tiny.safetensors"


@pytest.mark.slow
def test_one_command_makes_table_json_and_plots(checkpoint, simulated_folder, tmp_path, capsys):
    out = tmp_path / "out.json"
    command = "--dataset simulated --seeds 31-32 --frames 4 --mode single_frame --difficulty easy"
    files = ["--checkpoint", checkpoint, "--checkpoint", checkpoint, "--json", out]
    folders = ["--out", tmp_path / "table", "--folder", simulated_folder]
    assert main([*command.split(), *map(str, files), *map(str, folders)]) == 0
    report = json.loads(out.read_text())
    assert report.keys() >= KEYS
    assert report["frames"] == 8
    assert "synthetic" in report["data"]
    printed = capsys.readouterr().out
    assert "| the prior itself |" in printed
    assert ", network |" in printed  # named by file, where there are several
    made = {file.name for file in (tmp_path / "table").iterdir()}
    assert made == {"table.md", "table.json", "error_cdf.png", "error_over_time.png", "worst.png"}


@pytest.mark.slow
def test_a_test_list_of_the_papers_brings_its_own_noise(checkpoint, kitti_list, tmp_path):
    split, root, imagery = kitti_list
    command = ["--dataset", "kitti", "--root", root, "--imagery", imagery, "--split", split]
    assert main([*map(str, command), "--checkpoint", str(checkpoint), "--out", str(tmp_path)]) == 0
    prior = json.loads((tmp_path / "table.json").read_text())["methods"]["the prior itself"]
    assert prior["mean_m"] == pytest.approx((20.0 + 10.0 + 10.0) / 3, abs=1e-3)
    assert prior["offset_longitudinal_m"] == pytest.approx(6.0, abs=1e-3)
    assert prior["yaw_mean_deg"] == pytest.approx((5.0 + 0.0 + 10.0) / 3, abs=1e-3)


@pytest.mark.slow
def test_the_shipped_network_takes_kitti_s_lists_in_wider_crops(kitti_list, tmp_path, capsys):
    split, root, imagery = kitti_list
    command = ["--dataset", "kitti", "--root", root, "--imagery", imagery, "--split", split]
    command = [*map(str, command), "--out", str(tmp_path)]
    assert main(command) == 1
    assert "enlarge crop_m" in capsys.readouterr().err
    assert main([*command, "--crop-m", "108"]) == 0
    found = json.loads((tmp_path / "table.json").read_text())
    assert found["lateral_within_1m"] == 1.0


@pytest.mark.slow
def test_a_span_of_a_drive_is_scored_with_the_priors_of_each_seed(checkpoint, kitti_list, tmp_path):
    _, root, imagery = kitti_list
    (drive,) = root.glob("2011_09_26/*_sync")
    command = ["--dataset", "kitti", "--root", root, "--imagery", imagery, "--drive", drive.name]
    ends = ["--checkpoint", checkpoint, "--out", tmp_path / "table", "--position-m", "5"]
    command = [*map(str, command), *map(str, ends), "--seeds", "0-2"]
    assert main([*command, "--span", "1-2"]) == 0
    found = json.loads((tmp_path / "table" / "table.json").read_text())
    assert found["frames"] == 6 and "2 frames 1 to 2, each with 3 priors" in found["data"]
    assert 0.0 < found["methods"]["the prior itself"]["median_m"] < 5.0 * 2**0.5
    assert main([*command, "--span", "900-901"]) == 1


@pytest.mark.slow
def test_real_frames_over_a_drawn_map_are_scored_and_no_wrong_pose_is_published(
    test_data, tmp_path
):
    root, osm = (test_data / name for name in ("kitti_drives", "lanelet2_karlsruhe"))
    if not root.is_dir() or not osm.is_dir():
        pytest.skip(f"{test_data} has no kitti_drives or no lanelet2_karlsruhe")
    box = Box(8.4215, 49.0085, 8.4255, 49.0120)
    draw_map(osm / "mapping_example.osm", "mbtiles", tmp_path / "map.mbtiles", box=box)
    where = ["--root", root, "--imagery", tmp_path / "map.mbtiles", "--out", tmp_path / "table"]
    command = "--dataset kitti --drive 2011_09_26_drive_0005_sync --span 80-83 --position-m 10"
    assert main([*command.split(), *map(str, where)]) == 0
    found = json.loads((tmp_path / "table" / "table.json").read_text())
    assert found["frames"] == 4 and not found["unreadable"]
    assert found["published_wrong_5m"] == 0.0


@pytest.mark.slow
def test_a_folder_of_pairs_is_scored_each_being_a_place_of_its_own(checkpoint, tmp_path):
    rng = np.random.default_rng(0)
    for name, size in (("pano", (256, 512)), ("tile", (256, 256))):
        noise = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / f"{name}.png"), noise)
    line = "pano.png,tile.png,0.5,30,1.65\n"
    (tmp_path / "pairs.csv").write_text(f"panorama,tile,gsd,heading_deg,height_m\n{line}{line}")
    command = f"--dataset pairs --root {tmp_path} --azimuths 0,180 --seeds 0-2 --position-m 5"
    ends = ["--checkpoint", str(checkpoint), "--out", str(tmp_path / "table")]
    assert main([*command.split(), *ends]) == 0
    found = json.loads((tmp_path / "table" / "table.json").read_text())
    assert (found["frames"], found["places"]) == (12, 2)


def test_a_broken_set_up_is_said_in_a_line(checkpoint, tmp_path, capsys):
    command = f"--dataset kitti --root {tmp_path} --imagery slippy:{tmp_path}/no --split none.txt"
    assert main([*command.split(), "--checkpoint", str(checkpoint)]) == 1
    assert capsys.readouterr().err.startswith("evaluation: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "simulated"], "--dataset simulated needs --seeds"),
        (
            ["--dataset", "kitti", "--root", "a"],
            "--dataset kitti needs --imagery, one of --split and --drive",
        ),
        (["--dataset", "vigor"], "--dataset vigor needs --root, --area"),
        (["--dataset", "pairs"], "--dataset pairs needs --root"),
        (["--dataset", "bags"], "--dataset bags needs --config"),
    ],
)
def test_what_a_dataset_needs_is_asked_for(arguments, message, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    assert message in capsys.readouterr().err


def test_the_device_is_that_of_the_machine_and_one_that_is_not_there_is_refused(capsys):
    parser = argparse.ArgumentParser()
    add_dataset_arguments(parser)
    assert parser.parse_args([]).device == chosen_device("auto")
    with pytest.raises(SystemExit):
        parser.parse_args(["--device", "gpu"])
    assert "there is no device 'gpu'" in capsys.readouterr().err


def test_seeds_are_numbers_and_ranges():
    assert parse_seeds("3,5,10-12") == [3, 5, 10, 11, 12]


@pytest.mark.parametrize("name", ["table.md", "table.json", "worst.png"])
def test_a_file_that_is_of_no_former_report_is_not_replaced(tmp_path, capsys, name):
    file = tmp_path / name
    file.write_text("{}")
    for options in (["--out", tmp_path], ["--out", tmp_path / "new", "--json", file]):
        assert main(["--seeds", "31", *map(str, options)]) == 1
        assert f"{name} is there and of no former report" in capsys.readouterr().err
        assert file.read_text() == "{}"
