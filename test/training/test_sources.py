# SPDX-License-Identifier: Apache-2.0
"""From configurations to pairs, on simulated drives in KITTI's layout."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import yaml
from flat_world import FlatWorld

from g2s_localizer.model import load_checkpoint, model_config
from training.data.config import KittiConfig, SimulatedConfig
from training.data.sample import PriorNoise
from training.data.selection import Part
from training.sources import hold_out, kitti_dataset, open_pairs, vigor_dataset, vigor_noise
from training.train import main


class Drives(Part):
    """Pairs in drives of five."""

    def __init__(self, count):
        super().__init__(FlatWorld(count, 1), range(count))

    def group(self, index):
        return index // 5


def test_whole_drives_are_held_out_and_none_is_trained_on():
    drives = Drives(40)
    training, held_out = hold_out(drives, 0.2, seed=1)
    places = [{(label.x, label.y) for label in part.labels} for part in (training, held_out)]
    assert (len(training), len(held_out)) == (30, 10)
    assert not places[0] & places[1]
    assert hold_out(drives, 0.2, seed=1)[1].labels == held_out.labels


def test_drives_that_leave_nothing_to_train_on_are_refused():
    with pytest.raises(ValueError, match="2 drives leave none to train on beside 90% held out"):
        hold_out(Drives(10), 0.9, seed=1)


@pytest.fixture
def simulated(config, tiny_model, simulated_folder):
    source = SimulatedConfig(str(simulated_folder), {"easy": [31]}, {"easy": [32]}, 4, 2.5)
    run = config()
    return replace(run, model=tiny_model, data=replace(run.data, simulated=source))


@pytest.mark.slow
def test_a_share_of_the_pairs_is_trained_on_and_all_held_out_ones_are_kept(simulated):
    half = replace(simulated, data=replace(simulated.data, share=0.5))
    pairs = open_pairs(half)
    assert (len(pairs.training), len(pairs.validation), len(pairs.calibration)) == (2, 4, 4)
    assert "synthetic" in pairs.description


@pytest.mark.slow
def test_noise_that_does_not_fit_the_crop_stops_before_the_first_step(simulated):
    wide = replace(simulated.data.noise, position_m=40.0)
    with pytest.raises(ValueError, match="the prior allows offsets of 40.0 m"):
        open_pairs(replace(simulated, data=replace(simulated.data, noise=wide)))


@pytest.mark.slow
def test_a_kitti_list_of_one_drive_leaves_nothing_to_train_on_beside_the_held_out_one(
    simulated, kitti_list
):
    split, root, imagery = kitti_list
    kitti = KittiConfig(str(root), imagery, str(split), 0.5)
    data = replace(simulated.data, simulated=None, kitti=kitti)
    with pytest.raises(ValueError, match="leave none to train on"):
        open_pairs(replace(simulated, data=data))


@pytest.mark.parametrize("preset", ["compact", "lift"])
def test_our_own_presets_see_kitti_north_up(kitti_list, tiny_model, preset):
    split, root, imagery = kitti_list
    model = model_config(**{**asdict(tiny_model), "preset": preset})
    pairs = kitti_dataset(root, split, imagery, model, PriorNoise(), seed=0)
    crop_yaws = [pairs[i].crop_yaw for i in range(len(pairs))]
    assert crop_yaws == pytest.approx([0.0] * len(pairs), abs=1e-4)


def test_a_network_that_seeks_no_heading_is_not_scored_on_panoramas_of_unknown_heading(tmp_path):
    model = model_config(preset="paper-vigor")
    with pytest.raises(ValueError, match="rolled by up to rotation_deg 180 .*heading known"):
        vigor_dataset(tmp_path, "same", "test", model, 180.0, "unknown", 0)
    assert vigor_noise(model, 180.0, "known").yaw_deg == 0.0


@pytest.mark.slow
def test_the_command_trains_on_simulated_drives(simulated_folder, tiny_model, tmp_path, capsys):
    stage = {"steps": 1, "batch": 2, "learning_rate": 0.001}
    source = {
        "folder": str(simulated_folder), "drives": {"easy": [31]}, "calibration": {"easy": [32]},
        "frames": 4, "rate": 2.5,
    }  # fmt: skip
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump({
        "out": str(tmp_path / "tiny"), "device": "cpu", "model": tiny_model.__dict__,
        "data": {"simulated": source, "spacing_m": 1.0}, "rotation": stage, "translation": stage,
    }))  # fmt: skip
    assert main(["--config", str(file), "--set", "rotation.batch=3"]) == 0
    network, _ = load_checkpoint(tmp_path / "tiny" / "tiny.safetensors")
    assert network.config == tiny_model
    written = json.loads((tmp_path / "tiny" / "tiny.json").read_text())["provenance"]
    assert written["data"].startswith("synthetic")
    assert written["labels"].startswith("weak")
    assert written["command"].endswith(f"--config {file} --set rotation.batch=3")
    assert written["config"]["rotation"]["batch"] == 3
    assert np.isfinite(written["calibration"]["median_m"])
    assert main(["--config", str(file)]) == 1
    assert "--resume goes on with it" in capsys.readouterr().err


def test_a_configuration_that_is_not_there_is_said_in_a_line(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--config", str(tmp_path / "none.yaml")])
    assert "none.yaml" in capsys.readouterr().err
