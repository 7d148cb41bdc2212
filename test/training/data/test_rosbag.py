# SPDX-License-Identifier: Apache-2.0
"""A bag that g2s-kitti-to-rosbag2 made of a simulated drive is the drive once more."""

import json
import math
import pickle
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import StoragePlugin
from torch.utils.data import DataLoader

from g2s_localizer.geometry import LatLon
from g2s_localizer.kitti import KittiDrive
from g2s_localizer.messages import stamp_ns
from g2s_localizer.tools.bags.kitti_to_rosbag2 import convert
from g2s_localizer.tools.bags.new_bag import jazzy_types, new_bag
from training.data.crops import ProcessImagery
from training.data.kitti import KittiDataset
from training.data.recording import Recording
from training.data.rosbag import BagConfig, RosbagDataset, _agreeing_fixes
from training.data.sample import Sample, collate

CONFIG = BagConfig(
    camera_translation=(1.0805, -0.2500, 1.6593), camera_rpy=(-0.00426, -0.00841, 0.00103)
)
"""As in config/localizer.yaml: KITTI's camera."""


@pytest.fixture(scope="module")
def drive(simulated):
    return KittiDrive(simulated, json.loads((simulated / "world.json").read_text())["drive"])


@pytest.fixture(scope="module")
def imagery(simulated):
    return ProcessImagery(f"slippy:{simulated / 'imagery'}")


@pytest.fixture(scope="module", params=["mcap", "sqlite3"])
def bag(request, drive, tmp_path_factory):
    out = tmp_path_factory.mktemp("bags") / request.param
    convert(drive, out, StoragePlugin[request.param.upper()])
    return out


@pytest.fixture
def listed(simulated, drive, imagery, tiny, tmp_path):
    """The same drive by the KITTI route, its labels without noise."""
    file = tmp_path / "list.txt"
    file.write_text("".join(f"2011_09_26/{drive.name}/{i:010d}.png 0 0 0\n" for i in drive.frames))
    return KittiDataset(simulated, file, imagery, tiny)


def place(dataset, pose):
    return dataset.drives[0].frame.to_latlon(pose.x, pose.y)


def test_a_bag_gives_the_samples_of_the_drive(bag, listed, imagery, tiny):
    recorded = RosbagDataset([bag], imagery, tiny, CONFIG)
    assert len(recorded) == len(listed) == 5
    for ours, theirs in zip(*([d[i] for i in range(5)] for d in (recorded, listed)), strict=True):
        assert torch.equal(ours.ground, theirs.ground)
        torch.testing.assert_close(ours.K, theirs.K)
        torch.testing.assert_close(ours.T_base_camera, theirs.T_base_camera, atol=2e-4, rtol=0)
        # 4 ms after the last record the node holds its heading, KITTI's route turns it on.
        assert ours.yaw == pytest.approx(theirs.yaw, abs=1e-6 if ours.index < 4 else 1e-3)
        assert (ours.satellite.int() - theirs.satellite.int()).abs().max() <= 6


def test_without_noise_a_label_is_the_true_pose_to_five_centimetres(bag, listed, imagery, tiny):
    recorded = RosbagDataset([bag], imagery, tiny, CONFIG)
    for label, truth, known in zip(recorded.labels, recorded.truths, listed.truths, strict=True):
        assert (label.x, label.y) == pytest.approx((truth.x, truth.y), abs=0.05)
        found, expected = place(recorded, truth), place(listed, known)
        assert (found.lat, found.lon) == pytest.approx((expected.lat, expected.lon), abs=1e-7)
        assert truth.yaw == pytest.approx(known.yaw, abs=1e-5)


@pytest.fixture(scope="module")
def noisy(drive, tmp_path_factory):
    out = tmp_path_factory.mktemp("bags") / "noisy"
    convert(drive, out, gnss_noise=5.0, heading_noise=3.0, seed=2)
    return out


def test_labels_are_as_noisy_as_the_recorded_fixes(noisy, imagery, tiny):
    recorded = RosbagDataset([noisy], imagery, tiny, CONFIG)
    with AnyReader([noisy]) as reader:
        fixes = [c for c in reader.connections if c.topic == "/gnss/fix"]
        data = [reader.deserialize(d, c.msgtype) for c, _, d in reader.messages(fixes)]
    label = place(recorded, recorded.labels[1])
    # The image was taken 4 ms after the second of the fixes, half a second before the third.
    assert (label.lat, label.lon) == pytest.approx((data[1].latitude, data[1].longitude), abs=2e-6)


def test_noise_of_the_fixes_does_not_reach_the_truth(noisy, listed, imagery, tiny):
    recorded = RosbagDataset([noisy], imagery, tiny, CONFIG)
    for label, truth, known in zip(recorded.labels, recorded.truths, listed.truths, strict=True):
        found, expected = place(recorded, truth), place(listed, known)
        assert (found.lat, found.lon) == pytest.approx((expected.lat, expected.lon), abs=1e-7)
        assert math.hypot(label.x - truth.x, label.y - truth.y) > 0.5


