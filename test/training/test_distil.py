# SPDX-License-Identifier: Apache-2.0
"""Self-distillation: pairs placed by pseudo-poses, the dense loss, and the whole run in small."""

import json
import math
import re
import signal
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from g2s_localizer.geometry import Pose2D
from g2s_localizer.imagery import MissingImagery
from g2s_localizer.model import LiftNet, load_checkpoint, model_config
from g2s_localizer.model.checkpoint import read_provenance
from g2s_localizer.model.lift.lift import LiftedColumns, columns_to_overhead
from g2s_localizer.model.unet import feature_intrinsics
from g2s_localizer.tools.bags.kitti_to_rosbag2 import convert
from training.data.sample import PriorNoise
from training.data.simulated import open_drives
from training.distil import _SETTLING_BATCHES, main
from training.evaluate import main as evaluate
from training.lift.config import load_distil_config
from training.lift.drives import open_sources
from training.lift.loss import registration_loss, shares, volume_loss
from training.lift.placed import PlacedDrive, _Seen, placed_batch
from training.lift.pretrained import imagenet_weights
from training.lift.trajectory import OdometryNoise, pseudo_poses, uniform_labels
from training.sources import kitti_dataset

TINY = {
    "preset": "lift", "width": 4, "levels": 3, "features": 4, "gsd": 1.0, "ground_height": 32,
    "ground_width": 64, "yaw_step_deg": 6.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("distil")


@pytest.fixture(scope="module")
def simulated(folder):
    return open_drives(folder, "easy", [31], 6, 2.5)[0]


@pytest.fixture(scope="module")
def root(simulated, folder):
    return next(folder.glob("easy_*_0031"))


@pytest.fixture(scope="module")
def bags(simulated, folder):
    """Its drive recorded twice, with other noise."""
    names = [folder / f"bag{seed}" for seed in (1, 2)]
    for seed, name in enumerate(names):
        convert(simulated.drive, name, gnss_noise=4.0, heading_noise=2.0, seed=seed)
    return names


def placed(simulated, poses=None):
    labels = PriorNoise().labels(simulated.truths, seed=(31, 7))
    if poses is None:
        odometry = OdometryNoise().measure([Pose2D(3.7 * i, 0, 0) for i in range(6)], (31, 8))
        poses = pseudo_poses(odometry, [uniform_labels(labels, 20.0, 10.0)], labels, 31)
    model = model_config(**TINY)
    return PlacedDrive(simulated.labelled(PriorNoise()), poses, model)


def test_a_picture_that_cannot_be_read_is_skipped_and_counted(simulated, caplog):
    labelled = simulated.labelled(PriorNoise())

    def read(frame):
        if frame in (1, 4):
            raise cv2.error("odd")
        return labelled.read(frame)

    drive = PlacedDrive(replace(labelled, read=read), labelled.labels, model_config(**TINY))
    assert drive.readable.tolist() == [0, 2, 3, 5] and len(drive.poses) == 6
    assert "2 of 6 images skipped: frame 1: error: odd, frame 4" in caplog.text
    drive.poses = np.zeros((6, 3))
    assert (batch_of(drive).ground.flatten(1).float().mean(1) > 30).all()


def batch_of(drive):
    return placed_batch([drive], 2, 3, 96.0, PriorNoise(), np.random.default_rng(5))


def test_another_truth_behind_the_same_labels_and_odometry_does_not_move_the_loss(simulated):
    def loss():
        torch.manual_seed(0)
        return registration_loss(LiftNet(model_config(**TINY)), batch).item()

    batch = batch_of(placed(simulated))
    first = loss()
    poses = [Pose2D(*pose) for pose in placed(simulated).poses]
    true_records = simulated.drive.oxts.copy()
    simulated.drive.oxts[:, :2] += 1e-3
    simulated.drive.oxts[:, 5] += 1.0
    batch = batch_of(placed(simulated, poses))
    simulated.drive.oxts[:] = true_records
    assert first == loss()


def test_a_crop_turned_by_a_quarter_is_the_crop_with_its_rows_and_columns_exchanged(simulated):
    drive = placed(simulated)
    straight, turned = (drive.turned_crop(drive.poses[0, :2], a, 96.0) for a in (0.0, math.pi / 2))
    np.testing.assert_allclose(turned.astype(int), np.rot90(straight).astype(int), atol=2)


def test_the_frames_of_a_crop_keep_their_distances_and_angles(simulated):
    drive = placed(simulated)
    batch = batch_of(drive)
    a, b = batch.pose[0].numpy(), batch.pose[1].numpy()
    distances = np.hypot(*(drive.poses[:, None, :2] - drive.poses[None, :, :2]).transpose(2, 0, 1))
    assert np.abs(distances - np.hypot(*(a - b)[:2])).min() < 1e-3
    assert abs(batch.prior_yaw - batch.pose[:, 2]).max() <= math.radians(10.0) + 1e-5


def test_places_at_the_edge_of_the_imagery_are_passed_over(simulated):
    drive = placed(simulated)
    drive.poses[3:, 0] += 1e5
    for seed in range(5):
        batch = placed_batch([drive], 2, 1, 96.0, PriorNoise(), np.random.default_rng(seed))
        assert len(batch.satellite) == 2
    drive.poses[:3, 0] += 1e5
    with pytest.raises(MissingImagery):
        placed_batch([drive], 1, 1, 96.0, PriorNoise(), np.random.default_rng(0))


def test_however_small_a_crop_is_its_frames_lie_within_what_is_searched(simulated):
    drive = placed(simulated)
    search = 60.0 / 2 - drive.model.reach_m
    for seed in range(30):
        batch = placed_batch([drive], 1, 2, 60.0, PriorNoise(), np.random.default_rng(seed))
        assert batch.pose[:, :2].abs().max() < search


def test_the_overhead_view_of_a_mirrored_image_is_the_mirrored_view(simulated):
    drive = placed(simulated)
    image = drive.ground[2].numpy().transpose(1, 2, 0)
    seen = _Seen(image, drive.K, drive.T_base_camera, drive.poses[2])
    columns = torch.rand(1, 1, 24, drive.model.ground_width // 2)
    views = []
    for one, content in ((seen, columns), (seen.mirrored(), columns.flip(-1))):
        K, T, pose = (
            torch.tensor(np.array([value], dtype=np.float32))
            for value in (one.K, one.T_base_camera, one.pose)
        )
        lifted = LiftedColumns(content, 1.0, feature_intrinsics(K), T)
        views.append(columns_to_overhead(lifted, pose[:, 2], 24, 2.0)[0])
    torch.testing.assert_close(views[1], views[0].flip(-1), atol=1e-3, rtol=0.0)


def loss_at(scores, heading, row, column):
    size = scores.shape[1]
    at = [torch.tensor([value]) for value in (heading, row, column)]
    return float(volume_loss(scores, torch.tensor(50.0), shares(at[0], size), at[1], at[2]))


def test_the_loss_is_least_where_the_scores_peak_on_the_target():
    scores = torch.zeros(1, 3, 5, 5)
    scores[0, 1, 2, 3] = 1.0
    assert loss_at(scores, 1.0, 2.0, 3.0) == pytest.approx(0.0, abs=1e-3)
    assert loss_at(scores, 1.0, 2.0, 4.0) == pytest.approx(50.0, abs=1e-3)


def test_a_target_between_cells_is_shared_by_them():
    scores = torch.zeros(1, 3, 4, 4)
    scores[0, 1, 2, 1] = scores[0, 1, 2, 2] = 1.0
    assert loss_at(scores, 1.0, 2.0, 1.5) == pytest.approx(math.log(2.0), abs=1e-3)


def config_file(folder, simulated_in=None, **changes):
    phase = {"steps": 2, "crops": 2, "per_crop": 2, "crop_m": 72.0, "learning_rate": 0.001}
    values = {
        "out": str(folder / "lift.safetensors"), "seed": 0, "precision": "fp32",
        "labels": "uniform", "model": TINY, "fuse_every": 3, "first": phase, "second": phase,
        "data": {
            "simulated": {
                "folder": str(simulated_in or folder), "drives": {"easy": [31]},
                "calibration": {"easy": [32]}, "frames": 6, "rate": 2.5,
            },
            "noise": {"position_m": 20.0, "yaw_deg": 10.0},
        },
        "odometry": {"scale": 0.01},
    }  # fmt: skip
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump({**values, **changes}))
    return file


@pytest.fixture(scope="module")
def trained(folder, simulated):
    """The folder, with a run as config_file has it."""
    assert main(["--config", str(config_file(folder))]) == 0
    return folder


def test_a_run_leaves_a_checkpoint_that_loads_and_its_curves(trained):
    network, _ = load_checkpoint(trained / "lift.safetensors")
    assert isinstance(network, LiftNet)
    events = EventAccumulator(str(trained / "lift.tensorboard" / "second")).Reload()
    assert [each.step for each in events.Scalars("second/loss")] == [1, 2]


def test_a_step_that_is_not_finite_ends_the_run_by_its_number(tmp_path, folder, simulated, capsys):
    file = config_file(tmp_path, simulated_in=folder, first=None)
    wild = ["second.learning_rate=1.0e+30", "second.steps=4", "second.save_every=1"]
    words = [word for setting in wild for word in ("--set", setting)]
    assert main(["--config", str(file), *words]) == 1
    assert re.search("second, step [2-4]: the loss is (nan|inf)", capsys.readouterr().err)
    assert not (tmp_path / "lift.safetensors").exists()
    assert load_checkpoint(tmp_path / "lift_second.safetensors")


def test_an_efficientnet_begins_with_imagenet_s_weights(folder, tmp_path, simulated):
    model = {"preset": "lift", "extractor": "efficientnet-lite0", "features": 4, "gsd": 1.0,
             "ground_height": 32, "ground_width": 64, "yaw_step_deg": 6.0}  # fmt: skip
    still = {"steps": 1, "crops": 1, "per_crop": 1, "crop_m": 80.0, "learning_rate": 1e-12}
    out = tmp_path / "efficientnet.safetensors"
    changes = {"out": str(out), "model": model, "first": still, "second": None}
    assert main(["--config", str(config_file(tmp_path, simulated_in=folder, **changes))]) == 0
    network, _ = load_checkpoint(out)
    first = imagenet_weights()["_conv_stem.weight"]
    for extractor in (network.ground_extractor, network.satellite_extractor):
        assert torch.allclose(extractor.stem.convolution.weight, first, atol=1e-6)


def test_an_interrupted_run_ends_with_the_weights_of_one_that_was_not(
    tmp_path, folder, simulated, monkeypatch, capsys
):
    phase = {"steps": 3, "crops": 2, "per_crop": 2, "crop_m": 72.0, "learning_rate": 0.001}
    files = []
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
        changes = {"out": str(tmp_path / name / "lift.safetensors")}
        files.append(config_file(tmp_path / name, simulated_in=folder, second=phase, **changes))
    assert main(["--config", str(files[0])]) == 0

    taken = []
    second_step = 2 + _SETTLING_BATCHES + 2  # of the second phase

    def interrupted_batch(*given):
        taken.append(given)
        if len(taken) == second_step:
            signal.raise_signal(signal.SIGINT)
        return placed_batch(*given)

    monkeypatch.setattr("training.lift.placing.placed_batch", interrupted_batch)
    cut = ["--config", str(files[1]), "--set", "second.crops=2"]  # as the file has it
    assert main(cut) == 130
    assert len(taken) == second_step
    assert f"training.distil {' '.join(cut)} --resume\n" in capsys.readouterr().err
    monkeypatch.undo()
    assert main([*cut, "--resume"]) == 0
    whole, cut = (load_checkpoint(file.parent / "lift.safetensors")[0] for file in files)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, cut.state_dict()[name]), name


