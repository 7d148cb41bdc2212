# SPDX-License-Identifier: Apache-2.0
import os

import cv2
import numpy as np
import pytest

from g2s_localizer.geometry.geodesy import LatLon, LocalFrame, mercator_pixel
from g2s_localizer.imagery import MissingImagery, open_imagery
from g2s_localizer.imagery.sidecar import Sidecar, write_sidecar

FRAME = LocalFrame(LatLon(49.011212, 8.422885))
DRIVE = "2011_09_26/2011_09_26_drive_0005_sync"


def frame(root, number, place, image, raw="."):
    name = f"{number:010d}"
    record = root / raw / DRIVE / "oxts" / "data" / f"{name}.txt"
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(f"{place.lat!r} {place.lon!r} 116.4 0.03 0.01 -1.2\n")
    file = root / "satmap" / DRIVE / f"{name}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), image)
    return file


def flat(value):
    return np.full((1280, 1280, 3), value, np.uint8)


@pytest.fixture()
def drive(tmp_path):
    """Frames 60 m apart to the east, each image of one grey."""
    for number, grey in enumerate((40, 90, 140)):
        frame(tmp_path, number, FRAME.to_latlon(60.0 * number, 0.0), flat(grey))
    return tmp_path


@pytest.mark.parametrize(("east", "grey"), [(-20.0, 40), (29.0, 40), (31.0, 90), (125.0, 140)])
def test_the_nearest_frames_image_is_cropped(drive, east, grey):
    crop = open_imagery(f"satmap:{drive / 'satmap'}").crop(FRAME.to_latlon(east, 0.0), 100.0, 0.2)
    assert (crop.image == grey).all() and crop.image.shape == (500, 500, 3)


def test_a_frame_further_away_serves_where_the_nearest_images_end_is_too_near(tmp_path):
    frame(tmp_path, 0, FRAME.to_latlon(0.0, 0.0), flat(40))
    frame(tmp_path, 1, FRAME.to_latlon(18.0, -60.0), flat(90))
    imagery = open_imagery(f"satmap:{tmp_path / 'satmap'}")
    # 78 m from the first frame and 85 m from the other; an image reaches 125 m to either side.
    assert (imagery.crop(FRAME.to_latlon(78.0, 0.0), 100.0, 0.2).image == 90).all()


def test_a_place_that_no_image_covers_is_missing_and_named(drive):
    imagery = open_imagery(f"satmap:{drive / 'satmap'}")
    place = FRAME.to_latlon(60.0, 90.0)
    with pytest.raises(MissingImagery, match="lacks 1 place.*no frame's image covers it") as error:
        imagery.crop(place, 100.0, 0.2)
    assert imagery.missing(place, 100.0, 0.2) == error.value.tiles
    assert imagery.missing(place, 60.0, 0.2) == ()


@pytest.mark.parametrize(("yaw", "there"), [(0.0, True), (1.5707, True), (0.8, False)])
def test_a_turned_crop_is_missing_where_its_corners_are(drive, yaw, there):
    imagery, place = open_imagery(f"satmap:{drive / 'satmap'}"), FRAME.to_latlon(60.0, 70.0)
    if there:
        assert (imagery.crop(place, 100.0, 0.2, yaw).image == 90).all()
    else:
        with pytest.raises(MissingImagery, match="no frame's image covers it"):
            imagery.crop(place, 100.0, 0.2, yaw)


def test_raw_drives_may_lie_in_raw_data(tmp_path):
    frame(tmp_path, 0, FRAME.datum, flat(70), raw="raw_data")
    crop = open_imagery(str(tmp_path / "satmap")).crop(FRAME.datum, 100.0, 0.2)
    assert (crop.image == 70).all()


def test_real_records_place_the_images(tmp_path, test_data):
    """drive_0005: its frames' places are KITTI's own, its images are painted here."""
    raw = test_data / "kitti_raw"
    (tmp_path / "2011_09_26").symlink_to(raw / "2011_09_26")
    file = tmp_path / "satmap" / DRIVE / "0000000100.png"
    file.parent.mkdir(parents=True)
    cv2.imwrite(str(file), flat(70))
    lat, lon = map(float, (raw / DRIVE / "oxts/data/0000000100.txt").read_text().split()[:2])
    imagery = open_imagery(f"satmap:{tmp_path / 'satmap'}")
    reach = [imagery.missing(LatLon(lat + step, lon), 50.0, 0.2) == () for step in (0, 8e-4, 1e-3)]
    assert reach == [True, True, False]  # 0, 89 and 111 m; an image reaches 125 m


