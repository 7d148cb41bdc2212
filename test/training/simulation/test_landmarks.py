# SPDX-License-Identifier: Apache-2.0
"""One thing of known place in an otherwise bare world: both views must show it there."""

from dataclasses import replace

import numpy as np
import pytest

from g2s_localizer.geometry import LocalFrame
from g2s_localizer.imagery import open_imagery
from training.simulation.drive import draw_motion
from training.simulation.objects import Kind, Objects
from training.simulation.paint import Ground
from training.simulation.sky_view import write_tiles
from training.simulation.street_view import render_street
from training.simulation.world import build_world

NOTHING = Objects.of([], [])
RED = (220.0, 0.0, 0.0)


@pytest.fixture(scope="module", params=["easy", "hard"])
def bare(request):
    """A world of grass without objects and shadows, and its motion."""
    world = build_world(3, request.param, 120.0)
    world.ground.classes[:] = Ground.GRASS
    looks = [
        replace(look, cars=NOTHING, shadow=np.zeros_like(look.shadow))
        for look in (world.street_look, world.sky_look)
    ]
    world = replace(world, objects=NOTHING, street_look=looks[0], sky_look=looks[1])
    return world, draw_motion(world)


def square_ahead(motion, t, ahead, left, side):
    """Corners (4, 2) m of a square of `side` metres, in base_link's axes at time t."""
    T = motion.transform(t)
    yaw_axes = T[:2, :2] / np.linalg.norm(T[:2, :2], axis=0)
    centre = motion.position(t)[:2] + yaw_axes @ (ahead, left)
    corners = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * side / 2
    return centre + corners


def to_base(T, points):
    return (points - T[:3, 3]) @ T[:3, :3]


def test_a_painted_square_lies_in_the_street_image_where_camera_projects_it(bare, kitti_camera):
    world, motion = bare
    square = square_ahead(motion, 2.0, 12.0, 1.5, 3.0)
    ground = replace(world.ground, classes=world.ground.classes.copy())
    ground.fill(square, Ground.MARKING)
    T = motion.transform(2.0)
    image = render_street(replace(world, ground=ground), kitti_camera, T, NOTHING)
    rows, columns = np.nonzero(image[..., 2] > 160)
    rows, columns = rows[rows > 200], columns[rows > 200]
    inside = np.stack(np.meshgrid(*(np.linspace(0.01, 0.99, 60),) * 2), -1).reshape(-1, 2)
    grid = square[2] + inside * 3.0
    heights = world.terrain.height(grid[:, 0], grid[:, 1])
    uv, _ = kitti_camera.project(to_base(T, np.column_stack([grid, heights])))
    assert columns.min() == pytest.approx(uv[:, 0].min(), abs=4.0)
    assert columns.max() == pytest.approx(uv[:, 0].max(), abs=4.0)
    assert rows.min() == pytest.approx(uv[:, 1].min(), abs=2.0)
    assert rows.max() == pytest.approx(uv[:, 1].max(), abs=2.0)


def test_a_post_stands_in_the_street_image_where_camera_projects_it(bare, kitti_camera):
    world, motion = bare
    T = motion.transform(2.0)
    x, y = square_ahead(motion, 2.0, 15.0, -2.0, 0.0)[0]
    post = [x, y, 0.0, 1.5, 0.1, 0.1, 0.0, Kind.POST, *RED, 1.0]
    image = render_street(replace(world, objects=Objects.of([post], [])), kitti_camera, T, NOTHING)
    rows, columns = np.nonzero(image[..., 0] > 4.0 * image[..., 1])
    foot = np.array([[x, y, float(world.terrain.height(x, y)) + z] for z in (0.0, 1.5)])
    uv, _ = kitti_camera.project(to_base(T, foot))
    assert np.median(columns) == pytest.approx(uv[0, 0], abs=1.5)
    assert (rows.max(), rows.min()) == pytest.approx(tuple(uv[:, 1]), abs=2.0)


def test_a_painted_square_lies_in_the_imagery_at_its_place_plus_the_offset(bare, tmp_path):
    world, motion = bare
    square = square_ahead(motion, 2.0, 5.0, 0.0, 3.0)
    ground = replace(world.ground, classes=world.ground.classes.copy())
    ground.fill(square, Ground.MARKING)
    offset = write_tiles(replace(world, ground=ground), tmp_path)
    centre = LocalFrame(world.datum).to_latlon(*(square.mean(axis=0) + offset))
    crop = open_imagery(f"slippy:{tmp_path}").crop(centre, 12.0, 0.1)
    bright = crop.image[..., 2] > 150
    uv = np.argwhere(bright)[:, ::-1].mean(axis=0)
    assert crop.xy_from_uv(uv[None])[0] == pytest.approx((0.0, 0.0), abs=0.08)
    assert np.sqrt(bright.mean() * 144.0) == pytest.approx(3.0, abs=0.25)


def test_imagery_reaches_ninety_metres_beyond_every_pose(bare, tmp_path):
    world, motion = bare
    write_tiles(world, tmp_path)
    imagery, frame = open_imagery(f"slippy:{tmp_path}"), LocalFrame(world.datum)
    for t in (0.0, 4.0, 8.0):
        centre = frame.to_latlon(*motion.position(t)[:2])
        assert imagery.crop(centre, 180.0, 1.0).image.shape == (180, 180, 3)
