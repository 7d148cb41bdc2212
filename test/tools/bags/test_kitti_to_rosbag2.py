# SPDX-License-Identifier: Apache-2.0
import math
import os
import shutil
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from rosbags.highlevel import AnyReader
from rosbags.interfaces import QosDurability, QosReliability
from rosbags.rosbag2 import Reader

from g2s_localizer.geometry.geodesy import LatLon, LocalFrame
from g2s_localizer.geometry.mounting import matrix_from_rpy
from g2s_localizer.geometry.pose import wrap_angle
from g2s_localizer.kitti import KittiDrive
from g2s_localizer.tools.bags.kitti_to_rosbag2 import main
from g2s_localizer.vehicle import VehicleConfig

DATA = Path(os.environ.get("G2S_TEST_DATA", Path(__file__).parents[4] / "shared" / "data"))
ROOT = DATA / "kitti_raw"
DRIVE = "2011_09_26_drive_0005_sync"

pytestmark = pytest.mark.skipif(not ROOT.is_dir(), reason=f"no KITTI sample in {ROOT}")


def convert(out, *options):
    return main(["--root", str(ROOT), "--drive", DRIVE, "--out", str(out), *options])


def read(bag):
    """Topic -> [(bag stamp, message)]."""
    messages = defaultdict(list)
    with AnyReader([bag]) as reader:
        for connection, stamp, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            messages[connection.topic].append((stamp, message))
    return messages


def stamp_of(message):
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def yaw_of(q):
    return math.atan2(2 * (q.w * q.z + q.x * q.y), 1 - 2 * (q.y * q.y + q.z * q.z))


@pytest.fixture(scope="module")
def drive():
    return KittiDrive(ROOT, DRIVE)


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    out = tmp_path_factory.mktemp("bags") / "exact"
    assert convert(out, "--odometry-noise", "0") == 0
    return out


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    out = tmp_path_factory.mktemp("bags") / "noisy"
    options = ("--gnss-noise", "10", "--heading-noise", "3", "--seed", "4", "--odometry-noise", "0")
    assert convert(out, *options, "--storage", "sqlite3") == 0
    return out


def test_the_bag_holds_the_one_image_and_all_records(exact):
    counts = {topic: len(messages) for topic, messages in read(exact).items()}
    records = dict.fromkeys(["/gnss/fix", "/imu/data", "/odometry", "/tf", "/truth/fix"], 154)
    once = dict.fromkeys(["/camera/image_raw", "/camera/camera_info", "/tf_static"], 1)
    # The first image was taken before the first record: it gets a truth of its own.
    assert counts == {**records, **once, "/truth/pose": 155}


def test_the_bag_is_in_time_order_and_each_stamp_is_the_data_s_own(exact, drive):
    with AnyReader([exact]) as reader:
        stamps = [stamp for _, stamp, _ in reader.messages()]
    assert stamps == sorted(stamps)
    messages = read(exact)
    assert [stamp_of(m) for _, m in messages["/gnss/fix"]] == drive.oxts_stamps.tolist()
    assert stamp_of(messages["/camera/image_raw"][0][1]) == drive.image_stamps[0]
    assert all(stamp == stamp_of(m) for stamp, m in messages["/imu/data"])


def test_the_image_and_its_camera_are_the_drive_s(exact, drive):
    messages = read(exact)
    image, info = messages["/camera/image_raw"][0][1], messages["/camera/camera_info"][0][1]
    assert (image.encoding, image.step, image.header.frame_id) == (
        "rgb8", 3 * 1242, "camera_color_left",
    )  # fmt: skip
    assert np.array_equal(image.data.reshape(375, 1242, 3), drive.image(0))
    assert np.array_equal(info.k.reshape(3, 3), drive.camera.K)
    assert (info.width, info.height, stamp_of(info)) == (1242, 375, stamp_of(image))


def test_without_noise_the_fix_is_the_record_to_the_bit(exact, drive):
    fixes = [m for _, m in read(exact)["/gnss/fix"]]
    found = np.array([(m.latitude, m.longitude, m.altitude) for m in fixes])
    assert np.array_equal(found, drive.oxts[:, :3])
    accuracy = drive.oxts[:, 23] ** 2
    assert [m.position_covariance[0] for m in fixes] == pytest.approx(accuracy)


@pytest.mark.parametrize("name", ["exact", "noisy"])
def test_the_truth_is_in_the_node_s_map_whose_origin_is_the_first_fix(request, name, drive):
    messages = read(request.getfixturevalue(name))
    first = messages["/gnss/fix"][0][1]
    frame = LocalFrame(LatLon(first.latitude, first.longitude))
    for stamp, pose in messages["/truth/pose"][1:]:
        record = int(np.flatnonzero(drive.oxts_stamps == stamp)[0])
        expected = frame.to_xy(drive.latlon(record))
        assert (pose.pose.position.x, pose.pose.position.y) == pytest.approx(expected, abs=1e-4)
        assert yaw_of(pose.pose.orientation) == pytest.approx(drive.yaw(record))
        assert pose.header.frame_id == "map"


