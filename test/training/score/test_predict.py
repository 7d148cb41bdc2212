# SPDX-License-Identifier: Apache-2.0
"""Predictions: the node's own answers, in the label's frame, one pair at a time."""

import math
import weakref
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from flat_world import MODEL, PAPER_KITTI, PAPER_VIGOR, FlatWorld

from g2s_localizer.model import G2SNet, build_network, model_config
from training.data.sample import Unreadable, collate
from training.data.selection import Part
from training.score.predict import predict


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
        assert found.within[0, 0] == pytest.approx(float(mode.covariance[1, 1]), rel=1e-4)
        apart = found.score_map.cell_xy() - mode.xy
        distant = apart.norm(dim=-1) > 4.0
        beyond = (found.score_map.log_probability.exp() * apart[..., 1] ** 2)[distant].sum()
        assert found.beyond[0, 0] == pytest.approx(float(beyond), rel=1e-4)


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


LIFT = model_config(**{**asdict(MODEL), "preset": "lift"})


@pytest.mark.parametrize("model", [MODEL, LIFT, PAPER_KITTI, PAPER_VIGOR], ids=lambda m: m.preset)
@pytest.mark.parametrize("workers", [0, 2])
def test_pairs_encoded_together_are_found_where_each_is_found_alone(model, workers):
    torch.manual_seed(0)
    network, world = build_network(model).eval(), Mixed(FlatWorld(5, 8, (1,), model), range(5))
    alone, together = (
        list(predict(network, world, batch=batch, workers=workers)) for batch in (1, 3)
    )
    assert [each.index for each in together] == [0, 1, 2, 3, 4]
    for one, other in zip(alone, together, strict=True):
        assert isinstance(other, Unreadable) == isinstance(one, Unreadable) == (one.index == 1)
        if one.index != 1:
            assert other.score_map.cell_m == one.score_map.cell_m
            torch.testing.assert_close(
                other.score_map.log_probability, one.score_map.log_probability, atol=1e-3, rtol=0
            )
            assert (other.pose.x, other.pose.y) == pytest.approx((one.pose.x, one.pose.y), abs=0.01)
            np.testing.assert_allclose(other.covariance, one.covariance, rtol=0.02)


class Mixed(Part):
    """Pairs, the panoramas' of two metres per pixel, as those of VIGOR's cities."""

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        if isinstance(sample, Unreadable) or sample.K is not None:
            return sample
        return replace(sample, gsd=sample.gsd * (1.0 if index < 3 else 0.9))


def test_what_takes_long_shows_how_far_it_is(network, capsys, monkeypatch):
    monkeypatch.setattr("training.score.predict._SILENT_S", 0.0)
    list(predict(network, FlatWorld(3, 8), progress="calibrating"))
    shown = capsys.readouterr().err
    assert "calibrating: 100%" in shown and "3/3" in shown


def test_what_takes_seconds_is_silent(network, capsys):
    list(predict(network, FlatWorld(2, 8)))
    assert capsys.readouterr().err == ""