def test_workers_read_a_bag_in_any_order(bag, imagery, tiny):
    dataset = pickle.loads(pickle.dumps(RosbagDataset([bag], imagery, tiny, CONFIG)))
    loader = DataLoader(dataset, batch_sampler=[[4, 0], [2]], collate_fn=collate, num_workers=2)
    batches = list(loader)
    assert [batch.index.tolist() for batch in batches] == [[4, 0], [2]]
    assert torch.equal(batches[0].ground[1], dataset[0].ground)


def rewritten(bag, out, change, logged=None):
    """A copy of a bag whose messages went through `change(topic, message)`; None drops one.

    logged  the log time of all messages, in place of their own
    """
    store = jazzy_types()
    with AnyReader([bag]) as reader, new_bag(out) as writer:
        connections = {
            c.topic: writer.add_connection(c.topic, c.msgtype, typestore=store)
            for c in reader.connections
        }
        for connection, stamp, data in reader.messages():
            message = change(connection.topic, reader.deserialize(data, connection.msgtype))
            if message is not None:
                raw = store.serialize_cdr(message, connection.msgtype)
                writer.write(connections[connection.topic], logged or stamp, raw)
    return out


@pytest.fixture(scope="module")
def mcap(drive, tmp_path_factory):
    out = tmp_path_factory.mktemp("bags") / "one"
    convert(drive, out)
    return out


def test_images_that_were_logged_at_once_are_told_apart(mcap, imagery, tiny, tmp_path):
    burst = rewritten(mcap, tmp_path / "bag", lambda _, message: message, logged=10**18)
    there, here = (RosbagDataset([bag], imagery, tiny, CONFIG) for bag in (mcap, burst))
    for i in range(5):
        assert torch.equal(here[i].ground, there[i].ground)


def test_without_the_truth_s_topics_nobody_knows_it(mcap, imagery, tiny):
    config = replace(CONFIG, truth_pose="/nothing")
    assert RosbagDataset([mcap], imagery, tiny, config).truths is None


def test_an_image_without_a_prior_is_left_out_and_named(mcap, imagery, tiny, tmp_path, caplog):
    stamps = []

    def early_fixes_only(topic, message):
        if topic == "/gnss/fix":
            stamps.append(message.header.stamp)
        return None if topic == "/gnss/fix" and len(stamps) > 2 else message

    bag = rewritten(mcap, tmp_path / "bag", early_fixes_only)
    dataset = RosbagDataset([bag], imagery, tiny, CONFIG)
    assert len(dataset) + len(dataset.missing) == 5 and len(dataset) >= 3
    assert "too far in time" in dataset.missing[0] and dataset.missing[0] in caplog.text


def test_a_fix_without_a_fix_is_not_used_and_named(mcap, imagery, tiny, tmp_path, caplog):
    def lost(topic, message):
        if topic == "/gnss/fix" and message.header.stamp.nanosec:
            message.status.status = -1
        return message

    RosbagDataset([rewritten(mcap, tmp_path / "bag", lost)], imagery, tiny, CONFIG)
    assert "/gnss/fix at" in caplog.text and "NavSatFix.status is -1" in caplog.text


def test_an_image_that_cannot_be_decoded_is_a_named_skip(mcap, imagery, tiny, tmp_path):
    def depth(topic, message):
        first = topic == "/camera/image_raw" and message.header.stamp.sec % 2
        return replace(message, encoding="32FC1") if first else message

    dataset = RosbagDataset([rewritten(mcap, tmp_path / "bag", depth)], imagery, tiny, CONFIG)
    batch = collate([dataset[i] for i in range(5)])
    assert 0 < len(batch) < 5
    assert "'32FC1' is none of mono8" in batch.skipped[0].reason


def test_odometry_gives_the_heading_as_well(mcap, imagery, tiny, tmp_path):
    config = replace(CONFIG, heading="/odometry")
    dataset = RosbagDataset([mcap], imagery, tiny, config)
    # The recorded odometry starts at zero: it is east of nothing, but its turns are the drive's.
    turned = [p.yaw - t.yaw for p, t in zip(dataset.labels, dataset.truths, strict=True)]
    assert np.ptp(np.unwrap(turned)) == pytest.approx(0.0, abs=0.02)


def test_recorded_odometry_tells_the_motions_of_the_drive(noisy, imagery, tiny):
    config = replace(CONFIG, odometry="/odometry")
    (drive,) = RosbagDataset([noisy], imagery, tiny, config).drives
    true = [a.between(b) for a, b in pairwise(drive.truths)]
    expected = [(m.x, m.y, m.yaw) for m in true]
    np.testing.assert_allclose(drive.motions(), expected, atol=0.03)


