# SPDX-License-Identifier: Apache-2.0
"""Our recipe on drives from elsewhere; the laws of both recipes: test_train.py."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from g2s_localizer.model import load_checkpoint, model_config
from g2s_localizer.model.checkpoint import read_provenance
from g2s_localizer.tools.bags.kitti_to_rosbag2 import convert
from training.config import load_config
from training.data.simulated import open_drives
from training.evaluate import main as evaluate
from training.lift.drives import open_sources
from training.lift.pretrained import imagenet_weights
from training.loop.run_folder import RunFolder
from training.sources import kitti_dataset
from training.train import main, open_data, train

SHORT = {"steps": 2, "validate_every": 0, "validation_batches": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("drives")


@pytest.fixture(scope="module")
def simulated(folder):
    return open_drives(folder, "easy", [31], 6, 2.5)[0]


@pytest.fixture(scope="module")
def bags(simulated, folder):
    """Its drive recorded twice, with other noise."""
    names = [folder / f"bag{seed}" for seed in (1, 2)]
    for seed, name in enumerate(names):
        convert(simulated.drive, name, gnss_noise=4.0, heading_noise=2.0, seed=seed)
    return names


@pytest.fixture
def run_file(config_file, folder, simulated):
    """The file of a short run on other drives over the imagery of the simulated one."""
    imagery = f"slippy:{next(folder.glob('easy_*_0031'))}/imagery"

    def write(kind, source, **changes):
        data = {"simulated": None, "workers": 1, kind: {**source, "imagery": imagery}}
        return config_file("run", "lift", data=data, **{"first": SHORT, "second": SHORT, **changes})

    return write


def test_processes_that_make_the_batches_change_no_weight(config):
    finished = []
    for workers in (0, 2):
        run = config(str(workers), "lift", data={"workers": workers}, first=None, second=SHORT)
        train(run, open_data(run), "")
        finished.append(RunFolder(Path(run.out)).finished)
    alone, helped = (load_checkpoint(file)[0].state_dict() for file in finished)
    assert all(tensor.equal(helped[name]) for name, tensor in alone.items())


def test_an_efficientnet_begins_with_imagenet_s_weights(config):
    model = {"preset": "lift", "extractor": "efficientnet-lite0", "features": 4, "gsd": 1.0,
             "ground_height": 32, "ground_width": 64, "yaw_step_deg": 6.0}  # fmt: skip
    still = {**SHORT, "steps": 1, "learning_rate": 1e-12, "crops": 1, "per_crop": 1, "crop_m": 80.0}
    run = config("run", "lift", first=still, second=None)
    run = replace(run, model=model_config(**model))
    train(run, open_data(run), "")
    network, _ = load_checkpoint(RunFolder(Path(run.out)).finished)
    first = imagenet_weights()["_conv_stem.weight"]
    for extractor in (network.ground_extractor, network.satellite_extractor):
        assert torch.allclose(extractor.stem.convolution.weight, first, atol=1e-6)


def recorded(bags, **changes):
    camera = {"camera_translation": [1.08, -0.25, 1.66], "camera_rpy": [0.0, 0.0, 0.0]}
    bag = {**camera, "odometry": "/odometry", **changes}
    return {"train": [str(bags[0])], "held_out": [str(bags[1])], "bag": bag}


def test_recorded_bags_train_as_simulated_drives_do(run_file, bags, tmp_path):
    file = run_file("bags", recorded(bags), labels="gaussian")
    assert main(["--config", str(file)]) == 0
    finished = RunFolder(tmp_path / "run").finished
    provenance = read_provenance(finished)
    assert provenance["data"] == f"recorded bags {bags[0]}"
    # the first image was taken before the first of odometry
    assert provenance["calibration"]["frames"] == 5
    scored = ["--dataset", "bags", "--config", str(file), "--out", str(tmp_path / "table")]
    assert evaluate([*scored, "--checkpoint", str(finished)]) == 0
    report = json.loads((tmp_path / "table" / "table.json").read_text())
    assert (report["data"], report["frames"]) == (f"recorded bags {bags[1]}", 5)


def test_bags_whose_poses_nobody_knows_train_too_and_are_not_calibrated(
    run_file, bags, tmp_path, capsys
):
    source = recorded(bags, truth_pose="/nothing")
    assert main(["--config", str(run_file("bags", source))]) == 0
    network, _ = load_checkpoint(RunFolder(tmp_path / "run").finished)
    assert network.covariance_scale.tolist() == [1.0, 1.0]
    exact = run_file("bags", source, labels="exact", out=str(tmp_path / "other"))
    assert main(["--config", str(exact)]) == 1
    assert "nobody knows its poses" in capsys.readouterr().err


def test_kitti_s_drives_have_odometry_from_their_speed_and_turn_rate(
    run_file, simulated, folder, tmp_path
):
    drive, root = simulated.drive, next(folder.glob("easy_*_0031"))
    split = tmp_path / "train_files.txt"
    names = [f"{drive.name[:10]}/{drive.name}/{i:010d}.png" for i in drive.frames]
    split.write_text("\n".join(names) + "\n")
    kitti = {"root": str(root), "split": str(split)}
    config = load_config(run_file("kitti", kitti, model={"crop_m": 112.0}))
    with pytest.raises(ValueError, match="1 drives leave none to train on"):
        open_sources(config)
    noise = config.data.noise
    opened = kitti_dataset(root, split, config.data.kitti.imagery, config.model, noise, 0)
    (labelled,) = opened.drives
    true = [a.between(b) for a, b in pairwise(labelled.truths)]
    np.testing.assert_allclose(labelled.motions(), [(m.x, m.y, m.yaw) for m in true], atol=0.1)
