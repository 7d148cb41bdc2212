# SPDX-License-Identifier: Apache-2.0
"""Predictions: the node's own answers, in the label's frame, one pair at a time."""

import math
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from flat_world import MODEL, PAPER_VIGOR, FlatWorld

from g2s_localizer.model import G2SNet, build_network
from training.datasets.sample import Unreadable, collate
from training.datasets.selection import Part
from training.predict import predict


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return G2SNet(MODEL).eval()


class Turned(Part):
    """Pairs whose crop is turned by a quarter turn: its u axis points south."""

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        return replace(
            sample, satellite=torch.rot90(sample.satellite, 1, (1, 2)),
            yaw=sample.yaw + math.pi / 2, crop_yaw=-math.pi / 2,
        )  # fmt: skip


def test_a_prediction_is_what_the_node_says_around_the_label(network):
    world = FlatWorld(3, 8)
    for found, label in zip(predict(network, world), world.labels, strict=True):
        one = collate([world[found.index]])
        with torch.inference_mode():
            satellite = network.encode_satellite(one.satellite)
        said = network.register(one.ground, one.K, one.T_base_camera, float(one.yaw), satellite)
        assert torch.equal(found.score_map.log_probability, said.score_map.log_probability)
        assert (found.pose.x, found.pose.y) == pytest.approx((label.x + said.x, label.y + said.y))
        assert found.pose.yaw == pytest.approx(math.remainder(said.yaw, 2 * math.pi))


def test_metres_are_those_of_the_crop_and_not_of_the_configuration():
    class Finer(Part):
        """The same pixels, called half as large."""

        def __getitem__(self, index):
            sample = super().__getitem__(index)
            return replace(sample, gsd=sample.gsd / 2)

    torch.manual_seed(0)
    vigor = build_network(PAPER_VIGOR).eval()
    world = FlatWorld(2, 8, (), PAPER_VIGOR)
    pairs = zip(predict(vigor, world), predict(vigor, Finer(world, range(2))), strict=True)
    for coarse, fine in pairs:
        assert fine.score_map.cell_m == pytest.approx(coarse.score_map.cell_m / 2)
        assert fine.gsd == coarse.gsd / 2


def test_a_turned_crop_gives_poses_and_covariances_in_the_same_map(network):
    world = FlatWorld(4, 8)
    for found in predict(network, Turned(world, range(4))):
        mode, label = found.score_map.modes(2, 4.0)[0], world.labels[found.index]
        # u points south, so the crop's up is east
        east, north = mode.xy.flip(0).tolist() @ np.diag([1.0, -1.0])
        assert found.pose.x - label.x == pytest.approx(east, abs=1e-5)
        assert found.pose.y - label.y == pytest.approx(north, abs=1e-5)
        within = found.covariance - found.beyond
        assert within[0, 0] == pytest.approx(float(mode.covariance[1, 1]), rel=1e-4)
        beyond = found.score_map.beyond(mode.xy, 4.0)
        assert found.beyond[0, 0] == pytest.approx(float(beyond[1, 1]), rel=1e-4)


def test_pairs_that_cannot_be_read_are_passed_on_in_their_place(network):
    found = list(predict(network, FlatWorld(4, 8, broken=(1,))))
    assert [type(each) is Unreadable for each in found] == [False, True, False, False]
    assert [each.index for each in found] == [0, 1, 2, 3]


def test_no_more_than_the_pair_at_work_and_the_one_before_it_are_in_memory(network):
    alive = weakref.WeakSet()

    class Watched(Part):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            alive.add(sample.ground)
            return sample

    world = Watched(FlatWorld(12, 8), range(12))
    assert max(len(alive) for _ in predict(network, world)) <= 2
