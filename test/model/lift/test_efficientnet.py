# SPDX-License-Identifier: Apache-2.0
"""The extractor whose encoder is EfficientNet-Lite0's, behind CompactUNet's interface."""

import pytest
import torch

from g2s_localizer.model import LiftNet, build_network, model_config
from g2s_localizer.model.lift.efficientnet import EfficientUNet


@pytest.fixture(scope="module")
def extractor():
    torch.manual_seed(0)
    return EfficientUNet(8).eval()


@pytest.mark.parametrize(("height", "width"), [(16, 16), (32, 48), (64, 16)])
def test_features_have_half_the_image_s_resolution(extractor, height, width):
    with torch.inference_mode():
        features, confidence = extractor(torch.rand(2, 3, height, width))
    assert features.shape == (2, 8, height // 2, width // 2)
    assert confidence.shape == (2, 1, height // 2, width // 2)
    assert 0.0 < confidence.min() <= confidence.max() < 1.0


def test_an_image_that_does_not_divide_is_refused_with_its_size(extractor):
    with pytest.raises(ValueError, match=r"divisible by 16, got \(40, 32\)"):
        extractor(torch.rand(1, 3, 40, 32))


def test_a_gradient_in_bfloat16_is_that_of_float32(extractor):
    image = torch.rand(1, 3, 32, 32)

    def gradient(reduced):
        extractor.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=reduced):
            features, _ = extractor(image)
        assert features.dtype == torch.float32
        features.square().mean().backward()
        return torch.cat([p.grad.flatten() for p in extractor.parameters() if p.grad is not None])

    exact, reduced = gradient(False), gradient(True)
    assert torch.cosine_similarity(exact, reduced, dim=0) > 0.98


def test_the_extractor_is_the_configured_one():
    network = build_network(model_config(preset="lift", extractor="efficientnet-lite0"))
    assert isinstance(network, LiftNet)
    for extractor in (network.ground_extractor, network.satellite_extractor):
        assert isinstance(extractor, EfficientUNet)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preset": "lift", "extractor": "resnet"}, "extractor must be one of unet, efficientnet"),
        (
            {"preset": "lift", "extractor": "efficientnet-lite0", "levels": 5},
            "levels of the extractor efficientnet-lite0 is 4, got 5",
        ),
        (
            {"preset": "compact", "extractor": "efficientnet-lite0"},
            "no field of the preset compact",
        ),
        (
            {"preset": "paper-kitti", "extractor": "efficientnet-lite0"},
            "no field of the preset paper-kitti",
        ),
    ],
)
def test_an_extractor_that_cannot_be_is_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=message):
        model_config(**changes)


def test_a_configuration_without_the_field_is_the_u_net_s():
    values = {"preset": "lift", "gsd": 0.375}
    assert model_config(**values).extractor == "unet"
