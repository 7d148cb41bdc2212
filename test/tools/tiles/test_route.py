# SPDX-License-Identifier: Apache-2.0
import math
import os
import re
from pathlib import Path

import numpy as np
import pytest
from rosbags import rosbag1
from rosbags.typesys import Stores, get_typestore

from g2s_localizer.geometry.geodesy import LatLon
from g2s_localizer.imagery.fetch.area import route_tiles
from g2s_localizer.kitti import KittiDrive
from g2s_localizer.tools.bags.kitti_to_rosbag2 import RECORDS, main
from g2s_localizer.tools.bags.new_bag import jazzy_types, new_bag
from g2s_localizer.tools.tiles.route import FIX_TYPE, read_route

GPX = """<?xml version="1.0"?>
<gpx xmlns="http://www.topografix.com/GPX/1/1" version="1.1">
  <wpt lat="1" lon="1"/>
  <trk><trkseg><trkpt lat="49.0" lon="8.4"><ele>112</ele></trkpt><trkpt lat="49.1" lon="8.5"/>
  </trkseg><trkseg><trkpt lat="49.2" lon="8.6"/></trkseg></trk>
  <rte><rtept lat="-33.9" lon="18.4"/></rte>
</gpx>"""


def bag(folder, fixes):
    """A bag with one fix of (latitude, longitude, status) after the other."""
    store = jazzy_types()
    stamp = store.types["builtin_interfaces/msg/Time"](0, 0)
    header = store.types["std_msgs/msg/Header"](stamp, "gnss")
    with new_bag(folder) as writer:
        connection = writer.add_connection(
            "/fix", FIX_TYPE, typestore=store, offered_qos_profiles=[RECORDS]
        )
        for i, (lat, lon, valid) in enumerate(fixes):
            status = store.types["sensor_msgs/msg/NavSatStatus"](valid, 1)
            fix = store.types[FIX_TYPE](header, status, lat, lon, 0.0, np.zeros(9), 0)
            writer.write(connection, i, store.serialize_cdr(fix, FIX_TYPE))


def gpx(tmp_path, text):
    file = tmp_path / "route.gpx"
    file.write_text(text)
    return file


def test_a_gpx_file_has_a_line_for_each_segment_and_route(tmp_path):
    assert read_route(gpx(tmp_path, GPX)) == [
        [LatLon(49.0, 8.4), LatLon(49.1, 8.5)],
        [LatLon(49.2, 8.6)],
        [LatLon(-33.9, 18.4)],
    ]


BOMB = '<!DOCTYPE gpx [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GPX.replace("<gpx", BOMB + "<gpx", 1), "it declares a document type"),
        (GPX.replace('lat="49.1"', 'lat="north"'), "line 4: could not convert"),
        (GPX.replace('lat="49.1"', 'lat="99"'), "line 4: LatLon.lat must lie in"),
        (GPX.replace('lat="49.1"', ""), "line 4: 'lat'"),
        (GPX[:200], "is no GPX file: "),
        ("PK zip", "is no GPX file: "),
        ('<?xml version="1.0" encoding="x-1"?><gpx/>', "is no GPX file: line 1: unknown encoding"),
        ("<gpx/>", "holds no track or route"),
    ],
)
def test_what_is_no_gpx_route_is_refused_by_its_place(tmp_path, text, says):
    with pytest.raises(ValueError, match=says) as error:
        read_route(gpx(tmp_path, text))
    assert "route.gpx" in str(error.value)


def track(places):
    points = "".join(f'<trkpt lat="{lat}" lon="{lon}"/>' for lat, lon in places)
    return f"<gpx><trk><trkseg>{points}</trkseg></trk></gpx>"


DENSE = [(49.0 + i * 1e-4, 8.4) for i in range(6)]


@pytest.mark.parametrize("outlier", [(0.0, 0.0), (48.0, 8.4), (49.1, 8.5), (-49.0, -170.0)])
@pytest.mark.parametrize("at", [0, 3, 6])
def test_a_jump_in_a_track_is_no_road(tmp_path, outlier, at):
    lines = read_route(gpx(tmp_path, track([*DENSE[:at], outlier, *DENSE[at:]])))
    tiles = route_tiles(lines, 150.0, 19)
    assert set(route_tiles(read_route(gpx(tmp_path, track(DENSE))), 150.0, 19)) <= set(tiles)
    assert len(tiles) < 300


@pytest.mark.parametrize("step", [1e-4, 0.02, 0.1])
def test_a_drawn_line_of_any_spacing_stays_whole(tmp_path, step):
    places = [(49.0 + i * step, 8.4) for i in range(5)]
    assert [len(line) for line in read_route(gpx(tmp_path, track(places)))] == [5]


def test_a_long_straight_between_dense_bends_stays_whole(tmp_path):
    places = [*DENSE, *((lat + 0.03, lon) for lat, lon in DENSE)]
    assert [len(line) for line in read_route(gpx(tmp_path, track(places)))] == [12]


def test_a_track_of_nothing_but_zeros_is_none(tmp_path):
    with pytest.raises(ValueError, match="holds no track or route"):
        read_route(gpx(tmp_path, track([(0.0, 0.0)] * 3)))


