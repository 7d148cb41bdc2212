# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from g2s_localizer.model import G2SNet, model_config

SMALL = model_config(
    width=4,
    levels=3,
    features=4,
    crop_m=48.0,
    reach_m=12.0,
    gsd=0.5,
    ground_height=64,
    ground_width=128,
)
K = torch.tensor([[[80.0, 0, 63.5], [0, 80.0, 10.0], [0, 0, 1]]])
T_BASE_CAMERA = torch.tensor([[[0, 0, 1, 1.0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]]])


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    return G2SNet(SMALL).eval()


@pytest.fixture(scope="module")
def images():
    generator = torch.Generator().manual_seed(4)
    ground = torch.randint(256, (1, 3, 64, 128), generator=generator, dtype=torch.uint8)
    satellite = torch.randint(256, (1, 3, 96, 96), generator=generator, dtype=torch.uint8)
    return ground, satellite


def register(network, images, yaw=0.3):
    ground, satellite = images
    with torch.inference_mode():
        features = network.encode_satellite(satellite)
    return network.register(ground, K, T_BASE_CAMERA, yaw, features)


def test_the_same_pair_gives_the_same_registration(network, images):
    first, second = register(network, images), register(network, images)
    assert first.yaw == second.yaw
    assert torch.equal(first.score_map.log_probability, second.score_map.log_probability)


def test_the_yaw_stays_within_the_range_around_the_prior(network, images):
    found = register(network, images, yaw=2.0)
    assert abs(found.yaw - 2.0) <= math.radians(SMALL.yaw_range_deg)
    assert found.within[2, 2] > 0


def test_the_score_map_covers_the_search_window(network, images):
    score_map = register(network, images).score_map
    assert score_map.log_probability.shape == (25, 25)
    assert score_map.cell_xy()[0, 0].tolist() == [-SMALL.search_m, SMALL.search_m]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gsd": 0.0}, "ModelConfig.gsd must be positive"),
        ({"reach_m": 48.0}, "leaves nothing of crop_m"),
        ({"crop_m": 96.5}, "even number of cells"),
    ],
)
def test_a_configuration_out_of_range_is_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=message):
        model_config(**changes)