def test_an_image_in_a_gap_of_odometry_is_left_out_and_named(mcap, imagery, tiny, tmp_path):
    def gap(topic, message):
        lost = topic == "/odometry" and 1 <= stamp_ns(message.header) / 1e9 - start <= 1.6
        return None if lost else message

    with AnyReader([mcap]) as reader:
        start = reader.start_time / 1e9
    config = replace(CONFIG, odometry="/odometry", max_gap_s=0.55)
    dataset = RosbagDataset([rewritten(mcap, tmp_path / "bag", gap)], imagery, tiny, config)
    assert any(name.endswith("no odometry") for name in dataset.missing)
    assert len(dataset.drives[0].motions()) == len(dataset) - 1


def test_a_bag_without_a_topic_says_what_it_has(mcap, imagery, tiny):
    with pytest.raises(ValueError, match="nothing on /gps; it has .*/gnss/fix .sensor_msgs"):
        RosbagDataset([mcap], imagery, tiny, replace(CONFIG, fix="/gps"))


def test_images_that_are_not_their_camera_s_are_refused(mcap, imagery, tiny, tmp_path):
    def halved(topic, message):
        return replace(message, width=621) if topic == "/camera/camera_info" else message

    with pytest.raises(ValueError, match="says 621 x 375 pixels, the images have .*1242, 375"):
        RosbagDataset([rewritten(mcap, tmp_path / "bag", halved)], imagery, tiny, CONFIG)


def test_a_camera_that_changes_is_refused(mcap, imagery, tiny, tmp_path):
    focal = iter(range(700, 705))

    def zoomed(topic, message):
        if topic != "/camera/camera_info":
            return message
        return replace(message, k=np.array([next(focal), *message.k[1:]]))

    with pytest.raises(ValueError, match="/camera/camera_info changes within the bag: k "):
        RosbagDataset([rewritten(mcap, tmp_path / "bag", zoomed)], imagery, tiny, CONFIG)


def test_a_bag_whose_imagery_is_missing_skips_by_name(mcap, imagery, tiny, simulated, tmp_path):
    shutil.copytree(simulated / "imagery", tmp_path / "tiles")
    dataset = RosbagDataset([mcap], ProcessImagery(f"slippy:{tmp_path / 'tiles'}"), tiny, CONFIG)
    shutil.rmtree(tmp_path / "tiles")
    assert "lacks" in dataset[0].reason


def first_fix_at(lat, lon):
    """A change of a bag: its first fix is at that place instead."""
    seen = []

    def change(topic, message):
        if topic != "/gnss/fix":
            return message
        seen.append(topic)
        return replace(message, latitude=lat, longitude=lon) if len(seen) == 1 else message

    return change


@pytest.mark.parametrize("far", [(0.0, 0.0), (-33.9, 151.2), (49.9, 8.43), (90.0, 0.0)])
def test_a_first_fix_far_from_the_others_is_not_used_and_no_datum(
    mcap, imagery, tiny, tmp_path, caplog, far
):
    bag = rewritten(mcap, tmp_path / "bag", first_fix_at(*far))
    recorded, clean = (RosbagDataset([b], imagery, tiny, CONFIG) for b in (bag, mcap))
    datum = recorded.drives[0].frame.datum
    assert (datum.lat, datum.lon) == pytest.approx((49.0, 8.4), abs=0.2)
    for label, known in zip(recorded.labels[-3:], clean.labels[-3:], strict=True):
        assert place(recorded, label).lat == pytest.approx(place(clean, known).lat, abs=1e-7)
    assert "not used" in caplog.text


def test_fixes_that_are_wrong_for_a_while_are_not_used_either(caplog):
    places = [LatLon(0.1, 0.1)] * 3 + [LatLon(49.0, 8.4)] * 40 + [LatLon(49.9, 8.4)] * 2
    recording = Recording(fixes=[(i * 10**9, p, np.eye(2)) for i, p in enumerate(places)])
    frame, fixes = _agreeing_fixes(Path("bag"), recording, CONFIG)
    assert {fix.place for fix in fixes} == {frame.datum} == {LatLon(49.0, 8.4)}
    assert "5 fixes not used" in caplog.text


def without_stamp(*topics):
    def change(topic, message):
        if topic in topics:
            message.header.stamp.sec = message.header.stamp.nanosec = 0
        return message

    return change


@pytest.mark.parametrize("topic", ["/camera/image_raw", "/gnss/fix", "/imu/data"])
def test_a_topic_without_stamps_is_refused_by_name(mcap, imagery, tiny, tmp_path, topic):
    bag = rewritten(mcap, tmp_path / "bag", without_stamp(topic))
    with pytest.raises(ValueError, match=f"{topic} .*header.stamp is 0: the driver does not fill"):
        RosbagDataset([bag], imagery, tiny, CONFIG)