def test_the_middle_of_an_image_is_the_frames_place_and_the_offset_is_taken_out(tmp_path):
    image = flat(0)
    image[640:, 640:] = 200
    frame(tmp_path, 0, FRAME.datum, image)
    write_sidecar(tmp_path / "satmap", Sidecar("© them", offset_east_m=5.0, offset_north_m=-3.0))
    # The corner is shown at the frame's place: it is 5 m west and 3 m north of there.
    crop = open_imagery(f"satmap:{tmp_path / 'satmap'}").crop(FRAME.datum, 60.0, 0.2)
    bright = crop.xy_from_uv(np.argwhere(crop.image[..., 0] > 100)[:, ::-1])
    assert bright.min(axis=0)[0] == pytest.approx(-5.0, abs=0.2)
    assert bright.max(axis=0)[1] == pytest.approx(3.0, abs=0.2)
    assert crop.attribution == "© them"


def test_an_image_that_is_broken_or_of_another_size_is_missing(tmp_path):
    file = frame(tmp_path, 0, FRAME.datum, np.zeros((640, 640, 3), np.uint8))
    imagery = open_imagery(f"satmap:{tmp_path / 'satmap'}")
    with pytest.raises(MissingImagery, match="0000000000.png .640 x 640 pixels, not 1280"):
        imagery.crop(FRAME.datum, 60.0, 0.2)
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(MissingImagery, match="0000000000.png .truncated at 500 bytes"):
        imagery.crop(FRAME.datum, 60.0, 0.2)


@pytest.mark.parametrize(("record", "message"), [("", "not enough"), ("99.0 8.4", "lat must lie")])
def test_a_record_that_is_none_is_named(drive, record, message):
    (drive / DRIVE / "oxts" / "data" / "0000000001.txt").write_text(record)
    with pytest.raises(ValueError, match=f"0000000001.txt is no OXTS record: .*{message}"):
        open_imagery(f"satmap:{drive / 'satmap'}")


def test_an_image_without_a_record_and_a_folder_without_images_are_named(drive):
    (drive / DRIVE / "oxts" / "data" / "0000000001.txt").unlink()
    with pytest.raises(FileNotFoundError, match="0000000001.png has no OXTS record"):
        open_imagery(f"satmap:{drive / 'satmap'}")
    with pytest.raises(ValueError, match="holds no image"):
        open_imagery(f"satmap:{drive / DRIVE}")


def test_records_and_images_meet_in_web_mercator_pixels_of_zoom_19(drive):
    imagery = open_imagery(f"satmap:{drive / 'satmap'}")
    place = mercator_pixel(FRAME.datum.lat, FRAME.datum.lon, 19)
    assert imagery._corners[0] == pytest.approx(np.array(place) - 640.0)


def grain(value=90):
    return np.clip(np.random.default_rng(0).normal(value, 30, (1280, 1280, 3)), 1, 254).astype("u1")


def test_files_that_macos_leaves_are_no_images(drive):
    (drive / "satmap" / DRIVE / "._0000000001.png").write_bytes(b"\0\5\x16\7")
    assert open_imagery(str(drive / "satmap")).levels()[0].parts == 3


def test_transparent_parts_and_collars_of_an_image_are_missing(tmp_path):
    image = np.dstack([grain(), np.full((1280, 1280), 255, np.uint8)])
    image[:, :560, 3] = 0
    frame(tmp_path, 0, FRAME.datum, image)
    imagery = open_imagery(str(tmp_path / "satmap"))
    for east, served in ((0.0, False), (40.0, True)):
        assert (imagery.missing(FRAME.to_latlon(east, 0.0), 60.0, 0.2) == ()) is served
    with pytest.raises(MissingImagery, match="0000000000.png .*is transparent"):
        imagery.crop(FRAME.datum, 60.0, 0.2)
    assert [fault for _, fault in imagery.check()] == ["transparent in part"]


def test_a_collar_in_an_image_is_missing(tmp_path):
    image = grain()
    image[:, :640] = 255
    frame(tmp_path, 0, FRAME.datum, image)
    imagery = open_imagery(str(tmp_path / "satmap"))
    with pytest.raises(MissingImagery, match="one colour, .255, 255, 255.: a collar") as error:
        imagery.crop(FRAME.datum, 60.0, 0.2)
    assert imagery.missing(FRAME.datum, 60.0, 0.2) == error.value.tiles
    assert "a collar" in next(fault for _, fault in imagery.check())


def test_an_image_or_record_that_is_no_regular_file_is_not_waited_for(drive, tmp_path_factory):
    file = drive / "satmap" / DRIVE / "0000000001.png"
    imagery = open_imagery(str(drive / "satmap"))
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(MissingImagery, match="a FIFO, no regular file"):
        imagery.crop(FRAME.to_latlon(60.0, 0.0), 60.0, 0.2)
    secret = tmp_path_factory.mktemp("elsewhere") / "secret"
    secret.write_text("root:x:0:0 8.4")
    record = drive / DRIVE / "oxts" / "data" / "0000000001.txt"
    record.unlink()
    record.symlink_to(secret)
    with pytest.raises(ValueError, match="0000000001.txt is no OXTS record") as error:
        open_imagery(str(drive / "satmap"))
    assert "x:0:0" not in str(error.value)