def test_the_tree_reaches_from_odom_to_the_camera_and_base_link_is_where_odometry_says(exact):
    messages = read(exact)
    static = {t.child_frame_id: t.header.frame_id for t in messages["/tf_static"][0][1].transforms}
    assert static["camera_color_left"] == "base_link"
    for (_, tf), (_, odometry) in zip(messages["/tf"], messages["/odometry"], strict=True):
        [moved] = tf.transforms
        assert (moved.header.frame_id, moved.child_frame_id) == ("odom", "base_link")
        assert repr(moved.header.stamp) == repr(odometry.header.stamp)
        v, p = moved.transform.translation, odometry.pose.pose.position
        assert (v.x, v.y, v.z) == (p.x, p.y, p.z)
        assert repr(moved.transform.rotation) == repr(odometry.pose.pose.orientation)


def test_no_covariance_of_odometry_is_zero(exact):
    for _, odometry in read(exact)["/odometry"]:
        for part in (odometry.pose, odometry.twist):
            assert (np.diag(part.covariance.reshape(6, 6)) > 0).all()


def test_the_static_transforms_rebuild_the_camera(exact, drive):
    (_, message), *none = read(exact)["/tf_static"]
    camera = next(t for t in message.transforms if t.child_frame_id == "camera_color_left")
    v, q = camera.transform.translation, camera.transform.rotation
    T = drive.camera.T_base_camera
    assert (v.x, v.y, v.z) == pytest.approx(tuple(T[:3, 3]))
    optical_axis = (
        2 * (q.x * q.z + q.w * q.y), 2 * (q.y * q.z - q.w * q.x), 1 - 2 * (q.x**2 + q.y**2),
    )  # fmt: skip
    assert optical_axis == pytest.approx(tuple(T[:3, 2]), abs=1e-6)
    assert not none and camera.header.frame_id == "base_link"


def test_dead_reckoning_from_the_twist_ends_near_the_truth(exact, drive):
    # OXTS corrects its positions on the way: they and its speeds part by 3 m in 62 m.
    first, last = (read(exact)["/odometry"][index][1].pose.pose for index in (0, -1))
    assert (first.position.x, first.position.y, yaw_of(first.orientation)) == (0.0, 0.0, 0.0)
    x, y = LocalFrame(drive.latlon(0)).to_xy(drive.latlon(-1))
    true = complex(x, y) * np.exp(-1j * drive.yaw(0))
    assert abs(complex(last.position.x, last.position.y) - true) < 0.05 * abs(true)
    turned = wrap_angle(drive.yaw(-1) - drive.yaw(0))
    assert yaw_of(last.orientation) == pytest.approx(turned, abs=math.radians(1.0))


def test_the_noise_moves_fix_and_heading_alone_and_is_confessed(exact, noisy):
    clean, dirty = read(exact), read(noisy)
    fixes = [m for _, m in dirty["/gnss/fix"]]
    truths = [m for _, m in dirty["/truth/fix"]]
    errors = np.array([[a.latitude - b.latitude for a, b in zip(fixes, truths, strict=True)]])
    assert 1.0 < np.abs(errors).max() * 111_000 <= 20.1
    assert {m.position_covariance[0] for m in fixes} == {100.0}
    assert dirty["/imu/data"][0][1].orientation_covariance[8] == pytest.approx(
        math.radians(3.0) ** 2
    )
    for topic in ("/truth/fix", "/odometry", "/tf"):
        assert repr(dirty[topic]) == repr(clean[topic])


def test_the_heading_noise_is_that_of_the_yaw(noisy, drive):
    yaws = [yaw_of(m.orientation) for _, m in read(noisy)["/imu/data"]]
    errors = [wrap_angle(yaw - drive.yaw(i)) for i, yaw in enumerate(yaws)]
    assert math.radians(0.5) < np.abs(errors).max() <= math.radians(6.0001)


@pytest.mark.parametrize("convention", ["enu", "ned"])
def test_an_imu_of_another_convention_is_read_rightly_by_the_node_s_parameters(
    exact, drive, tmp_path, convention
):
    rpy = (math.pi, 0.1, 1.2)
    options = ["--heading-convention", convention, "--heading-offset", "0.7"]
    options += ["--imu-rotation-rpy", *map(str, rpy)]
    assert convert(tmp_path / "bag", "--odometry-noise", "0", *options) == 0
    vehicle = VehicleConfig(
        (0.0,) * 3, (0.0,) * 3, imu_convention=convention, heading_offset=0.7, imu_rpy=rpy
    )
    clean, turned = read(exact), read(tmp_path / "bag")
    for i, ((_, a), (_, b)) in enumerate(zip(clean["/imu/data"], turned["/imu/data"], strict=True)):
        assert wrap_angle(vehicle.heading_of(b)[0] - drive.yaw(i)) == pytest.approx(0.0, abs=1e-6)
        for field in ("angular_velocity", "linear_acceleration"):
            in_base = matrix_from_rpy(*rpy) @ vector(getattr(b, field))
            assert in_base == pytest.approx(vector(getattr(a, field)))
    assert repr(turned["/odometry"]) == repr(clean["/odometry"])