def test_processes_that_make_the_batches_change_no_weight(tmp_path, trained):
    data = yaml.safe_load(config_file(tmp_path, simulated_in=trained).read_text())["data"]
    changes = {"data": {**data, "workers": 2}}
    assert main(["--config", str(config_file(tmp_path, simulated_in=trained, **changes))]) == 0
    alone, helped = (load_checkpoint(one / "lift.safetensors")[0] for one in (trained, tmp_path))
    for name, tensor in alone.state_dict().items():
        assert torch.equal(tensor, helped.state_dict()[name]), name


def bag_source(root, bags, **changes):
    camera = {"camera_translation": [1.08, -0.25, 1.66], "camera_rpy": [0.0, 0.0, 0.0]}
    return {
        "bags": {
            "train": [str(bags[0])], "held_out": [str(bags[1])],
            "imagery": f"slippy:{root}/imagery",
            "bag": {**camera, "odometry": "/odometry", **changes},
        },
        "noise": {"position_m": 20.0, "yaw_deg": 10.0},
    }  # fmt: skip


def test_recorded_bags_train_as_simulated_drives_do(tmp_path, root, bags):
    data = {**bag_source(root, bags), "workers": 1}
    file = config_file(tmp_path, data=data, labels="gaussian")
    assert main(["--config", str(file)]) == 0
    provenance = read_provenance(tmp_path / "lift.safetensors")
    assert provenance["data"] == f"recorded bags {bags[0]}"
    # the first image was taken before the first of odometry
    assert provenance["calibration_drives"]["frames"] == 5
    scored = ["--dataset", "bags", "--config", str(file), "--out", str(tmp_path / "table")]
    assert evaluate([*scored, "--checkpoint", str(tmp_path / "lift.safetensors")]) == 0
    report = json.loads((tmp_path / "table" / "table.json").read_text())
    assert (report["data"], report["frames"]) == (f"recorded bags {bags[1]}", 5)


