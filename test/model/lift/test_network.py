# SPDX-License-Identifier: Apache-2.0
"""LiftNet: registration with the lifted overhead view."""

import math

import numpy as np
import pytest
import torch

from g2s_localizer.model import LiftNet, ModelConfig, ScoreMap, load_checkpoint, save_checkpoint
from g2s_localizer.model.lift.network import Volume
from g2s_localizer.model.score_map import Region

SMALL = ModelConfig(
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
    assert found.covariance[2, 2] > 0


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


def beyond(network, peaks, pose, region=None):
    """Second moment about `pose` of peaks (heading index, row, column, probability)."""
    residuals = network.residuals
    side = 2 * round(SMALL.search_m / SMALL.cell_m) + 1
    scores = torch.full((len(residuals), side, side), -math.inf)
    for heading, row, column, probability in peaks:
        scores[heading, row, column] = math.log(probability) / float(network.temperature)
    score_map = ScoreMap.from_scores(scores.amax(dim=0), network.temperature, SMALL.cell_m)
    return network._beyond(torch.tensor(pose), score_map, Volume(scores, residuals), region).numpy()


def test_another_place_and_heading_adds_its_probability_times_its_squared_distance():
    network = LiftNet(SMALL).eval()
    middle, last = round(SMALL.search_m / SMALL.cell_m), len(network.residuals) - 1
    own = (last // 2, middle, middle, 0.7)
    other = (last, middle - 5, middle + 10, 0.3)
    distance = np.array([10 * SMALL.cell_m, 5 * SMALL.cell_m, float(network.residuals[-1])])
    expected = 0.3 * np.outer(distance, distance)
    found = beyond(network, [own, other], [0.0, 0.0, 0.0])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_peak_itself_adds_nothing_but_its_turned_twin_does():
    network = LiftNet(SMALL).eval()
    middle, last = round(SMALL.search_m / SMALL.cell_m), len(network.residuals) - 1
    at_peak = [(last // 2, middle, middle, 0.5), (last // 2 + 1, middle + 1, middle, 0.5)]
    assert np.abs(beyond(network, at_peak, [0.0, 0.0, 0.0])).max() < 1e-9
    twin = beyond(network, at_peak, [0.0, 0.0, math.radians(170.0)])
    assert twin[2, 2] == pytest.approx(math.radians(170.0) ** 2, rel=0.05)


def test_a_place_outside_the_region_is_no_rival_and_its_probability_is_shared_out():
    network = LiftNet(SMALL).eval()
    middle, heading = round(SMALL.search_m / SMALL.cell_m), len(network.residuals) // 2
    peaks = [(heading, middle, middle + at, p) for at, p in ((0, 0.4), (8, 0.4), (-10, 0.2))]
    region = Region((8.0 * SMALL.cell_m, 0.0), np.eye(2), 9.0)
    found = beyond(network, peaks, [0.0, 0.0, 0.0], region)
    assert found[0, 0] == pytest.approx(0.5 * (8 * SMALL.cell_m) ** 2, rel=1e-3)
    nowhere = Region((1e3, 0.0), np.eye(2), 3.0)
    assert np.abs(beyond(network, peaks, [0.0, 0.0, 0.0], nowhere)).max() == 0.0


def test_the_covariance_of_a_registration_is_that_of_the_peak_and_of_all_else(pair):
    found = registered(LiftNet(SMALL).eval(), pair)
    np.testing.assert_allclose(found.covariance, found.within + found.beyond)
    assert np.linalg.eigvalsh(found.beyond)[0] > -1e-6 and np.trace(found.beyond[:2, :2]) > 1.0
