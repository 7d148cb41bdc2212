# SPDX-License-Identifier: Apache-2.0
"""Small runs on the flat world."""

import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import yaml

FOLDER = Path(__file__).parent
sys.path.append(str(FOLDER))

from flat_world import MODEL, flat_pairs  # noqa: E402

from g2s_localizer.model import ModelConfig, model_config  # noqa: E402
from training.config import TrainingConfig, load_config  # noqa: E402
from training.data.simulated import open_drives  # noqa: E402

ROTATION = {"steps": 6, "batch": 4, "learning_rate": 0.003, "schedule": "one_cycle"}
TRANSLATION = {
    "steps": 12, "batch": 4, "learning_rate": 0.003, "validate_every": 4, "ema": 0.9,
    "weight_decay": 1.0e-4, "clip_norm": 1.0,
}  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread():
    """Networks this small only wait for a second thread, above all on a machine at work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def config_file(tmp_path):
    """Write the configuration of a small run, changed as asked, into tmp_path: its file."""

    def write(name="run", rotation=None, translation=None, data=None, **changes) -> Path:
        simulated = {"folder": "", "drives": {}, "calibration": {}, "frames": 2, "rate": 1.0}
        values = {
            "out": str(tmp_path / name), "seed": 3, "device": "cpu", "model": asdict(MODEL),
            "data": {
                "simulated": simulated, "spacing_m": 20.0,
                "noise": {"position_m": 5.0, "yaw_deg": 5.0}, **(data or {}),
            },
            "rotation": {**ROTATION, **(rotation or {})},
            "translation": {**TRANSLATION, **(translation or {})},
            **changes,
        }  # fmt: skip
        file = tmp_path / f"{name}.yaml"
        file.write_text(yaml.safe_dump(values))
        return file

    return write


@pytest.fixture
def config(config_file):
    """The same, loaded."""

    def make(*args, **changes) -> TrainingConfig:
        return load_config(config_file(*args, **changes))

    return make


@pytest.fixture(scope="session")
def pairs():
    return flat_pairs()


@pytest.fixture(scope="session")
def tiny_model() -> ModelConfig:
    """Small enough to train in a test, wide enough for the papers' prior along any axes."""
    return model_config(
        crop_m=112.0, gsd=1.0, ground_height=32, ground_width=128, width=4, levels=3, features=4,
        yaw_step_deg=6.0,
    )  # fmt: skip


@pytest.fixture(scope="session")
def simulated_folder(tmp_path_factory) -> Path:
    """Two simulated drives of four frames, as `open_drives` keeps them."""
    folder = tmp_path_factory.mktemp("drives")
    open_drives(folder, "easy", [31, 32], frames=4, rate=2.5)
    return folder


@pytest.fixture
def kitti_list(simulated_folder, tmp_path):
    """The first of them as a test list of the papers: its file, root and imagery."""
    (root,) = simulated_folder.glob("easy_*_0031")
    (drive,) = root.glob("2011_09_26/*_sync")
    noise = ((1.0, 0.0, 0.5), (0.0, -0.5, 0.0), (0.3, 0.4, -1.0))
    lines = [
        f"2011_09_26/{drive.name}/{frame:010d}.png {x} {y} {turn}"
        for frame, (x, y, turn) in enumerate(noise)
    ]
    (tmp_path / "test1_files.txt").write_text("\n".join(lines) + "\n")
    return tmp_path / "test1_files.txt", root, f"slippy:{root / 'imagery'}"
