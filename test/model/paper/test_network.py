# SPDX-License-Identifier: Apache-2.0
"""Laws of PaperNet beside parity with the original: level 0, the cheapest, unless it matters."""

import math

import numpy as np
import pytest
import torch

from g2s_localizer.geometry import Camera, Panorama, Pose2D
from g2s_localizer.model import CameraInput, PaperNet, model_config
from g2s_localizer.model.correlation import correlate
from g2s_localizer.model.paper.network import FeatureRows

K = np.array([[582.9802, 0.0, 496.2420], [0.0, 482.7076, 125.0034], [0.0, 0.0, 1.0]])
T = np.array([[0, 0, 1, 1.1], [-1, 0, 0, -0.3], [0, -1, 0, 1.65], [0, 0, 0, 1.0]])
CAMERA = CameraInput(torch.tensor(K).float()[None], torch.tensor(T).float()[None])
PANORAMA = CameraInput(None, CAMERA.T_base_camera)


def paper_net(**changes):
    torch.manual_seed(0)
    return PaperNet(model_config(**{"preset": "paper-kitti", "level": 0, **changes})).eval()


@pytest.fixture(scope="module")
def network():
    return paper_net()


@pytest.fixture(scope="module")
def images():
    generator = torch.Generator().manual_seed(1)
    ground = torch.randint(256, (1, 3, 256, 1024), generator=generator, dtype=torch.uint8)
    satellite = torch.randint(256, (1, 3, 512, 512), generator=generator, dtype=torch.uint8)
    return ground, satellite