def test_bags_whose_poses_nobody_knows_train_too_and_are_not_calibrated(tmp_path, root, bags):
    data = bag_source(root, bags, truth_pose="/nothing")
    assert main(["--config", str(config_file(tmp_path, data=data))]) == 0
    network, _ = load_checkpoint(tmp_path / "lift.safetensors")
    assert network.covariance_scale.tolist() == [1.0, 1.0]
    assert main(["--config", str(config_file(tmp_path, data=data, labels="exact"))]) == 1


def test_kitti_s_drives_have_odometry_from_their_speed_and_turn_rate(tmp_path, simulated, root):
    drive = simulated.drive
    split = tmp_path / "train_files.txt"
    names = [f"{drive.name[:10]}/{drive.name}/{i:010d}.png" for i in drive.frames]
    split.write_text("\n".join(names) + "\n")
    kitti = {"root": str(root), "imagery": f"slippy:{root}/imagery", "split": str(split)}
    data = {"kitti": kitti, "noise": {"position_m": 14.0, "yaw_deg": 10.0}}
    config = load_distil_config(config_file(tmp_path, data=data))
    with pytest.raises(ValueError, match="1 drives leave none to train on"):
        open_sources(config, 0, 1)
    (labelled,) = kitti_drives(config)
    true = [a.between(b) for a, b in pairwise(labelled.truths)]
    found = labelled.motions()
    np.testing.assert_allclose(found, [(m.x, m.y, m.yaw) for m in true], atol=0.1)


