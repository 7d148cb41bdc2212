# SPDX-License-Identifier: Apache-2.0
import dataclasses
import gc
import tracemalloc
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from g2s_localizer.estimator.config import LocalizerConfig
from g2s_localizer.estimator.estimate import UNKNOWN_VARIANCE, Observation, Prior, Rejection
from g2s_localizer.estimator.gate import GateConfig, long_axis
from g2s_localizer.estimator.localizer import SNAP_M, Localizer
from g2s_localizer.geometry import Camera, LatLon, LocalFrame, Panorama, Pose2D
from g2s_localizer.geometry.geodesy import mercator_pixel
from g2s_localizer.geometry.pose import rotate_covariance
from g2s_localizer.imagery import open_imagery
from g2s_localizer.imagery.sidecar import Sidecar, write_sidecar
from g2s_localizer.model import G2SNet, build_network, model_config, save_checkpoint
from g2s_localizer.model.checkpoint import CheckpointError

PLACE = LatLon(49.01, 8.42)
TINY = model_config(
    width=4, levels=3, features=4, crop_m=48.0, reach_m=12.0, gsd=0.5, ground_height=64,
    ground_width=128,
)  # fmt: skip
CAMERA = Camera(
    np.array([[80.0, 0, 63.5], [0, 80.0, 30.0], [0, 0, 1]]),
    128,
    96,
    np.zeros(5),
    np.array([[0, 0, 1, 1.0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1.0]]),
)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("localizer")
    px, py = mercator_pixel(PLACE.lat, PLACE.lon, 19)
    x, y = int(px // 256), int(py // 256)
    rng = np.random.default_rng(0)
    for column in range(x - 1, x + 2):
        (folder / f"19/{column}").mkdir(parents=True)
        for row in range(y - 1, y + 2):
            tile = rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)
            cv2.imwrite(str(folder / f"19/{column}/{row}.png"), tile)
    torch.manual_seed(0)
    checkpoint = folder / "tiny.safetensors"
    save_checkpoint(checkpoint, G2SNet(TINY), {})
    wide_open = GateConfig(max_ellipse_m=1e3, max_innovation=1e3, max_entropy=1, max_peak_ratio=1)
    return LocalizerConfig(f"slippy:{folder}", str(checkpoint), gate=wide_open)


@pytest.fixture(scope="module")
def localizer(config):
    return Localizer.from_config(config)


def test_a_checkpoint_that_is_not_the_pinned_one_makes_no_localizer(config):
    with pytest.raises(CheckpointError, match="not the pinned 00"):
        Localizer.from_config(dataclasses.replace(config, checkpoint_sha256="00" * 32))


NOISE = np.random.default_rng(1).integers(0, 256, (96, 128, 3), dtype=np.uint8)


def observation(x=0.0, y=0.0, sigma=1.0, image=None, yaw=0.4, yaw_sigma=0.1) -> Observation:
    image = NOISE if image is None else image
    covariance = np.diag([sigma**2, sigma**2, yaw_sigma**2])
    prior = Prior(7, Pose2D(x, y, yaw), covariance, LocalFrame(PLACE))
    return Observation(7, image, CAMERA, prior)


def test_the_estimate_lies_in_the_search_window_and_carries_the_images_stamp(localizer):
    estimate = localizer.localize(observation(3.0, -2.5))
    assert estimate.stamp_ns == 7
    assert abs(estimate.pose.x - 4.0) <= TINY.search_m
    assert abs(estimate.pose.y + 4.0) <= TINY.search_m
    assert estimate.crop.centre == LocalFrame(PLACE).to_latlon(4.0, -4.0)


def on_the_grid(place, west_m):
    """A frame whose datum lies `west_m` (m) west of `place`, which is on its grid of crops."""
    datum = LocalFrame(place).to_latlon(-west_m, 0.0)
    for _ in range(4):
        xy = np.array(LocalFrame(datum).to_xy(place))
        datum = LocalFrame(datum).to_latlon(*(xy - SNAP_M * np.round(xy / SNAP_M)))
    return LocalFrame(datum)


