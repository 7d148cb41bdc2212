# SPDX-License-Identifier: Apache-2.0
"""Pseudo pairs of stage 0: nothing but what the imagery shows tells how its two views lie."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from flat_world import MODEL, PAPER_KITTI, PAPER_VIGOR, T_BASE_CAMERA, FlatWorld, flat_pairs

from g2s_localizer.geometry import Camera, LatLon, LocalFrame, Pose2D
from g2s_localizer.imagery import SatelliteCrop
from g2s_localizer.model import build_network, model_config
from training.data.drives import LabelledDrive
from training.data.sample import collate
from training.data.selection import Part, Remembered
from training.lift.placed import PlacedDrive
from training.paper.pseudo_pairs import motion_range, surroundings, two_views, wide_pixels
from training.paper.satellite_pairs import paper_pairs
from training.train import train

PAPER_VIGOR_180 = model_config(**{**asdict(PAPER_VIGOR), "yaw_range_deg": 180.0})
MODELS = [MODEL, PAPER_KITTI, PAPER_VIGOR_180, model_config(), model_config(preset="paper-kitti")]
SHOWN = 300
PICTURE = np.zeros((16, 32, 3), np.uint8)


def motions(config, count, seed=0):
    """Yaw (N,) and offset (N, 2), the first eight at the ends of their ranges."""
    torch.manual_seed(seed)
    drawn = 2 * torch.rand(count, 3) - 1
    drawn[:8] = torch.tensor([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)])[:count]
    offset_m, yaw = motion_range(config)
    return drawn[:, 0] * yaw, drawn[:, 1:] * offset_m


def grey(config, count):
    """Crops without content, each of a brightness of its own."""
    side = wide_pixels(config)
    return (60.0 + 120.0 * torch.rand(count, 1, 1, 1)).expand(count, 3, side, side)


@pytest.mark.parametrize("config", MODELS, ids=lambda config: f"{config.preset}-{config.crop_m:g}")
def test_grey_crops_make_grey_views_at_the_ends_of_every_range(config):
    yaw, offset = motions(config, 8)
    wide = grey(config, 8)
    for view in two_views(wide, yaw, offset, config):
        torch.testing.assert_close(view, wide[:, :, : view.shape[2], : view.shape[3]])


@pytest.mark.parametrize("config", [MODEL, PAPER_KITTI, PAPER_VIGOR_180], ids=lambda c: c.preset)
def test_a_regressor_that_is_shown_grey_crops_stays_at_chance(config):
    yaw, offset = motions(config, SHOWN)
    views = [two_views(crop[None], y[None], o[None], config) for crop, y, o in
             zip(grey(config, SHOWN), yaw, offset, strict=True)]  # fmt: skip
    noisy = [torch.cat(pair) + 3 * torch.randn(2, *pair[0].shape[1:]) for pair in views]
    seen = torch.stack([torch.nn.functional.adaptive_avg_pool2d(x, 8).flatten() for x in noisy])
    target = torch.cat([yaw[:, None] / yaw.abs().max(), offset / offset.abs().max()], dim=1)
    seen = torch.cat([seen, torch.ones(SHOWN, 1)], dim=1).double()
    half = SHOWN // 2
    ridge = seen[:half].T @ seen[:half] + 100.0 * torch.eye(seen.shape[1])
    fit = torch.linalg.solve(ridge, seen[:half].T @ target[:half].double())
    error = (seen[half:] @ fit - target[half:]).abs().mean(dim=0)
    assert (error > 0.9 * target[half:].abs().mean(dim=0)).all()


def test_the_paper_s_network_says_the_same_of_all_pairs_of_one_grey():
    torch.manual_seed(0)
    network = build_network(PAPER_KITTI).eval()
    batch = collate([FlatWorld(4, 5, (), PAPER_KITTI).widened(wide_pixels(PAPER_KITTI))[0]] * 4)
    one_grey = replace(batch, satellite=torch.full_like(batch.satellite, 90))
    with torch.no_grad():
        delta, target, _, _ = paper_pairs(network, one_grey)
    assert target.std(dim=0).min() > 0.1
    torch.testing.assert_close(delta, delta[:1].expand_as(delta), rtol=0, atol=1e-5)


@pytest.mark.parametrize("config", [MODEL, PAPER_VIGOR_180], ids=lambda config: config.preset)
def test_the_second_view_shows_at_a_point_what_the_first_shows_where_the_motion_takes_it(config):
    yaw, offset = motions(config, 12)
    side = wide_pixels(config)
    along = (torch.arange(side) - (side - 1) / 2) * config.gsd
    wide = torch.stack(torch.broadcast_tensors(along[None, :], -along[:, None], along[:1, None]))
    first, second = two_views(wide.expand(12, 3, side, side), yaw, offset, config)
    # the views' two channels are the place they show, in the wide crop's frame
    middle = first.shape[-1] // 2
    rows, columns = torch.tensor([middle, middle - 4]), torch.tensor([middle - 5, middle + 3])
    here = torch.stack([columns - middle + 0.5, middle - rows - 0.5], dim=-1) * config.gsd
    for k in range(12):
        c, s = yaw[k].cos(), yaw[k].sin()
        there = here @ torch.tensor([[c, s], [-s, c]]) + offset[k]
        shown = second[k, :2, rows, columns].T
        turned = yaw[k] / 2
        c, s = turned.cos(), turned.sin()
        R = torch.tensor([[c, s], [-s, c]])  # row vectors: the first view is turned by -yaw / 2
        expected = there @ R.T - (offset[k] @ R.T) / 2
        torch.testing.assert_close(shown, expected, atol=1e-3, rtol=0)


def test_a_crop_too_narrow_to_move_both_views_in_is_refused():
    with pytest.raises(ValueError, match="are cut from 64 pixels a side.*and the crop has 48"):
        two_views(torch.zeros(1, 3, 48, 48), torch.zeros(1), torch.zeros(1, 2), MODEL)


def test_a_widened_sample_has_the_sample_in_its_middle():
    world = Remembered(Part(FlatWorld(6, 5), [4, 2]))
    side = world[0].satellite.shape[-1]
    wide = world.widened(side + 16)
    for i in range(2):
        assert torch.equal(wide[i].satellite[:, 8:-8, 8:-8], world[i].satellite)
        assert (wide[i].index, wide[i].yaw, wide[i].gsd) == (i, world[i].yaw, world[i].gsd)


def test_a_source_without_so_wide_imagery_says_so_before_the_first_step(config):
    class Narrow(FlatWorld):
        def widened(self, pixels):
            return FlatWorld(len(self), 1, broken=range(len(self)))

    narrow = replace(flat_pairs(), training=Narrow(24, 1))
    with pytest.raises(ValueError, match=r"from 32 m of imagery.*crop's 24 m.*flat world, frame"):
        train(config(), narrow, "")


def test_what_cannot_be_read_at_all_is_not_taken_for_narrow():
    for broken in ((0, 3), range(24)):
        assert len(surroundings(FlatWorld(24, 1, broken=broken), MODEL)) == 24


class Grey:
    """Imagery of one grey."""

    attribution = ""

    def crop(self, centre, size_m, gsd):
        pixels = round(size_m / gsd)
        return SatelliteCrop(np.full((pixels, pixels, 3), 90, np.uint8), centre, gsd, "")


@pytest.mark.parametrize("yaw", [0.0, 0.4, np.pi / 4, np.pi / 2, -2.2])
def test_no_crop_that_is_turned_is_padded(yaw):
    K = np.array([[16.0, 0.0, 16.0], [0.0, 16.0, 8.0], [0.0, 0.0, 1.0]])
    camera = Camera(K, 32, 16, distortion=np.zeros(5), T_base_camera=T_BASE_CAMERA)
    pose, frame, read = [Pose2D(0, 0, 0)], LocalFrame(LatLon(49, 8)), lambda _: PICTURE
    drive = LabelledDrive("grey", [0], read, camera, frame, pose, None, Grey())
    placed = PlacedDrive(drive, pose, model_config(preset="lift"))
    assert (placed.turned_crop(np.zeros(2), yaw, 48.0) == 90).all()
