# SPDX-License-Identifier: Apache-2.0
import math
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from g2s_localizer.kitti import OXTS_COLUMNS, KittiDrive

DATA = Path(os.environ.get("G2S_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
ROOT = DATA / "kitti_raw"
DATE, DRIVE = "2011_09_26", "2011_09_26_drive_0005_sync"

pytestmark = pytest.mark.skipif(not ROOT.is_dir(), reason=f"no KITTI sample in {ROOT}")


@pytest.fixture
def copy(tmp_path):
    """A copy of the sample whose files a test may break: the drive's folder."""
    shutil.copytree(ROOT / DATE, tmp_path / DATE)
    for entry in tmp_path.rglob("*"):
        entry.chmod(0o755 if entry.is_dir() else 0o644)
    return tmp_path / DATE / DRIVE


def test_a_drive_with_one_image_and_154_poses_loads():
    drive = KittiDrive(ROOT, DRIVE)
    assert (drive.frames, drive.oxts.shape) == ((0,), (154, 30))
    assert len(drive.image_stamps) == len(drive.oxts_stamps) == 154
    assert drive.image(0).shape == (375, 1242, 3)


def test_stamps_keep_their_nanoseconds():
    drive = KittiDrive(ROOT, DRIVE)
    assert drive.image_stamps[0] == 1317042272_345808896
    assert drive.oxts_stamps[0] == 1317042272_349659964


def test_the_suffix_sync_may_be_left_out():
    assert KittiDrive(ROOT, DRIVE.removesuffix("_sync")).name == DRIVE


def test_place_and_heading_are_those_of_the_record():
    drive = KittiDrive(ROOT, DRIVE)
    assert (drive.latlon(0).lat, drive.latlon(0).lon) == (49.011212804408, 8.4228850417969)
    assert drive.yaw(0) == pytest.approx(-1.2219096732051)


def test_the_image_is_rgb():
    sky = KittiDrive(ROOT, DRIVE).image(0)[:60, 560:700].mean(axis=(0, 1))
    assert sky[2] > sky[0]


def test_the_camera_stands_where_kitti_mounted_it():
    x, y, z = KittiDrive(ROOT, DRIVE).camera.T_base_camera[:3, 3]
    assert x == pytest.approx(1.08, abs=0.01)
    assert y == pytest.approx(-0.25, abs=0.01)
    assert z == pytest.approx(1.65, abs=0.02)


def test_the_optical_axes_are_right_down_and_forward():
    axes = KittiDrive(ROOT, DRIVE).camera.T_base_camera[:3, :3]
    assert axes == pytest.approx(np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]]), abs=0.01)


def test_the_camera_is_the_rectified_one():
    camera = KittiDrive(ROOT, DRIVE).camera
    assert (camera.width, camera.height, camera.is_distorted) == (1242, 375, False)
    assert camera.K[[0, 1, 0, 1], [0, 1, 2, 2]].tolist() == [721.5377, 721.5377, 609.5593, 172.854]


def test_the_pose_between_two_records_is_linear_and_at_a_record_exact():
    drive = KittiDrive(ROOT, DRIVE)
    at, yaw = drive.pose_at(int(drive.oxts_stamps[7]))
    assert (at.lat, at.lon, yaw) == pytest.approx(
        (drive.latlon(7).lat, drive.latlon(7).lon, drive.yaw(7)), abs=1e-11
    )
    half = int(drive.oxts_stamps[7:9].mean())
    assert drive.pose_at(half)[0].lat == pytest.approx(drive.oxts[7:9, 0].mean(), abs=1e-10)
    assert drive.pose_at(half)[1] == pytest.approx(drive.oxts[7:9, 5].mean())


def test_the_pose_at_the_first_image_is_carried_back_from_the_records():
    drive = KittiDrive(ROOT, DRIVE)
    place, _ = drive.pose_at(int(drive.image_stamps[0]))
    north = math.radians(place.lat - drive.latlon(0).lat) * 6.37e6
    ahead = (drive.image_stamps[0] - drive.oxts_stamps[0]) * 1e-9
    assert north == pytest.approx(drive.oxts[0, OXTS_COLUMNS.index("vn")] * ahead, abs=0.005)


def test_no_pose_is_invented_far_outside_the_records():
    drive = KittiDrive(ROOT, DRIVE)
    with pytest.raises(ValueError, match="outside the OXTS records of 2011_09_26_drive_0005"):
        drive.pose_at(int(drive.oxts_stamps[-1]) + 10**9)


def test_the_yaw_turns_the_short_way_through_pi(copy):
    for index, yaw in enumerate(("3.1", "-3.1")):
        file = copy / "oxts" / "data" / f"{index:010d}.txt"
        words = file.read_text().split()
        file.write_text(" ".join([*words[:5], yaw, *words[6:]]))
    drive = KittiDrive(copy.parents[1], DRIVE)
    assert abs(drive.pose_at(int(drive.oxts_stamps[:2].mean()))[1]) == pytest.approx(math.pi)


