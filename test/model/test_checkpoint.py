# SPDX-License-Identifier: Apache-2.0
import hashlib
import json

import pytest
import torch
from safetensors.torch import load_file, save

from g2s_localizer.model import G2SNet, ModelConfig, load_checkpoint, save_checkpoint
from g2s_localizer.model.checkpoint import SHIPPED, CheckpointError

TINY = ModelConfig(width=4, levels=3, features=4, crop_m=24.0, reach_m=6.0, gsd=0.5)


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(path, G2SNet(TINY), {"command": "none"})
    return path


def rewrite(path, change):
    """Change the tensors and pin the new file, as somebody who can write both would."""
    payload = save(change(load_file(path)))
    path.write_bytes(payload)
    description = json.loads(path.with_suffix(".json").read_text())
    description["sha256"] = hashlib.sha256(payload).hexdigest()
    path.with_suffix(".json").write_text(json.dumps(description))


def test_what_is_written_is_read_back_to_the_bit(checkpoint):
    network, identity = load_checkpoint(checkpoint)
    torch.manual_seed(0)
    for name, tensor in G2SNet(TINY).state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor), name
    assert identity.startswith("tiny@") and network.config == TINY


def test_the_shipped_checkpoint_loads_is_small_and_says_synthetic():
    network, _ = load_checkpoint(SHIPPED)
    assert sum(p.numel() for p in network.parameters()) < 3_000_000
    assert SHIPPED.stat().st_size < 10_000_000
    provenance = json.loads(SHIPPED.with_suffix(".json").read_text())["provenance"]
    assert "synthetic" in provenance["data"] and "training." in provenance["command"]
    card = SHIPPED.with_name("README.md").read_text()
    assert "Synthetic" in card.partition("\n")[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {k: v for k, v in t.items() if k != "temperature"}, "missing temperature"),
        (lambda t: {**t, "extra": torch.zeros(1)}, "unknown extra"),
        (
            lambda t: {**t, "temperature": torch.zeros(4)},
            r"temperature is torch.float32 \(4,\), not",
        ),
        (lambda t: {**t, "temperature": torch.zeros(()).double()}, "temperature is torch.float64"),
        (lambda t: {**t, "temperature": torch.tensor(torch.nan)}, "temperature is not finite"),
    ],
)
def test_tensors_that_are_not_the_networks_are_refused_by_name(checkpoint, change, message):
    rewrite(checkpoint, change)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(checkpoint)


def test_a_changed_byte_breaks_the_pin(checkpoint):
    payload = bytearray(checkpoint.read_bytes())
    payload[-1] ^= 1
    checkpoint.write_bytes(payload)
    with pytest.raises(CheckpointError, match="SHA-256 is .* pins"):
        load_checkpoint(checkpoint)


def test_a_truncated_file_is_refused(checkpoint):
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="SHA-256"):
        load_checkpoint(checkpoint)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "its format is not"),
        ('{"format": "g2s_localizer checkpoint 2"}', "its format is not"),
    ],
)
def test_a_description_that_is_none_is_refused(checkpoint, text, message):
    checkpoint.with_suffix(".json").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(checkpoint)


def test_unknown_configuration_keys_are_refused_by_name(checkpoint):
    path = checkpoint.with_suffix(".json")
    description = json.loads(path.read_text())
    description["model"]["depth"] = 3
    path.write_text(json.dumps(description))
    with pytest.raises(CheckpointError, match="unknown keys .*: depth"):
        load_checkpoint(checkpoint)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere.json: no such file"):
        load_checkpoint(tmp_path / "nowhere.safetensors")
