# SPDX-License-Identifier: Apache-2.0
"""The lift: columns of the image onto the ground."""

import math

import numpy as np
import pytest
import torch

from g2s_localizer.geometry import Camera
from g2s_localizer.model.lift.lift import (
    NEAR_M,
    ColumnLift,
    LiftedColumns,
    columns_to_overhead,
    ground_rows,
    overhead_views,
)

WIDTH, HEIGHT = 64, 32


def forward_camera(pitch_deg=0.0, roll_deg=0.0):
    """1.65 m above the ground, looking ahead, pitched down, rolled."""
    p, r = math.radians(pitch_deg), math.radians(roll_deg)
    R = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    down = np.array([[math.cos(p), 0, math.sin(p)], [0, 1, 0], [-math.sin(p), 0, math.cos(p)]])
    roll = np.array([[math.cos(r), -math.sin(r), 0], [math.sin(r), math.cos(r), 0], [0, 0, 1]])
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = down @ R @ roll, (1.0, 0.2, 1.65)
    K = np.array([[40.0, 0.0, 31.5], [0.0, 40.0, 4.0], [0.0, 0.0, 1.0]])
    return Camera(K, WIDTH, HEIGHT, np.zeros(5), T)


def tensors(camera):
    return torch.tensor(camera.K[None], dtype=torch.float32), torch.tensor(
        camera.T_base_camera[None], dtype=torch.float32
    )


@pytest.mark.parametrize(("pitch", "roll"), [(0.0, 0.0), (4.0, 0.0), (-2.0, 3.0)])
def test_a_point_on_the_ground_is_seen_at_the_row_of_its_column_and_depth(pitch, roll):
    camera = forward_camera(pitch, roll)
    uv, depth = camera.project(np.array([[9.0, 1.5, 0.0]]))
    rows = ground_rows(torch.tensor(depth, dtype=torch.float32), *tensors(camera), WIDTH)[0, 0]
    column = int(uv[0, 0])
    share = uv[0, 0] - column
    row = (1 - share) * rows[column] + share * rows[column + 1]
    assert float(row) == pytest.approx(uv[0, 1], abs=1e-3)


@pytest.mark.parametrize("yaw", [0.0, 0.7, -2.4])
def test_a_mark_in_a_column_appears_where_that_point_lies_in_the_map(yaw):
    camera = forward_camera()
    step, cells, cell = 0.5, 64, 0.5
    ahead, left = 9.0, 1.5
    uv, depth = camera.project(np.array([[ahead, left, 0.0]]))
    columns = torch.zeros(1, 1, 60, WIDTH)
    at_depth, at_column = round((depth[0] - NEAR_M) / step), round(uv[0, 0])
    columns[0, 0, at_depth, at_column - 2 : at_column + 3] = 1.0
    lifted = LiftedColumns(columns, step, *tensors(camera))
    view, _ = columns_to_overhead(lifted, torch.tensor([yaw]), cells, cell)
    row, column = divmod(int(view[0, 0].argmax()), cells)
    east, north = (column - (cells - 1) / 2) * cell, ((cells - 1) / 2 - row) * cell
    x = math.cos(yaw) * ahead - math.sin(yaw) * left
    y = math.sin(yaw) * ahead + math.cos(yaw) * left
    assert (east, north) == pytest.approx((x, y), abs=0.5)


def test_nothing_behind_the_camera_or_beyond_the_circle_is_valid():
    camera = forward_camera()
    lifted = LiftedColumns(torch.ones(1, 1, 200, WIDTH), 0.5, *tensors(camera))
    _, mask = columns_to_overhead(lifted, torch.zeros(1), 64, 0.5)
    assert mask[0, 0, :, :32].sum() == 0
    assert mask[0, 0, 0].sum() == 0


def test_before_training_the_lift_follows_the_ground_plane():
    lift = ColumnLift(2, 2, 1, reach_m=16.0, step_m=0.5)
    torch.nn.init.zeros_(lift.query.weight)
    torch.nn.init.zeros_(lift.query.bias)
    lift.refine, lift.head = torch.nn.Identity(), torch.nn.Identity()
    rows = torch.arange(HEIGHT, dtype=torch.float32)
    features = rows[None, None, :, None].expand(1, 2, HEIGHT, WIDTH)
    K, T = tensors(forward_camera())
    columns, _ = lift(features, K, T)
    expected = ground_rows(lift.depths, K, T, WIDTH)
    seen = expected < HEIGHT - 4
    assert (columns[:, 0] - expected).abs()[seen].max() < 0.2


def test_the_views_of_many_headings_are_those_of_each():
    torch.manual_seed(0)
    K, T = tensors(forward_camera(pitch_deg=2.0))
    lifted = LiftedColumns(torch.randn(1, 5, 24, WIDTH), 1.0, K, T)
    yaws = torch.linspace(-3.0, 3.0, 7)
    views, masks = overhead_views(lifted, yaws, 32, 1.5)
    for yaw, view, mask in zip(yaws, views, masks, strict=True):
        expected, expected_mask = columns_to_overhead(lifted, yaw[None], 32, 1.5)
        assert torch.equal(mask[None], expected_mask) and mask.any()
        torch.testing.assert_close(view[None], expected, atol=1e-6, rtol=1e-6)
