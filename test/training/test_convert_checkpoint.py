# SPDX-License-Identifier: Apache-2.0
import argparse
import os
import pickle
import zipfile

import pytest
import torch

from g2s_localizer.model import load_checkpoint, model_config
from training.convert_checkpoint import main
from training.paper.checkpoint import all_tensors, translate
from training.paper.parity_rule import weight_of

NAME = "FeatureForT.conv0.weight"


@pytest.fixture(scope="module")
def published():
    return {name: weight_of(name, tensor) for name, tensor in all_tensors().items()}


def convert(state, tmp_path, *options):
    source, target = tmp_path / "in.pth", tmp_path / "out.safetensors"
    if isinstance(state, bytes):
        source.write_bytes(state)
    else:
        torch.save(state, source)
    return main([str(source), str(target), "--preset", "paper-kitti", *options]), target


@pytest.mark.parametrize("options", [(), ("--no-share", "--level", "2")])
def test_a_published_checkpoint_becomes_one_that_loads(published, tmp_path, options):
    code, target = convert(published, tmp_path, *options)
    network, _ = load_checkpoint(target)
    assert code == 0
    wanted = translate(published, network.config).tensors
    assert all(torch.equal(network.state_dict()[name], wanted[name]) for name in wanted)


def test_what_the_configuration_does_not_use_is_left_out_by_name(published, tmp_path, capsys):
    convert(published, tmp_path)
    printed = capsys.readouterr().out
    assert "TransRefine.level_1" in printed and "GrdFeatureNet" in printed and "coe_R" in printed
    assert "FeatureForT," not in printed.replace("GrdFeatureForT", "").replace("SatFeatureForT", "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {k: v for k, v in s.items() if k != NAME}, f"missing {NAME}"),
        (lambda s: {**s, "extra.weight": torch.zeros(2)}, "unknown extra.weight"),
        (lambda s: {**s, NAME: torch.zeros(64, 3, 5, 5)}, f"{NAME} is (64, 3, 5, 5), not (64, 3"),
        (lambda s: {**s, NAME: s[NAME].double()}, f"{NAME} is torch.float64, not torch.float32"),
        (lambda s: {**s, NAME: s[NAME] * torch.nan}, f"{NAME} is not finite"),
        (lambda s: {**s, "epoch": 3}, "'epoch' is a int, no tensor"),
        (lambda s: [s[NAME]], "holds a list, not tensors by name"),
    ],
)
def test_a_wrong_tensor_is_refused_by_name(published, tmp_path, capsys, change, message):
    code, target = convert(change(published), tmp_path)
    assert code == 1 and message in capsys.readouterr().err
    assert not target.exists() and not target.with_suffix(".json").exists()


def half(state):
    return {k: v.half() if v.is_floating_point() else v for k, v in state.items()}


def wrapped_layer(name):
    """A part's name as torch.compile of that part alone writes it."""
    return name.replace("FeatureForT.", "FeatureForT._orig_mod.")


TAKEN = {
    "state_dict": (lambda s: {"epoch": 3, "state_dict": s, "arch": "x"}, "taken from 'state_dict'"),
    "model": (lambda s: {"model": s, "optimizer": {"lr": 0.1}}, "taken from 'model'"),
    "beside a tensor": (
        lambda s: {"epoch": torch.tensor(3), "state_dict": s},
        "taken from 'state_dict'",
    ),
    "nested": (lambda s: {"state_dict": {"model": s}}, "taken from 'state_dict', 'model'"),
    "module": (lambda s: {f"module.{k}": v for k, v in s.items()}, "'module.' taken off"),
    "compiled": (lambda s: {f"_orig_mod.{k}": v for k, v in s.items()}, "'_orig_mod.' taken off"),
    "both": (
        lambda s: {f"module._orig_mod.{k}": v for k, v in s.items()},
        "'_orig_mod.', 'module.' taken off",
    ),
    "part": (lambda s: {wrapped_layer(k): v for k, v in s.items()}, "'_orig_mod.' taken off"),
    "lightning": (
        lambda s: {"state_dict": {f"model.{k}": v for k, v in s.items()}},
        "'model.' taken off",
    ),
    "average": (
        lambda s: {"n_averaged": torch.tensor(5), **{f"module.{k}": v for k, v in s.items()}},
        "'module.' taken off",
    ),
    "half": (half, "tensors of half precision, widened"),
}


@pytest.mark.parametrize("kind", TAKEN)
def test_a_state_dict_as_programs_save_it_is_taken_and_said_in_a_line(
    published, tmp_path, capsys, kind
):
    change, says = TAKEN[kind]
    code, target = convert(change(published), tmp_path)
    printed = capsys.readouterr()
    assert code == 0 and says in printed.out and printed.err == ""
    tensor = load_checkpoint(target)[0].state_dict()["translation_extractor.conv0.weight"]
    assert torch.allclose(tensor, published[NAME], atol=1e-3)