def test_a_far_datum_turns_the_pose_with_the_plane_and_moves_nothing(localizer):
    here, far = LocalFrame(PLACE), on_the_grid(PLACE, 80_000.0)
    seen = observation(0.0, 0.0, sigma=2.0)
    turn = far.convergence(PLACE)
    pose = Pose2D(*far.to_xy(PLACE), seen.prior.pose.yaw + turn)
    covariance = rotate_covariance(seen.prior.covariance, turn)
    near = localizer.localize(seen)
    moved = localizer.localize(dataclasses.replace(seen, prior=Prior(7, pose, covariance, far)))
    assert abs(turn) > 0.01
    assert here.to_xy(far.to_latlon(moved.pose.x, moved.pose.y)) == pytest.approx(
        (near.pose.x, near.pose.y), abs=0.01
    )
    assert moved.pose.yaw - turn == pytest.approx(near.pose.yaw, abs=1e-3)
    expected = rotate_covariance(near.covariance, turn)
    np.testing.assert_allclose(moved.covariance, expected, rtol=0.02, atol=1e-3)


def test_the_same_observation_gives_the_same_estimate(localizer):
    first, second = localizer.localize(observation()), localizer.localize(observation())
    assert first.pose == second.pose
    np.testing.assert_array_equal(first.covariance, second.covariance)
    np.testing.assert_array_equal(
        first.score_grid.log_probability, second.score_grid.log_probability
    )


def test_only_numpy_leaves_the_estimator(localizer):
    estimate = localizer.localize(observation())
    assert isinstance(estimate.covariance, np.ndarray)
    assert isinstance(estimate.score_grid.log_probability, np.ndarray)
    assert not any(isinstance(value, torch.Tensor) for value in vars(estimate).values())


def test_the_covariance_never_falls_below_the_imagerys_own_error(localizer):
    covariance = localizer.localize(observation()).covariance
    assert np.linalg.eigvalsh(covariance[:2, :2]).min() >= 0.3**2
    assert covariance[2, 2] > 0


def test_places_that_the_gate_would_refuse_do_not_widen_the_ellipse(config):
    tight = dataclasses.replace(config, gate=dataclasses.replace(config.gate, max_innovation=3.0))
    # an untrained network's score map is flat: everything within the region is a rival
    near, far = (
        Localizer.from_config(tight).localize(observation(sigma=sigma)) for sigma in (1.0, 4.0)
    )
    assert near.pose == far.pose
    extent = [long_axis(estimate.covariance) for estimate in (near, far)]
    assert extent[0] < 0.7 * extent[1]


def test_a_prior_without_any_spread_is_no_trouble(localizer):
    assert localizer.localize(observation(sigma=0.0)).covariance is not None


def test_the_larger_of_the_imagerys_own_sigma_and_the_configured_one_is_the_floor(config):
    folder = Path(config.imagery.removeprefix("slippy:"))
    floors = []
    for stated in (0.1, 2.0):
        write_sidecar(folder, Sidecar(georeferencing_sigma_m=stated))
        covariance = Localizer.from_config(config).localize(observation()).covariance
        floors.append(np.linalg.eigvalsh(covariance[:2, :2]).min())
    (folder / "imagery.json").unlink()
    assert floors[1] - floors[0] == pytest.approx(2.0**2 - 0.3**2)


@pytest.mark.parametrize(
    ("changes", "rejection", "detail"),
    [
        ({"sigma": 9.0}, Rejection.UNCERTAIN_PRIOR, "18.0 m, the search window 10.0 m"),
        ({"yaw_sigma": 0.5}, Rejection.UNCERTAIN_PRIOR, "57.3 degrees, the search window 12.0"),
        ({"x": 5000.0}, Rejection.NO_IMAGERY, "19/"),
        ({"image": np.zeros((96, 128, 3), np.uint8)}, Rejection.BAD_IMAGE, "deviation"),
    ],
)
def test_expected_trouble_is_a_named_rejection_without_a_pose(
    localizer, changes, rejection, detail
):
    estimate = localizer.localize(observation(**changes))
    assert estimate.rejection is rejection and estimate.pose is None
    assert detail in estimate.detail
    assert localizer.localize(observation()).pose is not None


def test_a_heading_that_nobody_knows_is_looked_for_all_around(config, tmp_path):
    values = {**vars(TINY), "preset": "lift", "yaw_step_deg": 6.0}
    checkpoint = tmp_path / "lift.safetensors"
    torch.manual_seed(0)
    save_checkpoint(checkpoint, build_network(model_config(**values)), {})
    lift = Localizer.from_config(dataclasses.replace(config, checkpoint=str(checkpoint)))
    known, opposite = (
        lift.localize(observation(yaw=yaw, yaw_sigma=2.0)).pose for yaw in (0.4, 0.4 + np.pi)
    )
    assert (known.x, known.y) == pytest.approx((opposite.x, opposite.y), abs=1e-3)
    assert np.cos(known.yaw - opposite.yaw) == pytest.approx(1.0, abs=1e-6)


