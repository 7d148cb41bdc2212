# SPDX-License-Identifier: Apache-2.0
"""What "auto" stands for on this machine and on others."""

import pytest
import torch

from training.loop.devices import chosen_device, chosen_precision

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("name", "device", "has_bf16", "chosen"),
    [
        ("auto", CPU, True, "fp32"),
        ("auto", GPU, True, "bf16"),
        ("auto", GPU, False, "fp32"),
        ("fp16", GPU, True, "fp16"),
        ("bf16", CPU, False, "bf16"),
    ],
)
def test_auto_is_bf16_only_on_a_gpu_that_has_it(monkeypatch, name, device, has_bf16, chosen):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: has_bf16)
    assert chosen_precision(name, device) == chosen


def test_auto_is_a_gpu_where_there_is_one_and_names_stand_for_themselves():
    assert chosen_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert chosen_device("cpu") == CPU


@pytest.mark.parametrize(
    ("name", "said"), [("gpu", "there is no device 'gpu'"), ("cuda:99", "cuda:99: torch finds")]
)
def test_a_device_that_is_not_there_is_refused(name, said):
    with pytest.raises(ValueError, match=said):
        chosen_device(name)
