# SPDX-License-Identifier: Apache-2.0
"""Real input: a KITTI drive with one image, through bag and node, on a map of the same streets."""

import subprocess
import sys

import numpy as np
import pytest

from g2s_localizer.geometry import LatLon, LocalFrame
from g2s_localizer.kitti import KittiDrive
from g2s_localizer.model import G2SNet, model_config, save_checkpoint
from g2s_localizer.ros.conversions import stamp_ns
from g2s_localizer.tools.tiles.draw import draw_map

DRIVE = "2011_09_26_drive_0005_sync"
TOPICS = (
    "image:=/camera/image_raw",
    "camera_info:=/camera/camera_info",
    "fix:=/gnss/fix",
    "imu:=/imu/data",
)

pytestmark = [pytest.mark.ros, pytest.mark.slow]


@pytest.fixture
def drive(test_data):
    if not (test_data / "kitti_raw").is_dir() or not (test_data / "lanelet2_karlsruhe").is_dir():
        pytest.skip(f"{test_data} has no kitti_raw or no lanelet2_karlsruhe")
    return KittiDrive(test_data / "kitti_raw", DRIVE)


@pytest.fixture
def imagery(test_data, tmp_path):
    """URI of the rendered map of the streets."""
    (osm,) = (test_data / "lanelet2_karlsruhe").glob("*.osm")
    draw_map(osm, "slippy", tmp_path / "tiles", zoom=18)
    return f"slippy:{tmp_path / 'tiles'}"


def tool(name, *arguments):
    command = [sys.executable, "-m", f"g2s_localizer.tools.bags.{name}", *map(str, arguments)]
    subprocess.run(command, check=True, timeout=120, capture_output=True)


def test_the_one_image_of_a_real_drive_gets_one_registration_with_its_prior(
    drive, imagery, test_data, repository, start_node, peer, wait, tmp_path, monkeypatch
):
    # as the launch files do: without the profile a busy machine loses an image of this size
    profile = repository / "config" / "fastdds.xml"
    monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", str(profile))
    # Untrained: what is claimed is the way from file to answer, not the answer.
    save_checkpoint(tmp_path / "untrained.safetensors", G2SNet(model_config()), {})
    checkpoint = str(tmp_path / "untrained.safetensors")
    # The one image comes before the first fix.
    changes = {"imagery.uri": imagery, "checkpoint": checkpoint, "prior.max_wait_s": 2.0}
    start_node(changes, *TOPICS)
    wait(lambda: peer.diagnostics and peer.diagnosis()["state"] == "active", 120)
    root, bag = test_data / "kitti_raw", tmp_path / "bag"
    tool("kitti_to_rosbag2", "--root", root, "--drive", DRIVE, "--out", bag)
    tool("replay_bag", bag, "--rate", 4)
    wait(lambda: peer.registrations)

    (registration,) = peer.registrations
    assert stamp_ns(registration.header) == drive.image_stamps[0]
    np.testing.assert_allclose(registration.camera_matrix, drive.camera.K.ravel(), atol=1e-9)
    assert (registration.image_width, registration.image_height) == (1242, 375)
    place, yaw = drive.pose_at(drive.image_stamps[0])
    frame = LocalFrame(LatLon(registration.datum_latitude, registration.datum_longitude))
    prior = registration.prior.pose
    assert (prior.position.x, prior.position.y) == pytest.approx(frame.to_xy(place), abs=0.01)
    assert 2 * np.arctan2(prior.orientation.z, prior.orientation.w) == pytest.approx(yaw, abs=0.01)
    assert registration.has_pose and "Rendered map" in registration.attribution