def test_bf16_finds_what_fp32_finds(config, localizer):
    reduced = Localizer.from_config(dataclasses.replace(config, precision="bf16"))
    full, half = (one.localize(observation()).score_grid for one in (localizer, reduced))
    assert half.log_probability.dtype == np.float32
    np.testing.assert_allclose(half.log_probability, full.log_probability, atol=1.0)


def test_a_precision_that_is_none_is_refused():
    with pytest.raises(ValueError, match="fp32, bf16, fp16, got 'int4'"):
        LocalizerConfig("slippy:x", precision="int4")


def test_a_missing_checkpoint_is_named(config):
    with pytest.raises(ValueError, match="nowhere"):
        Localizer.from_config(LocalizerConfig(config.imagery, "nowhere.safetensors"))


@pytest.fixture(scope="module")
def panoramic(config):
    """A localizer whose network takes panoramas and the heading as it is."""
    model = model_config(
        preset="paper-vigor", crop_m=102.4, gsd=0.8, ground_height=32, ground_width=64, share=True
    )
    torch.manual_seed(0)
    network = build_network(model)
    return Localizer(network, "", open_imagery(config.imagery), config)


def seen_all_around(yaw_sigma=0.02) -> Observation:
    prior = observation(yaw_sigma=yaw_sigma).prior
    return Observation(7, NOISE[:64], Panorama(128, 64, CAMERA.T_base_camera), prior)


def test_a_heading_that_is_not_looked_for_says_nothing(panoramic):
    seen = seen_all_around()
    estimate = panoramic.localize(seen)
    assert estimate.pose.yaw == pytest.approx(seen.prior.pose.yaw)
    assert estimate.covariance[2].tolist() == [0.0, 0.0, UNKNOWN_VARIANCE]
    assert "heading" not in estimate.detail
    refused = panoramic.localize(seen_all_around(yaw_sigma=0.06))
    assert refused.rejection is Rejection.UNCERTAIN_PRIOR and "6.9 degrees" in refused.detail


def test_images_of_another_kind_of_camera_are_refused(panoramic, localizer):
    for one, seen in ((panoramic, observation(yaw_sigma=0.02)), (localizer, seen_all_around())):
        estimate = one.localize(seen)
        assert estimate.rejection is Rejection.NO_CAMERA and "panoramas" in estimate.detail


def test_the_first_image_of_a_panorama_finds_a_network_that_is_warm(panoramic):
    panoramic.warm_up()


def test_what_a_localizer_held_is_free_when_it_is_let_go(config):
    localizer = Localizer.from_config(config)
    localizer.localize(observation())
    held = weakref.ref(localizer), weakref.ref(localizer._cache), weakref.ref(localizer._imagery)
    gc.disable()  # a cycle would wait for the collector, which a quiet node may not run for hours
    del localizer
    freed = [reference() is None for reference in held]
    gc.enable()
    assert freed == [True, True, True]


def test_what_is_kept_along_the_road_stays_below_cache_mb(config):
    localizer = Localizer.from_config(dataclasses.replace(config, cache_mb=1.0))
    for x in range(-40, 41, 4):
        localizer.localize(observation(float(x)))
        assert 0 < localizer._cache.nbytes <= 2**20


@pytest.mark.parametrize("cache_mb", [0.0, -1.0, float("nan")])
def test_a_cache_of_nothing_is_refused(cache_mb):
    with pytest.raises(ValueError, match="cache_mb must be finite and positive"):
        LocalizerConfig("slippy:x", cache_mb=cache_mb)


def test_whether_an_image_is_flat_is_asked_of_few_pixels(localizer):
    image = np.zeros((2160, 3840, 3), np.uint8)
    camera = dataclasses.replace(CAMERA, width=3840, height=2160)
    given = dataclasses.replace(observation(), image=image, camera=camera)
    tracemalloc.start()
    estimate = localizer.localize(given)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert estimate.rejection is Rejection.BAD_IMAGE
    assert peak < image.nbytes / 10


def test_the_threads_that_are_asked_for_are_those_of_every_thread(config):
    before = torch.get_num_threads(), cv2.getNumThreads()
    try:
        for threads in (2, 1):
            Localizer.from_config(dataclasses.replace(config, threads=threads))
            with ThreadPoolExecutor(1) as worker:
                assert worker.submit(torch.get_num_threads).result() == threads
            assert cv2.getNumThreads() == threads
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])
