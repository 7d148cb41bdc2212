# SPDX-License-Identifier: Apache-2.0
"""Every bag is read, or a sentence says what is wrong with it."""

import re
import shutil
from dataclasses import fields

import numpy as np
import pytest
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from g2s_localizer.bag_reader import BagReader
from g2s_localizer.tools.bags.kitti_to_rosbag2 import RECORDS

TYPES = get_typestore(Stores.ROS2_JAZZY)
FIX, IMU = "sensor_msgs/msg/NavSatFix", "sensor_msgs/msg/Imu"
STORAGES = [StoragePlugin.MCAP, StoragePlugin.SQLITE3]


def fix(stamp):
    time = TYPES.types["builtin_interfaces/msg/Time"](sec=stamp, nanosec=5)
    return TYPES.types[FIX](
        header=TYPES.types["std_msgs/msg/Header"](stamp=time, frame_id="gnss"),
        status=TYPES.types["sensor_msgs/msg/NavSatStatus"](status=0, service=1),
        latitude=49.0 + stamp, longitude=8.4, altitude=0.0,
        position_covariance=np.eye(3).ravel(), position_covariance_type=2,
    )  # fmt: skip


def write_bag(out, storage=StoragePlugin.MCAP, count=7, compressed=None):
    """A bag of `count` fixes on /fix, logged a second apart."""
    bag = Writer(out, version=9, storage_plugin=storage)
    if compressed:
        bag.set_compression(compressed, CompressionFormat.ZSTD)
    with bag:
        connection = bag.add_connection(
            "/fix", FIX, typestore=TYPES, offered_qos_profiles=[RECORDS]
        )
        for i in range(count):
            bag.write(connection, (i + 1) * 10**9, TYPES.serialize_cdr(fix(i), FIX))
    return out


def latitudes(bag):
    with BagReader(bag) as reader:
        found = list(reader.messages(reader.connections))
        assert reader.message_count == len(found)
        return [reader.deserialize(data, connection).latitude for connection, _, data in found]


def edit(bag, old, new):
    text = (bag / "metadata.yaml").read_text()
    changed = re.sub(old, new, text)
    assert changed != text
    (bag / "metadata.yaml").write_text(changed)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (r"depth: 10", "depth: 3"),
        (r"reliability: reliable", "reliability: best_effort"),
        (r"RIHS01_\w+", "RIHS01_" + 64 * "0"),
        (r"message_count: 7", "message_count: 0"),
        (r"type: sensor_msgs/msg/NavSatFix", "type: sensor_msgs/msg/Imu"),
        (r"nanoseconds_since_epoch: \d+", "nanoseconds_since_epoch: 0"),
    ],
)
def test_a_bag_whose_metadata_says_something_else_than_its_file_is_read(
    tmp_path, storage, old, new
):
    bag = write_bag(tmp_path / "bag", storage)
    edit(bag, old, new)
    assert latitudes(bag) == [49.0 + i for i in range(7)]
    with BagReader(bag) as reader:
        assert reader.start_time == 10**9
        assert reader.end_time - 7 * 10**9 in (0, 1)


@pytest.mark.parametrize("compressed", [CompressionMode.MESSAGE, CompressionMode.FILE])
def test_a_compressed_bag_with_another_quality_of_service_is_read(tmp_path, compressed):
    bag = write_bag(tmp_path / "bag", StoragePlugin.SQLITE3, compressed=compressed)
    edit(bag, "depth: 10", "depth: 3")
    assert len(latitudes(bag)) == 7


@pytest.mark.parametrize("storage", STORAGES)
def test_one_file_of_a_bag_is_a_bag(tmp_path, storage):
    [file] = [f for f in write_bag(tmp_path / "bag", storage).iterdir() if f.suffix != ".yaml"]
    assert latitudes(file) == [49.0 + i for i in range(7)]


def test_a_folder_whose_name_ends_in_bag_is_a_ros_2_bag(tmp_path):
    assert len(latitudes(write_bag(tmp_path / "drive.bag"))) == 7


