# SPDX-License-Identifier: Apache-2.0
"""ImageNet weights of EfficientNet-Lite0 in our encoder."""

import pytest
import torch

from g2s_localizer.model import LiftNet, model_config
from training.lift import pretrained
from training.lift.pretrained import begin_with_imagenet, imagenet_weights

CONFIG = model_config(preset="lift", extractor="efficientnet-lite0")


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = LiftNet(CONFIG)
    begin_with_imagenet(network)
    return network.eval()


def picture():
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(96.0), indexing="ij")
    rows = torch.sin(0.3 * x) + torch.cos(0.2 * y)
    return torch.stack([rows, torch.sin(0.05 * x + 0.25 * y), torch.cos(0.15 * x - 0.1 * y)])[None]


def test_the_encoder_computes_what_the_reference_does(network):
    # What efficientnet_lite_pytorch 0.1.0 (PyPI) gives after its blocks 1, 3, 5 and 11, with the
    # same weights: three channels of the cell in row 1, column 2; mean and deviation of all.
    expected = [
        ([-1.9877, -21.1632, 0.7130], 0.17429, 9.34122),
        ([10.2818, 11.2456, 7.7791], -0.66902, 12.90803),
        ([12.7302, 10.6976, -13.0757], 0.43433, 11.05509),
        ([8.8834, -0.3334, 9.2245], 0.42275, 6.13886),
    ]
    for extractor in (network.ground_extractor, network.satellite_extractor):
        with torch.inference_mode():
            x = extractor.stem(picture())
            for stage, (cell, mean, deviation) in zip(extractor.stages, expected, strict=True):
                x = stage(x)
                assert x[0, :3, 1, 2].tolist() == pytest.approx(cell, abs=1e-3)
                assert x.mean().item() == pytest.approx(mean, abs=1e-4)
                assert x.std().item() == pytest.approx(deviation, abs=1e-4)


def test_nothing_but_the_encoders_changes(network):
    torch.manual_seed(0)
    before = LiftNet(CONFIG).state_dict()
    for name, tensor in network.state_dict().items():
        encoder = (".stem." in name or ".stages." in name) and "num_batches" not in name
        assert torch.equal(tensor, before[name]) != encoder, name


def test_the_u_net_begins_at_random():
    torch.manual_seed(0)
    network = LiftNet(model_config(preset="lift"))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    begin_with_imagenet(network)
    assert all(torch.equal(before[name], t) for name, t in network.state_dict().items())


def test_where_the_weights_are_absent_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(pretrained, "_PACKAGE", "a_package_that_nobody_has")
    with pytest.raises(FileNotFoundError, match="pip install a_package_that_nobody_has"):
        imagenet_weights()
