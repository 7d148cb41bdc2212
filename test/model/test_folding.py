# SPDX-License-Identifier: Apache-2.0
"""Batch normalisation folded into convolutions: no normalisation left, and the same answers."""

import copy

import pytest
import torch
from torch import nn

from g2s_localizer.model import CameraInput, build_network, model_config
from g2s_localizer.model.folding import fold_batch_norm


def seasoned(config):
    """A network whose normalisations have statistics of their own."""
    torch.manual_seed(0)
    network = build_network(config).eval()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, std=0.3)
            nn.init.uniform_(part.running_var, 0.5, 2.0)
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, std=0.2)
    return network


@pytest.mark.parametrize(
    "config",
    [
        model_config(),
        model_config(preset="lift"),
        model_config(preset="lift", extractor="efficientnet-lite0"),
    ],
    ids=["compact", "lift", "efficientnet"],
)
def test_a_folded_network_gives_the_same_features(config):
    network = seasoned(config)
    folded = copy.deepcopy(network)
    fold_batch_norm(folded)
    assert not [part for part in folded.modules() if isinstance(part, nn.BatchNorm2d)]
    image = torch.randint(0, 255, (1, 3, 64, 64), dtype=torch.uint8)
    T = torch.tensor([[0.0, 0, 1, 1.0], [-1, 0, 0, 0], [0, -1, 0, 1.65], [0, 0, 0, 1]])
    camera = CameraInput(torch.tensor([[[40.0, 0, 31.5], [0, 40, 20], [0, 0, 1]]]), T[None])
    with torch.inference_mode():
        for one, other in zip(
            _seen(network, image, camera), _seen(folded, image, camera), strict=True
        ):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def _seen(network, image, camera):
    ground = network.encode_ground(image, camera)
    columns = getattr(ground, "columns", None)
    return [
        network.encode_satellite(image).fine.energy,
        *([columns] if columns is not None else ground),
    ]


def test_a_network_in_training_is_refused():
    with pytest.raises(ValueError, match="call eval"):
        fold_batch_norm(nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)))
