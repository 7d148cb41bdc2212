# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch

from g2s_localizer.geometry import Camera, Pose2D
from g2s_localizer.model.grid import overhead_xy
from g2s_localizer.model.projection import ground_to_overhead, turn_overhead

K = np.array([[300.0, 0.0, 255.5], [0.0, 300.0, 40.0], [0.0, 0.0, 1.0]])


def forward_camera(pitch: float = 0.0, roll: float = 0.0) -> Camera:
    c, s = math.cos(pitch), math.sin(pitch)
    tilt = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    cr, sr = math.cos(roll), math.sin(roll)
    lean = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    T = np.eye(4)
    T[:3, :3] = tilt @ lean @ np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    T[:3, 3] = 1.1, 0.3, 1.65
    return Camera(K, 512, 160, np.zeros(5), T)


def pixel_ramps(camera: Camera) -> torch.Tensor:
    v, u = torch.meshgrid(torch.arange(camera.height), torch.arange(camera.width), indexing="ij")
    return torch.stack([u, v])[None].float()


def project(camera: Camera, yaw: float, cells: int = 48, cell_m: float = 1.0):
    K = torch.tensor(camera.K, dtype=torch.float32)[None]
    T = torch.tensor(camera.T_base_camera, dtype=torch.float32)[None]
    return ground_to_overhead(
        pixel_ramps(camera), K, T, torch.tensor([yaw], dtype=torch.float32), cells, cell_m
    )


@pytest.mark.parametrize("yaw", [0.0, 0.7, -2.5])
@pytest.mark.parametrize(("pitch", "roll"), [(0.0, 0.0), (0.05, -0.03)])
def test_a_cell_shows_the_pixel_where_camera_projects_it(yaw, pitch, roll):
    camera = forward_camera(pitch, roll)
    view, mask = project(camera, yaw)
    seen = mask[0, 0] > 0
    east_north = overhead_xy(48, 1.0)[seen].numpy()
    base = Pose2D(0, 0, yaw).inverse().transform(east_north)
    uv, _ = camera.project(np.column_stack([base, np.zeros(len(base))]))
    np.testing.assert_allclose(view[0, :, seen].T.numpy(), uv, atol=0.02)


def test_what_lies_ahead_is_seen_and_what_lies_behind_is_not():
    _, mask = project(forward_camera(), yaw=math.pi / 2)
    assert mask[0, 0, :24].sum() > 100
    assert mask[0, 0, 24:].sum() == 0


def test_turning_the_vehicle_by_a_quarter_turns_the_view_by_a_quarter():
    east, seen_east = project(forward_camera(), yaw=0.0)
    north, seen_north = project(forward_camera(), yaw=math.pi / 2)
    both = torch.rot90(seen_east, 1, (2, 3)) * seen_north
    difference = (torch.rot90(east, 1, (2, 3)) - north) * both
    assert both.sum() > 0.95 * seen_east.sum()
    assert difference.abs().max() < 0.02


def test_features_turned_by_a_quarter_are_the_middle_turned_by_a_quarter():
    features = torch.randn(1, 2, 12, 12)
    turned = turn_overhead(features, torch.tensor([math.pi / 2]), 8)
    torch.testing.assert_close(
        turned, torch.rot90(features[..., 2:10, 2:10], 1, (2, 3)), atol=1e-4, rtol=0
    )
