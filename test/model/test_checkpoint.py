# SPDX-License-Identifier: Apache-2.0
import hashlib
import json
import math
import resource
import struct
import time
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import load_file, save

from g2s_localizer.model import G2SNet, load_checkpoint, model_config, save_checkpoint
from g2s_localizer.model.checkpoint import SHIPPED, CheckpointError
from g2s_localizer.model.presets import PRESETS, read_model_config

TINY = model_config(width=4, levels=3, features=4, crop_m=24.0, reach_m=6.0, gsd=0.5)


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


@pytest.mark.parametrize("dtype", ["F8_E8M0", "F4", "none"])
def test_tensors_of_a_type_that_nobody_reads_are_refused(checkpoint, dtype):
    header = json.dumps({"a": {"dtype": dtype, "shape": [1], "data_offsets": [0, 1]}}).encode()
    payload = struct.pack("<Q", len(header)) + header + b"\0"
    checkpoint.write_bytes(payload)
    description = json.loads(checkpoint.with_suffix(".json").read_text())
    description["sha256"] = hashlib.sha256(payload).hexdigest()
    checkpoint.with_suffix(".json").write_text(json.dumps(description))
    with pytest.raises(CheckpointError, match="not a safetensors file"):
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


@pytest.mark.parametrize("preset", PRESETS)
def test_a_description_of_the_time_when_presets_had_one_configuration_is_read(preset):
    config = model_config(preset)
    assert read_model_config({**asdict(config), **config.formerly}) == config
    with pytest.raises(ValueError, match="no field of the preset"):
        read_model_config({"preset": preset, next(iter(config.formerly)): 7})


def describe(path, **changes):
    """Change the description's model, as somebody who can write the JSON would."""
    description = json.loads(path.with_suffix(".json").read_text())
    description["model"] |= changes
    path.with_suffix(".json").write_text(json.dumps(description))


HOSTILE = {
    "levels": 400, "width": 10**6, "features": 10**400, "ground_height": 32_000, "crop_m": 1e9,
    "ground_width": 64_000, "gsd": 1e-6, "yaw_step_deg": 1e-9, "yaw_range_deg": 1e6,
    "reach_m": math.nan, "extractor": ["unet"], "share": "yes", "preset": {"lift": 1},
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_description_that_asks_for_too_much_is_refused_by_the_field_s_name(checkpoint, name):
    describe(checkpoint, **{name: HOSTILE[name]})
    started = time.monotonic()
    with pytest.raises(CheckpointError, match=f"tiny.json: model: .*{name}") as error:
        load_checkpoint(checkpoint)
    assert time.monotonic() - started < 5.0 and len(str(error.value)) < 500


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "not JSON"),
        ('{"format": "g2s_localizer checkpoint 1", "x": "' + "y" * 2_000_000 + '"}', "bytes, over"),
        ('{"format": "g2s_localizer checkpoint 1", "sha256": 5}', "SHA-256"),
    ],
    ids=["depth", "length", "type"],
)
def test_a_description_is_bounded_in_depth_and_length(checkpoint, text, message):
    checkpoint.with_suffix(".json").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(checkpoint)


def test_a_network_is_not_made_before_the_file_is_known_to_hold_its_tensors(checkpoint):
    describe(checkpoint, width=256, levels=8, features=256, crop_m=64.0, reach_m=16.0, gsd=1.0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match="and [0-9]+ more") as error:
        load_checkpoint(checkpoint)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kilobytes
    assert len(str(error.value)) < 2000


def test_a_pin_takes_the_weights_alone_or_the_description_with_them(checkpoint):
    for file in (checkpoint, checkpoint.with_suffix(".json")):
        pin = hashlib.sha256(file.read_bytes()).hexdigest()
        assert load_checkpoint(checkpoint, pin.upper())[0].config == TINY


def test_other_weights_than_the_pinned_ones_are_refused(checkpoint):
    pin = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    rewrite(checkpoint, lambda tensors: {**tensors, "temperature": torch.tensor(2.0)})
    with pytest.raises(CheckpointError, match=f"tiny.safetensors.*SHA-256 .* not .*{pin}"):
        load_checkpoint(checkpoint, pin)


@pytest.mark.parametrize("pin", ["abc", "g" * 64, 64 * "0" + "0"])
def test_what_is_no_digest_pins_nothing_and_is_refused(checkpoint, pin):
    with pytest.raises(CheckpointError, match="64 hexadecimal digits, got"):
        load_checkpoint(checkpoint, pin)


WRONG_FILES = {
    "a pickle": (b"PK\x03\x04", "in.pth", "a PyTorch pickle.*training.convert_checkpoint"),
    "an old pickle": (b"\x80\x02", "in.pt", "a PyTorch pickle.*training.convert_checkpoint"),
    "a renamed pickle": (b"PK\x03\x04", "in.safetensors", "a PyTorch pickle"),
    "a web page": (b"<!DOCTYPE html><title>Sign in</title>", "in.safetensors", "a web page"),
    "a pointer": (
        b"version https://git-lfs.github.com/spec/v1\n",
        "in.safetensors",
        "git lfs pull",
    ),
    "a description": (b"{}", "in.json", "give the .safetensors file beside it"),
}


@pytest.mark.parametrize("kind", WRONG_FILES)
def test_a_file_of_another_kind_is_said_to_be_one_and_what_to_do(tmp_path, kind):
    content, name, message = WRONG_FILES[kind]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path / name)


def test_a_description_that_is_not_there_is_named(checkpoint):
    checkpoint.with_suffix(".json").unlink()
    with pytest.raises(CheckpointError, match="tiny.json: no such file.*tiny.safetensors"):
        load_checkpoint(checkpoint)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere.json: no such file"):
        load_checkpoint(tmp_path / "nowhere.safetensors")