def ramps(network, height, width):
    """A feature map whose channels are its own pixel coordinates."""
    stride = network.config.stride
    v, u = torch.meshgrid(
        torch.arange(height // stride), torch.arange(width // stride), indexing="ij"
    )
    return FeatureRows(torch.stack([u, v])[None].float(), 0, height // stride)


def cell_points(network, cells, yaw):
    """Base coordinates of the cells, by the vehicle's place on cell A // 2 of the whole view."""
    config = network.config
    first = (config.satellite_cells - cells) // 2
    index = np.arange(cells) + first - config.satellite_cells // 2
    east, south = np.meshgrid(index * config.cell_m, index * config.cell_m)
    flat = np.column_stack([east.ravel(), -south.ravel()])
    return np.column_stack([Pose2D(0, 0, yaw).inverse().transform(flat), np.zeros(len(flat))])


@pytest.mark.parametrize("yaw", [0.0, 0.15, -0.1])
def test_a_cell_shows_the_pixel_where_the_camera_projects_it(network, yaw):
    cells = network.config.overhead_cells
    rows = ramps(network, 256, 1024)
    view = network.view(rows, CAMERA, torch.tensor([yaw]), cells)[0].reshape(2, -1).T.numpy()
    points = cell_points(network, cells, yaw)
    uv, depth = Camera(K, 1024, 256, np.zeros(5), T).project(points)
    uv = uv / network.config.stride
    seen = (depth > 0) & (uv >= 0).all(axis=1) & (uv <= [127, 31]).all(axis=1)
    assert seen.sum() > 20
    np.testing.assert_allclose(view[seen], uv[seen], atol=1e-3)
    assert not view[~seen & (np.nan_to_num(uv, nan=-1.0) < [-0.1, -0.1]).any(axis=1)].any()


def test_a_cell_of_a_panorama_shows_the_pixel_where_the_panorama_projects_it():
    network = paper_net(preset="paper-vigor", wrap_panorama=True)
    config, yaw = network.config, 0.4
    uv, _ = network.pixels(
        PANORAMA, torch.tensor([yaw]), config.satellite_cells, ramps(network, 320, 640)
    )
    index = (np.arange(config.satellite_cells) + 0.5 - config.satellite_cells / 2) * config.cell_m
    east, south = np.meshgrid(index, index)
    flat = np.column_stack([east.ravel(), -south.ravel()])
    base = Pose2D(0, 0, yaw).inverse().transform(flat)
    wanted, _ = Panorama(80, 40, T).project(np.column_stack([base, np.zeros(len(base))]))
    # The paper's sampling has no half pixel of the centres.
    np.testing.assert_allclose(uv[0].reshape(-1, 2).numpy(), wanted + 0.5, atol=1e-3)


@pytest.mark.parametrize("wrap", [False, True])
def test_the_panoramas_seam_is_a_gap_in_the_original_and_closed_when_wrapped(wrap):
    network = paper_net(preset="paper-vigor", wrap_panorama=wrap)
    rows = ramps(network, 320, 640)
    rows = FeatureRows(torch.ones_like(rows.features), 0, rows.height)
    view = network.view(rows, PANORAMA, torch.tensor([0.3]), network.config.satellite_cells)
    assert bool((view > 0.999).all()) == wrap


@pytest.mark.parametrize(("preset", "camera"), [("paper-kitti", CAMERA), ("paper-vigor", PANORAMA)])
def test_leaving_out_rows_above_the_ground_changes_nothing(preset, camera, images):
    network = paper_net(preset=preset, level=1)
    ground = images[0][:, :, : network.config.ground_height, : network.config.ground_width]
    ground = torch.nn.functional.pad(ground, (0, 0, 0, network.config.ground_height - 256))
    with torch.inference_mode():
        whole, part = network.encode_ground(ground), network.encode_ground(ground, camera)
        assert part.translation.first > 30
        yaw = torch.tensor([0.1])
        for a, b in zip(
            network.overhead(part, camera, yaw), network.overhead(whole, camera, yaw), strict=True
        ):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_the_same_pair_gives_the_same_registration_in_the_window_of_the_preset(network, images):
    ground, satellite = images
    with torch.inference_mode():
        features = network.encode_satellite(satellite)
    first, second = (network.register(ground, *CAMERA, 0.0, features) for _ in range(2))
    assert first.yaw == second.yaw and first.within[2, 2] > 0
    assert torch.equal(first.score_map.log_probability, second.score_map.log_probability)
    side = network.config.score_cells
    assert first.score_map.log_probability.shape == (side, side)
    assert first.score_map.cell_xy()[0, 0].tolist() == pytest.approx(
        [-network.config.search_m, network.config.search_m]
    )


def test_the_score_does_not_depend_on_the_brightness_of_ground_features(network, images):
    with torch.inference_mode():
        ground = network.encode_ground(images[0], CAMERA)
        view, weight = network.overhead(ground, CAMERA, torch.zeros(1))
        fine = network.encode_satellite(images[1]).fine
        torch.testing.assert_close(
            correlate(3.0 * view, weight, fine), correlate(view, weight, fine), atol=1e-6, rtol=1e-4
        )


def test_gradients_reach_every_layer_that_the_level_uses(images):
    network = paper_net(share=False).train()
    ground, satellite = images
    crops = network.encode_satellite(satellite[..., :512, :512])
    encoded = network.encode_ground(ground, CAMERA)
    residual, _ = network.residual_yaw(encoded, CAMERA, torch.zeros(1), crops)
    view, weight = network.overhead(encoded, CAMERA, residual)
    (correlate(view, weight, crops.fine).amax() + residual.sum()).backward()
    for part in (network.ground_extractor, network.satellite_extractor, network.rotation_extractor):
        assert part.conv0.weight.grad.abs().sum() > 0
    assert network.rotation.head.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"preset": "paper"},
            "preset must be one of compact, lift, paper-kitti",
        ),
        ({"preset": "paper-kitti", "level": 4}, "level must be 0 to 3, got 4"),
        ({"preset": "paper-kitti", "level": 3}, "level 3 has no rotation regressor"),
        ({"preset": "paper-vigor", "width": 8}, "width is no field of the preset paper-vigor"),
        ({"share": True}, "share is no field of the preset compact"),
    ],
)
def test_a_configuration_that_makes_no_network_is_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=message):
        model_config(**changes)


def test_the_window_of_positions_holds_the_priors_of_the_papers_protocol():
    config = model_config(preset="paper-kitti")
    assert (config.satellite_cells, config.overhead_cells, config.score_cells) == (128, 51, 76)
    assert config.search_m > 20 * math.sqrt(2)