def test_a_bag_has_the_line_of_its_valid_fixes_broken_at_jumps(tmp_path):
    fixes = [(49.0, 8.4, 0), (49.0001, 8.4, -2), (0.0, 0.0, -1), (math.nan, 8.4, 0)]
    fixes += [(49.0002, 8.4, 2), (0.0, 0.0, 0), (91.0, 8.4, 0), (49.1, 8.4, 0), (49.0003, 8.4, 0)]
    bag(tmp_path / "bag", fixes)
    lines = read_route(tmp_path / "bag")
    assert [[place.lat for place in line] for line in lines] == [
        [49.0, 49.0001, 49.0002], [49.1], [49.0003],
    ]  # fmt: skip


def test_the_file_of_a_bag_is_read_as_the_bag(tmp_path):
    bag(tmp_path / "bag", [(49.0, 8.4, 0)])
    file = next((tmp_path / "bag").glob("*.mcap"))
    assert read_route(file) == read_route(tmp_path / "bag") == [[LatLon(49.0, 8.4)]]


def test_fixes_whose_quality_of_service_is_misdeclared_are_found(tmp_path):
    bag(tmp_path / "bag", [(49.0, 8.4, 0)])
    metadata = tmp_path / "bag" / "metadata.yaml"
    text = metadata.read_text()
    changed = re.sub("reliability: reliable", "reliability: best_effort", text)
    assert changed != text
    metadata.write_text(changed)
    assert read_route(tmp_path / "bag") == [[LatLon(49.0, 8.4)]]


def test_a_bag_of_ros_1_is_read(tmp_path):
    store = get_typestore(Stores.ROS1_NOETIC)
    header = store.types["std_msgs/msg/Header"](
        0, store.types["builtin_interfaces/msg/Time"](1, 0), "g"
    )
    status = store.types["sensor_msgs/msg/NavSatStatus"](0, 1)
    fix = store.types[FIX_TYPE](header, status, 49.0, 8.4, 0.0, np.zeros(9), 0)
    with rosbag1.Writer(tmp_path / "old.bag") as writer:
        connection = writer.add_connection("/fix", FIX_TYPE, typestore=store)
        writer.write(connection, 1, store.serialize_ros1(fix, FIX_TYPE))
    assert read_route(tmp_path / "old.bag") == [[LatLon(49.0, 8.4)]]


def test_a_bag_without_fixes_and_a_folder_that_is_no_bag_are_named(tmp_path):
    bag(tmp_path / "bag", [])
    with pytest.raises(ValueError, match="bag holds no fix of type sensor_msgs/msg/NavSatFix"):
        read_route(tmp_path / "bag")
    with pytest.raises(ValueError, match="is no complete ROS 2 bag"):
        read_route(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_route(tmp_path / "nowhere")


def test_a_bag_whose_fixes_are_none_says_how_many_and_why(tmp_path):
    bag(tmp_path / "bag", [(49.0, 8.4, -1), (math.nan, 8.4, 0), (0.0, 0.0, 0)])
    with pytest.raises(ValueError, match="3 messages on /fix, none of them .* -1 .no fix"):
        read_route(tmp_path / "bag")


def test_a_bag_without_its_metadata_says_which_command_writes_them(tmp_path):
    bag(tmp_path / "bag", [(49.0, 8.4, 0)])
    (tmp_path / "bag" / "metadata.yaml").unlink()
    with pytest.raises(ValueError, match="ros2 bag reindex"):
        read_route(tmp_path / "bag")


@pytest.mark.parametrize("name", ["bag.mcap", "bag.db3", "bag.bag", "bag/metadata.yaml"])
@pytest.mark.parametrize(
    "content", [b"", b"\x89MCAP0\r\n" + bytes(50), b"SQLite format 3\0", b"a: ["]
)
def test_whatever_a_bag_is_broken_by_is_a_sentence(tmp_path, name, content):
    (tmp_path / "bag").mkdir()
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match="bag") as error:
        read_route(tmp_path / name.removesuffix("/metadata.yaml"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("key", ["name", "type"])
def test_metadata_of_another_form_are_a_sentence(tmp_path, key):
    bag(tmp_path / "bag", [(49.0, 8.4, 0)])
    metadata = tmp_path / "bag" / "metadata.yaml"
    metadata.write_text(re.sub(rf"\b{key}: .*", f"{key}: [1, 2]", metadata.read_text(), count=1))
    with pytest.raises(ValueError, match="is no complete ROS 2 bag"):
        read_route(tmp_path / "bag")


@pytest.mark.parametrize("name", ["route.gpx", "bag.mcap", "bag.bag", "bag/bag.mcap"])
def test_a_pipe_is_no_route_and_is_not_waited_for(tmp_path, name):
    bag(tmp_path / "bag", [(49.0, 8.4, 0)])
    (tmp_path / "bag" / "bag.mcap").unlink()
    os.mkfifo(tmp_path / name)
    route = tmp_path / name.removesuffix("/bag.mcap")
    with pytest.raises(ValueError, match=f"{Path(name).name} is no regular file"):
        read_route(route)


def test_the_route_of_a_kitti_drive_is_that_of_its_poses(test_data, tmp_path):
    name = "2011_09_26_drive_0005_sync"
    root = str(test_data / "kitti_raw")
    assert main(["--root", root, "--drive", name, "--out", str(tmp_path / "bag")]) == 0
    lines = read_route(tmp_path / "bag")
    assert [len(line) for line in lines] == [154, 154]
    assert lines[0][0] == KittiDrive(test_data / "kitti_raw", name).latlon(0)