def test_a_prefix_that_only_some_names_have_is_a_difference(published, tmp_path, capsys):
    mixed = {k if k == NAME else f"module.{k}": v for k, v in published.items()}
    code, _ = convert(mixed, tmp_path)
    assert code == 1 and "unknown module." in capsys.readouterr().err


def test_two_state_dicts_in_one_file_are_named(published, tmp_path, capsys):
    code, _ = convert({"state_dict": published, "model": published}, tmp_path)
    assert code == 1 and "several: 'model', 'state_dict'" in capsys.readouterr().err


def test_a_file_whose_directory_is_damaged_is_a_sentence(published, tmp_path, capsys):
    torch.save({NAME: published[NAME]}, tmp_path / "whole.pth")
    payload = (tmp_path / "whole.pth").read_bytes().replace(b"PK\x01\x02", b"PK\x09\x09")
    code, _ = convert(payload, tmp_path)
    assert code == 1 and "it is damaged" in capsys.readouterr().err


def test_a_mapping_that_holds_itself_is_refused(tmp_path, capsys):
    state = {}
    state["model"] = state
    code, _ = convert(state, tmp_path)
    assert code == 1 and "more than 4 mappings in each other" in capsys.readouterr().err


def test_another_network_is_refused_in_a_few_lines(tmp_path, capsys):
    code, _ = convert({f"layer{i}.weight": torch.zeros(2) for i in range(300)}, tmp_path)
    lines = capsys.readouterr().err.splitlines()
    assert code == 1 and len(lines) < 15 and "more" in lines[-1]


NO_CHECKPOINT = {
    "a web page": (b"<!DOCTYPE html><html><title>Google Drive - Virus scan</title>", "a web page"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
    "text": (b"404: Not Found", "no PyTorch file"),
    "a safetensors file": (b"\x02\0\0\0\0\0\0\0{}", "a safetensors file already"),
    "a zip": (None, "damaged"),
}


@pytest.mark.parametrize("kind", NO_CHECKPOINT)
def test_what_is_no_checkpoint_is_named_without_pytorch_s_advice(tmp_path, capsys, kind):
    content, says = NO_CHECKPOINT[kind]
    if content is None:
        with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
            archive.writestr("readme.txt", "no weights")
        content = (tmp_path / "z.zip").read_bytes()
    code, _ = convert(content, tmp_path)
    told = capsys.readouterr().err
    assert code == 1 and says in told and len(told.splitlines()) == 1
    for advice in ("weights_only", "trust", "allowlist", "safe_globals"):
        assert advice not in told


def test_objects_beside_the_tensors_are_named_without_pytorch_s_advice(published, tmp_path, capsys):
    code, _ = convert({"state_dict": published, "args": argparse.Namespace(lr=1)}, tmp_path)
    told = capsys.readouterr().err
    assert code == 1 and "argparse.Namespace" in told and "weights_only" not in told
    assert "trust" not in told and len(told.splitlines()) == 1


class Bomb:
    def __init__(self, flag):
        self.flag = flag

    def __reduce__(self):
        return os.mkdir, (self.flag,)


def test_a_pickle_bomb_is_refused_and_never_runs(tmp_path, capsys):
    flag = tmp_path / "exploded"
    code, target = convert({NAME: Bomb(str(flag))}, tmp_path)
    assert code == 1 and "not a file of plain tensors" in capsys.readouterr().err
    assert not flag.exists() and not target.exists()


def test_a_bare_pickle_bomb_is_refused_and_never_runs(tmp_path, capsys):
    flag = tmp_path / "exploded"
    code, _ = convert(pickle.dumps(Bomb(str(flag))), tmp_path)
    assert code == 1 and "not a file of plain tensors" in capsys.readouterr().err
    assert not flag.exists()


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_truncated_file_is_refused(published, tmp_path, capsys, share):
    whole = tmp_path / "whole.pth"
    torch.save({NAME: published[NAME]}, whole)
    payload = whole.read_bytes()
    code, target = convert(payload[: int(len(payload) * share)], tmp_path)
    assert code == 1 and "in.pth: not a file of plain tensors" in capsys.readouterr().err
    assert not target.exists()


def test_an_absent_file_is_named(tmp_path, capsys):
    code = main([str(tmp_path / "no.pth"), str(tmp_path / "o.safetensors"), "--preset=paper-vigor"])
    assert code == 1 and "no.pth: no such file" in capsys.readouterr().err


def test_a_panorama_checkpoint_becomes_one_of_the_panorama_preset(published, tmp_path):
    torch.save(published, tmp_path / "in.pth")
    target = tmp_path / "vigor.safetensors"
    assert main([str(tmp_path / "in.pth"), str(target), "--preset", "paper-vigor"]) == 0
    assert load_checkpoint(target)[0].config == model_config(preset="paper-vigor")


def test_a_checkpoint_that_is_there_is_not_replaced(published, tmp_path, capsys):
    (tmp_path / "out.safetensors").write_bytes(b"weeks of training")
    code, target = convert(published, tmp_path)
    assert code == 1 and "exists already" in capsys.readouterr().err
    assert target.read_bytes() == b"weeks of training"