def test_camera_infos_of_zeros_are_left_out(mcap, imagery, tiny, tmp_path, caplog):
    seen = []

    def uncalibrated(topic, message):
        if topic != "/camera/camera_info" or len(seen) == 2:
            return message
        seen.append(message)
        return replace(message, k=np.zeros(9), p=np.zeros(12))

    bag = rewritten(mcap, tmp_path / "bag", uncalibrated)
    recorded = RosbagDataset([bag], imagery, tiny, CONFIG)
    assert len(recorded) == 5 and "2 messages not used: /camera/camera_info at" in caplog.text


@pytest.mark.parametrize("encoding", ["32FC1", "h264"])
def test_images_that_cannot_be_read_are_said_when_the_bag_is_opened(
    mcap, imagery, tiny, tmp_path, encoding
):
    def other(topic, message):
        return replace(message, encoding=encoding) if topic == "/camera/image_raw" else message

    with pytest.raises(ValueError, match=f"/camera/image_raw: 5 images .*'{encoding}' is none of"):
        RosbagDataset([rewritten(mcap, tmp_path / "bag", other)], imagery, tiny, CONFIG)


def test_a_bag_of_ros_1_gives_the_samples_of_its_camera(test_data, tiny, dot_imagery):
    bag = test_data.parent / "cases" / "ros1_camera_info.bag"
    if not bag.is_file():
        pytest.skip(f"no ROS 1 bag at {bag}")
    dataset = RosbagDataset([bag], dot_imagery(LatLon(49.0, 8.4)), tiny, CONFIG)
    assert len(dataset) == 5
    assert dataset.drives[0].camera.K.tolist() == [[40, 0, 32], [0, 40, 16], [0, 0, 1]]
    assert isinstance(dataset[0], Sample)


@pytest.mark.parametrize(
    "topic", ["/camera/image_raw", "/camera/camera_info", "/gnss/fix", "/imu/data"]
)
def test_a_topic_without_a_message_is_named(mcap, imagery, tiny, tmp_path, topic):
    bag = rewritten(mcap, tmp_path / "bag", lambda name, m: None if name == topic else m)
    with pytest.raises(ValueError, match=topic) as raised:
        RosbagDataset([bag], imagery, tiny, CONFIG)
    assert str(bag) in str(raised.value)


def test_a_topic_of_another_type_is_named_with_the_types_it_may_have(mcap, imagery, tiny):
    with pytest.raises(ValueError, match="/imu/data is of type sensor_msgs/msg/Imu, must be .*Fix"):
        RosbagDataset([mcap], imagery, tiny, replace(CONFIG, fix="/imu/data"))


def test_a_bag_whose_metadata_says_another_quality_of_service_is_read(
    mcap, imagery, tiny, tmp_path
):
    shutil.copytree(mcap, tmp_path / "bag")
    file = tmp_path / "bag" / "metadata.yaml"
    file.write_text(
        file.read_text().replace("depth: 10", "depth: 4").replace("depth: 5", "depth: 4")
    )
    assert len(RosbagDataset([tmp_path / "bag"], imagery, tiny, CONFIG)) == 5


def test_what_is_no_bag_is_an_error_of_one_line(imagery, tiny, tmp_path):
    (tmp_path / "notes.txt").write_text("no bag")
    for path in (tmp_path / "notes.txt", tmp_path, tmp_path / "absent"):
        with pytest.raises((ValueError, FileNotFoundError), match=str(path)) as raised:
            RosbagDataset([path], imagery, tiny, CONFIG)
        assert "\n" not in str(raised.value)


def test_the_truth_is_found_in_a_map_of_any_origin(mcap, imagery, tiny, tmp_path):
    def moved(topic, message):
        if topic == "/truth/pose":
            message.pose.position.x += 431.0
            message.pose.position.y -= 1200.0
        return message

    there, here = (
        RosbagDataset([bag], imagery, tiny, CONFIG)
        for bag in (mcap, rewritten(mcap, tmp_path / "bag", moved))
    )
    for truth, known in zip(here.truths, there.truths, strict=True):
        assert (truth.x, truth.y) == pytest.approx((known.x, known.y), abs=0.01)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"camera_translation": (1.0, 0.0, 0.0)}, "above the road, got z = 0.0"),
        ({"heading_offset": float("nan")}, "heading_offset must be finite, got nan"),
        ({"gnss_default_sigma_m": 0.0}, "gnss_default_sigma_m must be positive, got 0.0"),
    ],
)
def test_a_configuration_out_of_range_is_refused(change, said):
    with pytest.raises(ValueError, match=said):
        replace(CONFIG, **change)
