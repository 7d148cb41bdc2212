# SPDX-License-Identifier: Apache-2.0
"""The crop on the ground of the camera image; a blue landmark, so that no drawn line is it."""

import math

import numpy as np
import pytest

from g2s_localizer.estimator.estimate import Estimate, Prior, Rejection
from g2s_localizer.geometry import Camera, LatLon, LocalFrame, Panorama, Pose2D
from g2s_localizer.geometry.mounting import extrinsic_from_parameters
from g2s_localizer.imagery.crop import SatelliteCrop
from g2s_localizer.ros.camera_overlay import MAX_GROUND_M, MAX_WIDTH, draw_camera_overlay
from g2s_localizer.ros.drawing import ACCEPTED_COLOUR, REJECTED_COLOUR

FRAME = LocalFrame(LatLon(49.0, 8.4))
POSE = Pose2D(30_000.0, 20_000.0, 0.7)
CENTRE = FRAME.to_latlon(POSE.x + 3.0, POSE.y - 2.0)
LENSES = [
    ("plumb_bob", [0.0] * 5),
    ("plumb_bob", [-0.25, 0.08, 0.001, -0.001, 0.0]),
    ("rational_polynomial", [0.3, 0.1, 0.0, 0.0, 0.0, 0.5, 0.2, 0.0]),
    ("equidistant", [-0.02, 0.004, 0.0, 0.0]),
]


def camera(model="plumb_bob", distortion=(0.0,) * 5, pitch=0.1, width=640, height=400):
    focal = 0.6 * width
    K = [[focal, 0, width / 2 - 0.5], [0, focal, height / 2 - 0.5], [0, 0, 1]]
    T = extrinsic_from_parameters((1.2, -0.3, 1.7), (0.02, pitch, 0.05))
    return Camera(K, width, height, distortion, T, model)


def crop(landmark_base=None):
    """64 m of 0.1 m, black but for a blue square of 0.5 m at a point of base_link (m)."""
    made = SatelliteCrop(np.zeros((640, 640, 3), np.uint8), CENTRE, 0.1, "")
    if landmark_base is not None:
        east, north = LocalFrame(CENTRE).to_xy(FRAME.to_latlon(*POSE.transform(landmark_base)[0]))
        u, v = made.uv_from_xy((east, north))[0].round().astype(int)
        made.image[v - 2 : v + 3, u - 2 : u + 3] = 0, 0, 255
    return made


def drawn(camera, crop, image=None, rejection=None):
    if image is None:
        image = np.zeros((camera.height, camera.width, 3), np.uint8)
    prior = Prior(0, POSE, np.eye(3), FRAME)
    return draw_camera_overlay(
        Estimate(0, prior, POSE, np.eye(3), rejection, crop=crop), image, camera
    )


def blue(picture):
    """Where the landmark is seen: the middle of its pixels (u, v)."""
    rows, columns = np.nonzero((picture[..., 2] > 64) & (picture[..., :2] < 20).all(axis=2))
    return columns.mean(), rows.mean()


@pytest.mark.parametrize("lens", [*LENSES, None])
@pytest.mark.parametrize("place", [(8.0, 0.5), (11.0, 3.0), (7.0, -2.5)])
def test_a_landmark_of_the_crop_lies_where_the_camera_projects_it(lens, place):
    seen_by = Panorama(960, 480, camera().T_base_camera) if lens is None else camera(*lens)
    expected = seen_by.project([(*place, 0.0)])[0][0]
    assert blue(drawn(seen_by, crop(place))) == pytest.approx(expected, abs=2.0)


def test_a_large_image_is_reduced_and_its_landmark_with_it():
    seen_by = camera(width=2 * MAX_WIDTH, height=1200)
    picture = drawn(seen_by, crop((8.0, 0.0)))
    assert picture.shape == (600, MAX_WIDTH, 3)
    expected = seen_by.scaled(MAX_WIDTH, 600).project([(8.0, 0.0, 0.0)])[0][0]
    assert blue(picture) == pytest.approx(expected, abs=2.0)


def test_another_height_of_the_camera_moves_the_landmark():
    low = camera()
    T = low.T_base_camera.copy()
    T[2, 3] += 0.3
    high = Camera(low.K, low.width, low.height, low.distortion, T)
    rows = [blue(drawn(seen_by, crop((8.0, 0.0))))[1] for seen_by in (low, high)]
    assert rows[1] - rows[0] > 8.0


@pytest.mark.parametrize("lens", LENSES)
@pytest.mark.parametrize("rejection", [None, Rejection.WIDE_ELLIPSE])
def test_nothing_above_the_horizon_is_touched(lens, rejection):
    seen_by = camera(*lens)
    image = np.random.default_rng(0).integers(0, 256, (400, 640, 3), dtype=np.uint8)
    changed = (drawn(seen_by, crop(), image, rejection) != image).any(axis=2)
    angles = np.linspace(-0.6, 0.6, 200)
    horizon = np.stack([np.cos(angles), np.sin(angles), np.zeros(200)], axis=1) * 1e6
    uv, _ = seen_by.project(horizon)
    for u, v in uv[(uv[:, 0] > 0) & (uv[:, 0] < 639) & (uv[:, 1] > 1)]:
        assert not changed[: int(v), round(u)].any()
    assert changed[300].mean() > 0.9


def test_beyond_its_reach_and_beyond_the_crop_the_image_stays():
    seen_by = camera()
    image = np.full((400, 640, 3), 200, np.uint8)
    picture = drawn(seen_by, crop(), image)
    (u, beyond), (_, within) = seen_by.project([(MAX_GROUND_M + 1, 0, 0), (25.0, 0, 0)])[0].round()
    assert (picture[int(beyond), int(u)] == 200).all()
    assert (picture[int(within), int(u)] == 100).all()
    small = SatelliteCrop(np.zeros((20, 20, 3), np.uint8), CENTRE, 0.1, "")
    assert (picture[int(within)] != drawn(seen_by, small, image)[int(within)]).any()


def test_the_crop_covers_the_ground_by_half():
    image = np.full((400, 640, 3), (200, 100, 51), np.uint8)
    assert tuple(drawn(camera(), crop(), image)[330, 100]) == (100, 50, 25)


@pytest.mark.parametrize(
    ("rejection", "colour", "other"),
    [
        (None, ACCEPTED_COLOUR, REJECTED_COLOUR),
        (Rejection.FLAT_SCORE, REJECTED_COLOUR, ACCEPTED_COLOUR),
    ],
)
def test_the_colours_say_whether_the_pose_was_accepted(rejection, colour, other):
    picture = drawn(camera(), crop(), rejection=rejection)
    assert (picture == colour).all(axis=2).any() and not (picture == other).all(axis=2).any()


def test_a_camera_that_sees_no_ground_near_keeps_its_image():
    up = camera(pitch=-math.pi / 3)
    image = np.full((400, 640, 3), 9, np.uint8)
    assert (drawn(up, crop(), image) == image).all()


def test_an_estimate_without_a_pose_cannot_be_drawn():
    estimate = Estimate(0, rejection=Rejection.NO_PRIOR)
    with pytest.raises(ValueError, match="without a pose"):
        draw_camera_overlay(estimate, np.zeros((400, 640, 3), np.uint8), camera())