def kitti_drives(config):
    kitti, noise = config.data.kitti, config.data.noise
    paths = (Path(kitti.root), Path(kitti.split), kitti.imagery)
    return kitti_dataset(*paths, config.model, noise, 0).drives


def test_a_former_training_is_not_replaced(tmp_path, folder, simulated, capsys):
    (tmp_path / "lift.safetensors").write_bytes(b"weeks of training")
    assert main(["--config", str(config_file(tmp_path, simulated_in=folder))]) == 1
    assert "lift.safetensors is of a former training: --resume" in capsys.readouterr().err
    assert (tmp_path / "lift.safetensors").read_bytes() == b"weeks of training"


def test_there_must_be_something_to_resume(tmp_path, folder, simulated, capsys):
    file = config_file(tmp_path, simulated_in=folder)
    assert main(["--config", str(file), "--resume"]) == 1
    assert "nothing to resume" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": "guessed"}, "labels must be one of uniform, gaussian, exact, got 'guessed'"),
        ({"independent": 0.0}, "independent must lie in .0, 1., got 0.0"),
        (
            {"data": {"vigor": {"root": "VIGOR", "area": "same"}}},
            "single panoramas, and no odometry",
        ),
        ({"device": "cuda:1"}, "device must be auto or cpu, got 'cuda:1'"),
        ({"fuse_every": 0}, "fuse_every must be 1 or more, got 0"),
        ({"surprise": 1}, "surprise"),
        (
            {"second": {"steps": 1, "crops": 1, "per_crop": 1, "crop_m": 50.0, "learning_rate": 1}},
            "crop_m must lie between 56.0",
        ),
        (
            {"first": {"steps": 1, "crops": 1, "per_crop": 1, "crop_m": 66.0, "learning_rate": 1}},
            "is 66 pixels a side, not divisible by 8",
        ),
    ],
)
def test_a_wrong_configuration_is_refused_by_name(folder, changes, message):
    with pytest.raises(ValueError, match=message):
        load_distil_config(config_file(folder, **changes))