def test_of_no_topic_there_are_no_messages(tmp_path):
    with BagReader(write_bag(tmp_path / "bag")) as reader:
        assert list(reader.messages([])) == []


def test_messages_between_two_log_times_are_those_alone(tmp_path):
    with BagReader(write_bag(tmp_path / "bag")) as reader:
        found = reader.messages(reader.connections, start=2 * 10**9, stop=4 * 10**9)
        assert [logged for _, logged, _ in found] == [2 * 10**9, 3 * 10**9]


def test_a_ros_1_bag_is_read_with_its_own_definitions(test_data):
    bag = test_data / "bags" / "husky_outdoor_ros1.bag"
    if not bag.is_file():
        pytest.skip(f"no ROS 1 bag at {bag}")
    with BagReader(bag) as reader:
        [connection] = [c for c in reader.connections if c.msgtype == FIX]
        _, _, data = next(reader.messages([connection]))
        names = {field.name for field in fields(reader.deserialize(data, connection).header)}
    assert "seq" in names and reader.is_ros1


def test_bytes_of_another_type_are_refused_by_name(tmp_path):
    with BagReader(write_bag(tmp_path / "bag")) as reader:
        connection = reader.connections[0]
        with pytest.raises(ValueError, match="no sensor_msgs/msg/NavSatFix: "):
            reader.deserialize(b"\0\1\0\0short", connection)


def break_folder(bag, how):
    """Harm a bag in one way; the path to open."""
    file = next(f for f in bag.iterdir() if f.suffix in (".mcap", ".db3"))
    if how == "no metadata":
        (bag / "metadata.yaml").unlink()
    elif how == "cut":
        file.write_bytes(file.read_bytes()[:-200])
    elif how == "empty file":
        file.write_bytes(b"")
    elif how == "no file":
        file.unlink()
    elif how == "unknown storage":
        edit(bag, r"storage_identifier: \w+", "storage_identifier: tape")
    elif how == "no yaml":
        (bag / "metadata.yaml").write_text("rosbag2_bagfile_information: [\n")
    elif how == "other yaml":
        (bag / "metadata.yaml").write_text("5\n")
    elif how == "text":
        shutil.rmtree(bag)
        bag.write_text("no bag")
    elif how == "ros1 text":
        bag = bag.with_suffix(".bag")
        bag.write_text("no bag")
    return bag


HOW = {
    "no metadata": "no metadata.yaml; `ros2 bag reindex .*` writes it; or name the file itself",
    "cut": "is no complete ROS 2 bag: .*Was its recorder killed.*reindex",
    "empty file": "is no complete ROS 2 bag",
    "no file": "is no complete ROS 2 bag: .*(exist|missing|open)",
    "unknown storage": "is no complete ROS 2 bag: .*tape",
    "no yaml": "is no complete ROS 2 bag: .*metadata.yaml",
    "other yaml": "is no complete ROS 2 bag",
    "text": "is no bag: a bag is the folder of metadata.yaml",
    "ros1 text": "is no complete ROS 1 bag",
}


@pytest.mark.parametrize("how", HOW)
def test_what_is_no_whole_bag_is_named_with_the_likely_cause(tmp_path, how):
    bag = break_folder(write_bag(tmp_path / "bag"), how)
    with pytest.raises(ValueError, match=HOW[how]) as raised, BagReader(bag):
        pass
    assert str(bag) in str(raised.value) and "\n" not in str(raised.value)


def test_a_bag_damaged_in_the_middle_is_an_error_that_names_it(tmp_path):
    bag = write_bag(tmp_path / "bag", count=300)
    [file] = bag.glob("*.mcap")
    data = bytearray(file.read_bytes())
    data[2000:2200] = bytes(200)
    file.write_bytes(data)
    with pytest.raises(ValueError, match=f"{bag} is damaged: .* of 300 messages can be read"):
        latitudes(bag)


def test_the_bags_in_a_folder_are_named(tmp_path):
    write_bag(tmp_path / "monday")
    with pytest.raises(ValueError, match="the bags in it are monday"):
        BagReader(tmp_path)
