# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from training.config import load_config

CONFIG = Path(__file__).parents[2] / "training" / "configs" / "synthetic.yaml"


def test_the_shipped_configuration_loads_and_trains_and_calibrates_on_different_drives():
    config = load_config(CONFIG)
    trained = {s for seeds in config.data.drives.values() for s in seeds}
    assert not trained & {s for seeds in config.data.calibration.values() for s in seeds}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed: 1", "sead: 1", "unknown key sead"),
        ("  rate:", "  rhate:", "unknown key data.rhate"),
        ("model: {}", "model: {gsd: -1}", "ModelConfig.gsd must be positive, got -1"),
        ("model: {}", "model: 3", "model. must be a mapping, got 3"),
        ("seed: 1\n", "", "missing .* 'seed'"),
    ],
)
def test_a_key_that_is_wrong_is_named_with_the_file(tmp_path, old, new, message):
    text = CONFIG.read_text()
    assert old in text
    broken = tmp_path / "broken.yaml"
    broken.write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=f"broken.yaml: .*{message}"):
        load_config(broken)
