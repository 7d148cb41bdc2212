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


def place_ahead(motion, ahead, left):
    """(2,) m: a point in front of the vehicle, two seconds after the start."""
    T = motion.transform(2.0)
    forward = T[:2, 0] / np.linalg.norm(T[:2, 0])
    return T[:2, 3] + ahead * forward + left * np.array([-forward[1], forward[0]])


def with_square(world, centre):
    """The world with a square of 3 m painted around `centre`."""
    ground = replace(world.ground, classes=world.ground.classes.copy())
    ground.fill(centre + 1.5 * np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]), Ground.MARKING)
    return replace(world, ground=ground)


def project(camera, world, T, x, y, above):
    """Pixels (N, 2) of places `above` metres over the terrain, seen from base_link at T."""
    points = np.stack(np.broadcast_arrays(x, y, world.terrain.height(x, y) + above), axis=-1)
    return camera.project((points - T[:3, 3]) @ T[:3, :3])[0]


def test_a_painted_square_lies_in_the_street_image_where_camera_projects_it(bare, camera):
    world, motion = bare
    centre, T = place_ahead(motion, 12.0, 1.5), motion.transform(2.0)
    views = [render_street(w, camera, T, NOTHING) for w in (world, with_square(world, centre))]
    rows, columns = np.nonzero(np.abs(views[1] - views[0]).max(axis=2) > 40)
    x, y = (centre[:, None, None] + np.mgrid[-1.5:1.5:61j, -1.5:1.5:61j]).reshape(2, -1)
    uv = project(camera, world, T, x, y, 0.0)
    for seen, expected in ((columns, uv[:, 0]), (rows, uv[:, 1])):
        assert (seen.min(), seen.max()) == pytest.approx((expected.min(), expected.max()), abs=5)


def test_a_post_stands_in_the_street_image_where_camera_projects_it(bare, camera):
    world, motion = bare
    (x, y), T = place_ahead(motion, 15.0, -2.0), motion.transform(2.0)
    post = [x, y, 0.0, 1.5, 0.1, 0.1, 0.0, Kind.POST, 220.0, 0.0, 0.0, 1.0]
    world = replace(world, objects=Objects.of([post], []))
    image = render_street(world, camera, T, NOTHING)
    rows, columns = np.nonzero(image[..., 0] > 4.0 * image[..., 1])
    uv = project(camera, world, T, x, y, np.array([0.0, 1.5]))
    assert np.median(columns) == pytest.approx(uv[:, 0].mean(), abs=1.5)
    assert (rows.max(), rows.min()) == pytest.approx(tuple(uv[:, 1]), abs=2.0)


def test_a_painted_square_lies_in_the_imagery_at_its_place_plus_the_offset(bare, tmp_path):
    world, motion = bare
    centre = place_ahead(motion, 5.0, 0.0)
    crops = []
    for name, painted in (("bare", world), ("square", with_square(world, centre))):
        offset = write_tiles(painted, tmp_path / name)
        place = LocalFrame(world.datum).to_latlon(*(centre + offset))
        crops.append(open_imagery(f"slippy:{tmp_path / name}").crop(place, 12.0, 0.1))
    change = (crops[1].image.astype(float) - crops[0].image).sum(axis=2)
    v, u = np.nonzero(change > 0.5 * np.median(change[55:65, 55:65]))
    assert crops[0].xy_from_uv([[u.mean(), v.mean()]])[0] == pytest.approx((0.0, 0.0), abs=0.06)
    assert np.sqrt(len(u)) * 0.1 == pytest.approx(3.0, abs=0.2)


def test_imagery_reaches_ninety_metres_beyond_every_pose(bare, tmp_path):
    world, motion = bare
    write_tiles(world, tmp_path)
    imagery, frame = open_imagery(f"slippy:{tmp_path}"), LocalFrame(world.datum)
    for t in (0.0, 4.0, 8.0):
        place = frame.to_latlon(*motion.position(t)[:2])
        assert imagery.crop(place, 180.0, 1.0).image.shape == (180, 180, 3)


def test_without_sway_base_link_stands_square_on_the_slope():
    world = build_world(3, "kitti", 120.0)
    world = replace(world, preset=replace(world.preset, body_deg=0.0))
    motion = draw_motion(world)
    for t in (0.0, 3.0, 6.0):
        slope = np.array(world.terrain.slope(*motion.position(t)[:2]))
        normal = np.array([-slope[0], -slope[1], 1.0]) / np.sqrt(1.0 + slope @ slope)
        assert motion.transform(t)[:3, 2] == pytest.approx(normal, abs=1e-3)


def test_the_vehicle_keeps_to_the_right():
    for seed in range(4):
        world = build_world(seed, "kitti", 120.0)
        line, motion = world.network.route.line, draw_motion(world)
        heading = line.heading_at(motion.distance(3.0))[0]
        beside = motion.position(3.0)[:2] - line.at(motion.distance(3.0))[0]
        left = np.array([-np.sin(heading), np.cos(heading)]) @ beside
        assert -world.network.route.half_width < left < -1.0