@pytest.mark.parametrize(
    "name",
    [
        "image_02/timestamps.txt",
        "oxts/timestamps.txt",
        "../calib_cam_to_cam.txt",
        "../calib_velo_to_cam.txt",
        "../calib_imu_to_velo.txt",
    ],
)
def test_an_absent_file_is_named(copy, name):
    (copy / name).unlink()
    with pytest.raises(FileNotFoundError, match=Path(name).name):
        _ = KittiDrive(copy.parents[1], DRIVE).camera


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("oxts/data/0000000003.txt", " ", " x ", '0000000003.txt: "x" is no number'),
        ("oxts/data/0000000003.txt", " 4 10 4 4 0", "", "0003.txt: 25 numbers, .* has 30"),
        ("oxts/data/0000000003.txt", " 4 10 4 4 0", " 4 10 4 4 nan", "0003.txt: .*not finite"),
        ("oxts/timestamps.txt", "2011-09-26 13:04:32.459", "noon 32.459", "line 2: .*no timestamp"),
        ("oxts/timestamps.txt", "2011-09-26 13:04:32.459792166\n", "", "154 records, .* 153 lines"),
        ("oxts/timestamps.txt", ":32.459792166", ":31.459792166", "line 2: earlier than"),
        ("../calib_cam_to_cam.txt", "P_rect_02", "P_rect_XX", "calib_cam_to_cam.txt has no .*P_re"),
        ("../calib_velo_to_cam.txt", "R: 7.533745e-03", "R:", "velo_to_cam.txt, R: 8 .* 9"),
    ],
)
def test_a_broken_file_is_named_with_what_is_wrong(copy, name, old, new, said):
    text = (copy / name).read_text()
    assert old in text
    (copy / name).write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=said):
        _ = KittiDrive(copy.parents[1], DRIVE).camera


def test_an_absent_record_is_named(copy):
    (copy / "oxts" / "data" / "0000000005.txt").rename(copy / "oxts" / "data" / "0000000999.txt")
    with pytest.raises(FileNotFoundError, match="0000000005.txt"):
        KittiDrive(copy.parents[1], DRIVE)


def test_an_absent_and_a_truncated_image_are_named(copy):
    drive = KittiDrive(copy.parents[1], DRIVE)
    with pytest.raises(FileNotFoundError, match="no such image: .*0000000001.png"):
        drive.image(1)
    file = copy / "image_02" / "data" / "0000000000.png"
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"0000000000.png"):
        drive.image(0)


def test_an_image_without_a_stamp_is_named(copy):
    images = copy / "image_02" / "data"
    shutil.copy(images / "0000000000.png", images / "0000000154.png")
    with pytest.raises(ValueError, match="0000000154.png has no line among the 154"):
        KittiDrive(copy.parents[1], DRIVE)


def encode_anew(images, suffix):
    """The first image in another format, in place of the PNG."""
    [png] = images.glob("*.png")
    assert cv2.imwrite(str(images / f"0000000000{suffix}"), cv2.imread(str(png)))
    png.unlink()


@pytest.mark.parametrize("suffix", [".jpg", ".JPG", ".jpeg"])
def test_a_drive_of_jpegs_has_its_images(copy, suffix):
    encode_anew(copy / "image_02" / "data", suffix)
    drive = KittiDrive(copy.parents[1], DRIVE)
    assert (drive.frames, drive.image(0).shape) == ((0,), (375, 1242, 3))
    assert np.abs(drive.image(0).astype(int) - KittiDrive(ROOT, DRIVE).image(0)).mean() < 5


def test_an_image_whose_line_is_blank_is_left_out_and_shifts_no_other(copy, caplog):
    file = copy / "image_02" / "timestamps.txt"
    lines = file.read_text().splitlines()
    shutil.copy(copy / "image_02/data/0000000000.png", copy / "image_02/data/0000000003.png")
    file.write_text("\n".join(["", *lines[1:]]) + "\n\n")
    drive = KittiDrive(copy.parents[1], DRIVE)
    assert drive.frames == (3,) and "the first of them is frame 0" in caplog.text
    assert drive.image_stamps[3] == KittiDrive(ROOT, DRIVE).image_stamps[3]


def test_a_record_without_a_stamp_is_named_by_its_line(copy):
    file = copy / "oxts" / "timestamps.txt"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:7], "   ", *lines[8:]]))
    with pytest.raises(ValueError, match="oxts/timestamps.txt, line 8 is blank: its record has no"):
        KittiDrive(copy.parents[1], DRIVE)


def test_files_that_macos_left_are_none_of_the_drive_s(copy):
    for name in ("oxts/data/._0000000000.txt", "image_02/data/._0000000000.png"):
        (copy / name).write_bytes(b"Mac OS X")
    drive = KittiDrive(copy.parents[1], DRIVE)
    assert (drive.frames, len(drive.oxts)) == ((0,), 154)


def test_an_extract_drive_is_refused_with_its_reason(copy):
    extract = DRIVE.replace("_sync", "_extract")
    with pytest.raises(ValueError, match=f"{extract} is not rectified.* take {DRIVE}"):
        KittiDrive(copy.parents[1], extract)
    copy.rename(copy.with_name(extract))
    with pytest.raises(FileNotFoundError, match=f"{DRIVE}; {extract} beside it"):
        KittiDrive(copy.parents[1], DRIVE)


def test_an_image_too_large_to_be_one_is_refused_before_it_is_decoded(copy):
    file = copy / "image_02/data/0000000000.png"
    bomb = bytearray(file.read_bytes())
    bomb[16:24] = (30_000).to_bytes(4, "big") * 2
    file.write_bytes(bomb)
    with pytest.raises(ValueError, match="0000000000.png: 30000 x 30000 pixels by its header"):
        KittiDrive(copy.parents[1], DRIVE).image(0)
