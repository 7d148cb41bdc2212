# SPDX-License-Identifier: Apache-2.0
"""Small runs on the flat world."""

import sys
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path

import pytest
import torch
import yaml

FOLDER = Path(__file__).parent
sys.path.append(str(FOLDER))

from flat_world import MODEL, Interrupting, InterruptingImagery, flat_pairs  # noqa: E402

from g2s_localizer.model import ModelConfig, model_config  # noqa: E402
from training.config import load_config  # noqa: E402
from training.data.simulated import open_drives  # noqa: E402
from training.loop.config import TrainingConfig  # noqa: E402
from training.settings import merged  # noqa: E402
from training.train import open_data  # noqa: E402

NOISE = {"position_m": 5.0, "yaw_deg": 5.0}
PAPER = {
    "recipe": "paper", "seed": 3, "device": "cpu", "model": asdict(MODEL),
    "data": {
        "simulated": {"folder": "", "drives": {}, "calibration": {}, "frames": 2, "rate": 1.0},
        "spacing_m": 20.0, "noise": NOISE,
    },
    "rotation": {"steps": 6, "batch": 4, "learning_rate": 0.003, "schedule": "one_cycle"},
    "translation": {
        "steps": 12, "batch": 4, "learning_rate": 0.003, "validate_every": 4, "ema": 0.9,
        "weight_decay": 1.0e-4, "clip_norm": 1.0,
    },
}  # fmt: skip
CROPS = {"crops": 2, "per_crop": 2, "crop_m": 72.0, "learning_rate": 0.001}
LIFT = {
    "recipe": "lift", "seed": 3, "device": "cpu", "precision": "fp32", "fuse_every": 2,
    "model": {
        "preset": "lift", "width": 4, "levels": 3, "features": 4, "gsd": 1.0, "ground_height": 32,
        "ground_width": 64, "yaw_step_deg": 6.0,
    },
    "data": {"simulated": {
        "drives": {"easy": [31, 33]}, "calibration": {"easy": [32]}, "frames": 4, "rate": 2.5,
    }},
    "first": {**CROPS, "steps": 4, "validation_batches": 2},
    "second": {**CROPS, "steps": 6, "validate_every": 2, "ema": 0.9, "validation_batches": 2},
}  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread():
    """Networks this small only wait for a second thread, above all on a machine at work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def config_file(tmp_path, simulated_folder):
    """Write the configuration of a small run, changed as asked, into tmp_path: its file."""

    def write(name="run", recipe="paper", **changes) -> Path:
        values = {**{"paper": PAPER, "lift": LIFT}[recipe], "out": str(tmp_path / name)}
        if recipe == "lift":
            values = merged(values, {"data": {"simulated": {"folder": str(simulated_folder)}}})
        file = tmp_path / f"{name}.yaml"
        file.write_text(yaml.safe_dump(merged(values, changes)))
        return file

    return write


@pytest.fixture
def config(config_file):
    """The same, loaded."""

    def make(*args, **changes) -> TrainingConfig:
        return load_config(config_file(*args, **changes))

    return make


class Recipe:
    """A recipe with its small run: `stages` are its two, `data` what it learns from."""

    def __init__(self, name, config, config_file, pairs):
        self.name = name
        self.stages = {"paper": ("rotation", "translation"), "lift": ("first", "second")}[name]
        self._config, self._file = config, config_file
        self.data = pairs if name == "paper" else open_data(config(recipe=name))

    def _changes(self, first, last, changes):
        return {self.stages[0]: first or {}, self.stages[1]: last or {}, **changes}

    def config(self, name="run", first=None, last=None, **changes):
        return self._config(name, self.name, **self._changes(first, last, changes))

    def file(self, name="run", first=None, last=None, **changes):
        return self._file(name, self.name, **self._changes(first, last, changes))

    def interrupted(self, reading):
        """The data, of which one reading sends this process the signal of Ctrl-C."""
        left = count(1 - reading)
        if self.name == "paper":
            return replace(self.data, training=Interrupting(self.data.training, left))
        drives = []
        for drive in self.data.training:
            imagery = InterruptingImagery(drive.labelled.imagery, left)
            drives.append(replace(drive, labelled=replace(drive.labelled, imagery=imagery)))
        return replace(self.data, training=drives)


@pytest.fixture(params=["paper", "lift"])
def recipe(request, config, config_file, pairs):
    return Recipe(request.param, config, config_file, pairs)


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
    """Three simulated drives of four frames, as `open_drives` keeps them."""
    folder = tmp_path_factory.mktemp("drives")
    open_drives(folder, "easy", [31, 32, 33], frames=4, rate=2.5)
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
