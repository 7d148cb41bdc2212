# SPDX-License-Identifier: Apache-2.0
import json
import math

import cv2
import numpy as np
import pytest
import torch

from g2s_localizer.geometry import LocalFrame
from g2s_localizer.geometry.geodesy import ground_sample_distance
from g2s_localizer.imagery.satmap import SIDE, ZOOM
from g2s_localizer.model.grid import overhead_xy
from g2s_localizer.model.preprocess import prepare_ground
from g2s_localizer.model.projection import ground_to_overhead
from training.data.simulated import open_drive
from training.simulate import main, simulate
from training.simulation.drive import draw_motion, route_length
from training.simulation.paint import Ground
from training.simulation.world import build_world

SEED, FRAMES, RATE = 21, 4, 0.5
CELLS, CELL_M = 120, 0.25


@pytest.fixture(scope="module")
def drives(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drives")
    for difficulty in ("easy", "kitti"):
        simulate(folder / difficulty, SEED, FRAMES, difficulty, RATE)
    return {name: open_drive(folder / name, SEED) for name in ("easy", "kitti")}, folder


def overhead_pair(simulated, frame):
    """Grey overhead view of the street image, its mask, and the imagery's, in the same cells."""
    truth = simulated.truths[frame]
    image, camera = prepare_ground(
        simulated.drive.image(frame), simulated.drive.camera, (240, 1242)
    )
    view, mask = ground_to_overhead(
        image[None].float().mean(1, keepdim=True),
        torch.tensor(camera.K, dtype=torch.float32)[None],
        torch.tensor(camera.T_base_camera, dtype=torch.float32)[None],
        torch.tensor([truth.yaw], dtype=torch.float32),
        CELLS,
        CELL_M,
    )
    centre = simulated.frame.to_latlon(truth.x, truth.y)
    crop = simulated.imagery.crop(centre, CELLS * CELL_M, CELL_M).image
    return view[0, 0].numpy(), mask[0, 0].numpy() > 0, crop.mean(axis=2)


def correlation(a, b):
    return float(np.corrcoef(a, b)[0, 1])


def texture(view, cells):
    """`view` less its mean over the 4 m around, so that shadows do not count; (n,) of `cells`."""
    weight = cells.astype(np.float64)
    mean = cv2.blur(view * weight, (17, 17)) / np.maximum(cv2.blur(weight, (17, 17)), 1e-6)
    return (view - mean)[cells]


def road_cells(simulated, difficulty, frame):
    """Plain asphalt (no marking within 0.5 m) among the cells of `overhead_pair`."""
    world = build_world(SEED, difficulty, route_length(FRAMES, RATE))
    plain = cv2.erode((world.ground.classes == Ground.ASPHALT).astype(np.uint8), np.ones((11, 11)))
    truth = simulated.truths[frame]
    xy = overhead_xy(CELLS, CELL_M).numpy().reshape(-1, 2)
    places = simulated.frame.to_latlon_array(xy[:, 0] + truth.x, xy[:, 1] + truth.y)
    points = np.stack(LocalFrame(world.datum).to_xy_array(*places), axis=1)
    column, row = np.floor((points - world.ground.origin) / 0.1).astype(int).T
    return plain[row, column].reshape(CELLS, CELLS) > 0


def test_what_the_street_shows_lies_where_the_imagery_shows_it(drives):
    here, beside = [], []
    for frame in range(FRAMES):
        view, mask, crop = overhead_pair(drives[0]["easy"], frame)
        here.append(correlation(view[mask], crop[mask]))
        beside.append(max(correlation(view[mask], np.roll(crop, 8, axis)[mask]) for axis in (0, 1)))
    assert np.median(here) > 0.5
    assert np.median(here) > np.median(beside) + 0.1


def test_asphalt_shares_its_texture_in_easy_and_only_there(drives):
    shared = {}
    for difficulty, simulated in drives[0].items():
        values = []
        for frame in range(FRAMES):
            view, mask, crop = overhead_pair(simulated, frame)
            cells = mask & road_cells(simulated, difficulty, frame)
            values.append(correlation(texture(view, cells), texture(crop, cells)))
        shared[difficulty] = np.median(values)
    assert shared["easy"] > 0.3
    assert abs(shared["kitti"]) < 0.25


def test_records_hold_the_exact_motion(drives):
    simulated = drives[0]["kitti"]
    world = build_world(SEED, "kitti", route_length(FRAMES, RATE))
    motion, frame = draw_motion(world), LocalFrame(world.datum)
    for i in range(FRAMES):
        expected = motion.position(i / RATE)
        assert frame.to_xy(simulated.drive.latlon(i)) == pytest.approx(expected[:2], abs=1e-4)
        assert simulated.drive.yaw(i) == pytest.approx(motion.attitude(i / RATE)[2], abs=1e-9)


def test_it_reads_back_as_a_kitti_drive_with_kittis_camera(drives):
    drive = drives[0]["kitti"].drive
    assert drive.frames == tuple(range(FRAMES))
    assert drive.image(0).shape == (375, 1242, 3)
    assert drive.camera.K[0, 0] == pytest.approx(721.5377)
    assert drive.camera.ground_height == pytest.approx(1.65, abs=0.03)


def test_the_ground_ahead_is_seen_from_the_height_at_which_the_camera_was_put(tmp_path):
    height, pitch = 2.4, 0.05
    place = ["--camera-translation", "0.6", "0.3", str(height)]
    place += ["--camera-rotation-rpy", "0", str(pitch), "0"]
    command = ["--out", str(tmp_path), "--seed", "3", "--frames", "2", "--difficulty", "easy"]
    assert main([*command, *place]) == 0
    camera = open_drive(tmp_path, 3).drive.camera
    uv, _ = camera.project([[10.6, 0.3, 0.0]])
    down = math.atan2(height, 10.0) - pitch
    assert uv[0] == pytest.approx((609.5593, 172.854 + 721.5377 * math.tan(down)), abs=1e-3)


def test_a_camera_that_no_vehicle_has_is_refused(tmp_path, capsys):
    command = ["--out", str(tmp_path / "out"), "--seed", "3", "--frames", "2"]
    assert main([*command, "--camera-translation", "600", "300", "1900"]) == 1
    assert "millimetres" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize("difficulty", ["easy", "kitti"])
def test_the_imagery_covers_the_papers_picture_around_every_frame(drives, difficulty):
    simulated = drives[0][difficulty]
    for frame in simulated.drive.frames:
        place = simulated.drive.latlon(frame)
        gsd = ground_sample_distance(place.lat, ZOOM)
        assert simulated.imagery.missing(place, SIDE * gsd, gsd) == ()


def test_it_calls_itself_synthetic_and_names_its_preset(drives):
    description = json.loads((drives[1] / "kitti" / "world.json").read_text())
    assert description["synthetic"] is True
    assert (description["difficulty"], description["seed"]) == ("kitti", SEED)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(drives, tmp_path):
    for seed in (SEED, SEED + 1):
        simulate(tmp_path / str(seed), seed, FRAMES, "easy", RATE)
    files = sorted(
        p.relative_to(tmp_path / str(SEED)) for p in (tmp_path / str(SEED)).rglob("*.*g")
    )
    assert len(files) > FRAMES
    for file in files:
        assert (tmp_path / str(SEED) / file).read_bytes() == (
            drives[1] / "easy" / file
        ).read_bytes()
    image = open_drive(tmp_path / str(SEED + 1), SEED + 1).drive.image(0)
    assert not np.array_equal(image, drives[0]["easy"].drive.image(0))


def test_the_slope_stays_within_the_preset():
    world = build_world(SEED, "kitti", 300.0)
    x, y = np.random.default_rng(0).uniform(-300, 300, (2, 2000))
    assert np.hypot(*world.terrain.slope(x, y)).max() <= 0.03 + 1e-9


def test_a_folder_that_holds_something_is_not_overwritten(drives):
    with pytest.raises(FileExistsError, match="easy is not empty"):
        simulate(drives[1] / "easy", SEED, FRAMES, "easy", RATE)


def test_an_unknown_difficulty_is_named():
    with pytest.raises(ValueError, match="easy, kitti, hard, got 'brutal'"):
        build_world(1, "brutal", 100.0)
