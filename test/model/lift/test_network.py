# SPDX-License-Identifier: Apache-2.0
"""LiftNet: registration with the lifted overhead view."""

import math

import numpy as np
import pytest
import torch

from g2s_localizer.model import LiftNet, load_checkpoint, model_config, save_checkpoint

SMALL = model_config(
    preset="lift", width=4, levels=3, features=4, crop_m=48.0, gsd=0.5, reach_m=12.0,
    ground_height=32, ground_width=64, yaw_step_deg=4.0,
)  # fmt: skip


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    T = np.eye(4, dtype=np.float32)
    T[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    T[:3, 3] = (1.0, 0.0, 1.65)
    K = np.array([[40, 0, 31.5], [0, 40, 8], [0, 0, 1]], np.float32)
    ground = torch.from_numpy(rng.integers(0, 255, (1, 3, 32, 64), dtype=np.uint8))
    satellite = torch.from_numpy(rng.integers(0, 255, (1, 3, 96, 96), dtype=np.uint8))
    return ground, torch.from_numpy(K[None]), torch.from_numpy(T[None]), satellite


def registered(network, pair, yaw=0.3):
    ground, K, T, satellite = pair
    return network.register(ground, K, T, yaw, network.encode_satellite(satellite))


def test_the_score_map_is_a_distribution_over_the_search_window(pair):
    found = registered(LiftNet(SMALL).eval(), pair)
    log_probability = found.score_map.log_probability
    assert float(log_probability.exp().sum()) == pytest.approx(1.0, abs=1e-4)
    assert (log_probability.shape[0] - 1) / 2 * SMALL.cell_m == SMALL.search_m


def test_the_heading_stays_within_the_range_that_is_searched(pair):
    found = registered(LiftNet(SMALL).eval(), pair, yaw=2.0)
    # an untrained refinement leaves the heading as the search found it
    assert abs(found.yaw - 2.0) <= math.radians(SMALL.yaw_range_deg) + 1e-6
    assert found.within[2, 2] > 0


def test_the_same_pair_twice_gives_the_same_registration(pair):
    network = LiftNet(SMALL).eval()
    first, second = registered(network, pair), registered(network, pair)
    assert first.yaw == second.yaw
    assert torch.equal(first.score_map.log_probability, second.score_map.log_probability)


def test_a_checkpoint_gives_back_the_network_of_its_preset(tmp_path, pair):
    network = LiftNet(SMALL).eval()
    save_checkpoint(tmp_path / "lift.safetensors", network, {})
    loaded, _ = load_checkpoint(tmp_path / "lift.safetensors")
    assert isinstance(loaded, LiftNet)
    assert registered(loaded, pair).yaw == pytest.approx(registered(network, pair).yaw, abs=1e-5)


def test_features_of_a_crop_count_all_their_bytes(pair):
    crop = LiftNet(SMALL).eval().encode_satellite(pair[3])
    held = (crop.features, crop.fine.features, crop.fine.energy)
    assert crop.nbytes == sum(tensor.nbytes for tensor in held)


def test_what_the_refinement_finds_is_what_is_said(pair):
    network = LiftNet(SMALL).eval()
    before = registered(network, pair)
    # every refinement now goes 0.1 units forward, 0.2 left and 0.3 round
    network.refine.read[-1].bias.data[:3] = torch.tensor([0.1, 0.2, 0.3])
    after = registered(network, pair)
    forward, left, yaw = (network.refine.unit * torch.tensor([0.1, 0.2, 0.3])).tolist()
    x, y = before.x, before.y
    for turn in (before.yaw, before.yaw + yaw):
        x += math.cos(turn) * forward - math.sin(turn) * left
        y += math.sin(turn) * forward + math.cos(turn) * left
    assert (after.x, after.y) == pytest.approx((x, y), abs=1e-4)
    assert after.yaw == pytest.approx(before.yaw + 2 * yaw, abs=1e-5)


def test_the_covariance_at_the_peak_is_long_along_the_vehicle_and_narrow_across(pair):
    network = LiftNet(SMALL).eval()
    network.refine.read[-1].bias.data[3:5] = torch.tensor([-1.0, 1.0])
    found = registered(network, pair)
    ahead = np.array([math.cos(found.yaw), math.sin(found.yaw)])
    across = np.array([-ahead[1], ahead[0]])
    cell = network.config.cell_m
    along, side = (axis @ found.within[:2, :2] @ axis for axis in (ahead, across))
    assert math.sqrt(along) == pytest.approx(cell * math.e, rel=1e-3)
    assert math.sqrt(side) == pytest.approx(cell / math.e, rel=1e-3)


def test_the_volume_of_a_registration_is_that_of_its_score_map_s_places(pair):
    found = registered(LiftNet(SMALL).eval(), pair)
    assert float(found.probability.sum()) == pytest.approx(1.0, abs=1e-5)
    assert found.probability.shape == (len(found.headings), *found.score_map.log_probability.shape)
    # an untrained network finds nothing: the vehicle may stand anywhere
    assert np.linalg.eigvalsh(found.beyond())[0] > -1e-6 and np.trace(found.beyond()[:2, :2]) > 1.0