def vector(v):
    return np.array([v.x, v.y, v.z])


def forward(messages):
    return np.array([m.twist.twist.linear.x for _, m in messages["/odometry"]])


def test_odometry_s_errors_are_those_of_wheels_by_default_and_follow_from_the_seed(exact, tmp_path):
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert convert(tmp_path / name, "--seed", seed) == 0
    one, same, other = (read(tmp_path / name) for name in "abc")
    clean = read(exact)
    assert repr(one["/odometry"]) == repr(same["/odometry"]) != repr(other["/odometry"])
    assert repr(one["/gnss/fix"]) == repr(clean["/gnss/fix"])
    scale = forward(one).sum() / forward(clean).sum()
    assert abs(scale - 1.0) == pytest.approx(0.02, abs=0.003)
    assert np.std(forward(one) - scale * forward(clean)) == pytest.approx(0.05, rel=0.3)


def test_odometry_with_errors_confesses_them(exact, tmp_path):
    assert convert(tmp_path / "bag", "--odometry-noise", "3") == 0
    dirty, clean = read(tmp_path / "bag")["/odometry"], read(exact)["/odometry"]
    for (_, seen), (_, true) in zip(dirty, clean, strict=True):
        for axis, place in (("linear", 0), ("angular", 35)):
            name = "x" if axis == "linear" else "z"
            error = getattr(getattr(seen.twist.twist, axis), name) - getattr(
                getattr(true.twist.twist, axis), name
            )
            assert abs(error) < 4.0 * math.sqrt(seen.twist.covariance[place])
        x, y = (getattr(seen.pose.pose.position, n) - getattr(true.pose.pose.position, n)
                for n in "xy")  # fmt: skip
        assert math.hypot(x, y) < 3.0 * math.sqrt(seen.pose.covariance[0])


@pytest.mark.parametrize("option", ["--gnss-noise", "--heading-noise", "--odometry-noise"])
@pytest.mark.parametrize("value", ["-1", "nan", "inf"])
def test_a_noise_that_is_none_is_refused(tmp_path, capsys, option, value):
    assert convert(tmp_path / "bag", f"{option}={value}") == 1
    assert "must not be negative, got" in capsys.readouterr().err
    assert not (tmp_path / "bag").exists()


def test_a_drive_without_images_is_an_error_and_leaves_no_bag(tmp_path, capsys):
    shutil.copytree(ROOT, tmp_path / "raw", ignore=shutil.ignore_patterns("*.png"))
    arguments = ["--root", str(tmp_path / "raw"), "--drive", DRIVE, "--out"]
    assert main([*arguments, str(tmp_path / "bag")]) == 1
    assert f"{DRIVE} has no image: " in capsys.readouterr().err
    assert not (tmp_path / "bag").exists()


def test_the_offered_qualities_of_service_are_those_of_sensors(exact):
    with Reader(exact) as reader:
        offered = {c.topic: c.ext.offered_qos_profiles[0] for c in reader.connections}
    assert offered["/camera/image_raw"].reliability == QosReliability.BEST_EFFORT
    assert offered["/gnss/fix"].reliability == QosReliability.RELIABLE
    assert offered["/tf_static"].durability == QosDurability.TRANSIENT_LOCAL


def test_an_existing_bag_is_not_touched(exact, capsys):
    before = sorted(exact.iterdir())
    assert convert(exact) == 1
    assert f"{exact} exists already" in capsys.readouterr().err
    assert sorted(exact.iterdir()) == before


def test_a_failure_leaves_no_bag_behind(tmp_path, capsys):
    assert convert(tmp_path / "bag", "--gnss-noise", "-1") == 1
    assert "must not be negative, got -1" in capsys.readouterr().err
    arguments = ["--root", str(ROOT), "--drive", "2011_09_26_drive_9999", "--out"]
    assert main([*arguments, str(tmp_path / "bag")]) == 1
    assert "2011_09_26_drive_9999_sync" in capsys.readouterr().err
    assert not (tmp_path / "bag").exists()


def test_the_summary_is_one_paragraph_with_the_counts(tmp_path, capsys):
    convert(tmp_path / "bag", "--gnss-noise", "7.5")
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert "154 on /gnss/fix" in out and "GNSS noise 7.5 m per axis" in out
