# SPDX-License-Identifier: Apache-2.0
"""A bag that g2s-kitti-to-rosbag2 made of a simulated drive is the drive once more."""

import json
import math
import pickle
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from rosbags.highlevel import AnyReader
from torch.utils.data import DataLoader

from g2s_localizer.geometry import LatLon
from g2s_localizer.kitti import KittiDrive
from g2s_localizer.messages import stamp_ns
from g2s_localizer.tools.bags.kitti_to_rosbag2 import convert
from g2s_localizer.tools.bags.new_bag import jazzy_types, new_bag
from training.data.kitti import KittiDataset
from training.data.process_imagery import ProcessImagery
from training.data.recording import Recording
from training.data.rosbag import BagConfig, RosbagDataset, _agreeing_fixes
from training.data.sample import Sample, collate

CONFIG = BagConfig(
    camera_translation=(1.0805, -0.2500, 1.6593), camera_rpy=(-0.00426, -0.00841, 0.00103)
)
"""As in config/localizer.yaml: KITTI's camera."""

IMAGES, INFOS = "/camera/image_raw", "/camera/camera_info"
STAMP_0 = "{} .*header.stamp is 0: the driver does not fill"


@pytest.fixture(scope="module")
def drive(simulated):
    return KittiDrive(simulated, json.loads((simulated / "world.json").read_text())["drive"])


@pytest.fixture(scope="module")
def imagery(simulated):
    return ProcessImagery(f"slippy:{simulated / 'imagery'}")


@pytest.fixture(scope="module")
def bag(drive, tmp_path_factory):
    out = tmp_path_factory.mktemp("bags") / "one"
    convert(drive, out)
    return out


@pytest.fixture
def opened(bag, imagery, tiny, tmp_path):
    """Open the bag after its messages went through `change(topic, message)`; None drops one.

    logged  the log time of all messages, in place of their own; others are of BagConfig
    """

    def open_bag(change=None, logged=None, **config):
        out = bag
        if change is not None:
            out, store = tmp_path / "bag", jazzy_types()
            with AnyReader([bag]) as reader, new_bag(out) as writer:
                connections = {
                    c.topic: writer.add_connection(c.topic, c.msgtype, typestore=store)
                    for c in reader.connections
                }
                for connection, stamp, data in reader.messages():
                    message = reader.deserialize(data, connection.msgtype)
                    if (message := change(connection.topic, message)) is not None:
                        raw = store.serialize_cdr(message, connection.msgtype)
                        writer.write(connections[connection.topic], logged or stamp, raw)
        return RosbagDataset([out], imagery, tiny, replace(CONFIG, **config))

    return open_bag


def on(topic, change):
    """A change of one topic's messages, of the others' none."""
    return lambda name, message: change(message) if name == topic else message


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


def test_images_that_were_logged_at_once_are_told_apart(opened):
    there, here = opened(), opened(lambda _, message: message, logged=10**18)
    for i in range(5):
        assert torch.equal(here[i].ground, there[i].ground)


def test_without_the_truth_s_topics_nobody_knows_it(opened):
    assert opened(truth_pose="/nothing").truths is None


def test_an_image_without_a_prior_is_left_out_and_named(opened, caplog):
    stamps = []

    def early_only(fix):
        stamps.append(fix.header.stamp)
        return fix if len(stamps) <= 2 else None

    dataset = opened(on("/gnss/fix", early_only))
    assert len(dataset) + len(dataset.missing) == 5 and len(dataset) >= 3
    assert "too far in time" in dataset.missing[0] and dataset.missing[0] in caplog.text


def test_a_fix_without_a_fix_is_not_used_and_named(opened, caplog):
    def lost(fix):
        if fix.header.stamp.nanosec:
            fix.status.status = -1
        return fix

    opened(on("/gnss/fix", lost))
    assert "/gnss/fix at" in caplog.text and "NavSatFix.status is -1" in caplog.text


def test_an_image_that_cannot_be_decoded_is_a_named_skip(opened):
    def depth(image):
        return replace(image, encoding="32FC1") if image.header.stamp.sec % 2 else image

    dataset = opened(on(IMAGES, depth))
    batch = collate([dataset[i] for i in range(5)])
    assert 0 < len(batch) < 5
    assert "'32FC1' is none of mono8" in batch.skipped[0].reason


def test_odometry_gives_the_heading_as_well(opened):
    dataset = opened(heading="/odometry")
    # The recorded odometry starts at zero: it is east of nothing, but its turns are the drive's.
    turned = [p.yaw - t.yaw for p, t in zip(dataset.labels, dataset.truths, strict=True)]
    assert np.ptp(np.unwrap(turned)) == pytest.approx(0.0, abs=0.02)


def test_recorded_odometry_tells_the_motions_of_the_drive(noisy, imagery, tiny):
    config = replace(CONFIG, odometry="/odometry")
    (drive,) = RosbagDataset([noisy], imagery, tiny, config).drives
    true = [a.between(b) for a, b in pairwise(drive.truths)]
    expected = [(m.x, m.y, m.yaw) for m in true]
    np.testing.assert_allclose(drive.motions(), expected, atol=0.03)


def test_an_image_in_a_gap_of_odometry_is_left_out_and_named(opened, bag):
    with AnyReader([bag]) as reader:
        start = reader.start_time / 1e9

    def gap(message):
        return None if 1 <= stamp_ns(message.header) / 1e9 - start <= 1.6 else message

    dataset = opened(on("/odometry", gap), odometry="/odometry", max_gap_s=0.55)
    assert any(name.endswith("no odometry") for name in dataset.missing)
    assert len(dataset.drives[0].motions()) == len(dataset) - 1


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"fix": "/gps"}, "nothing on /gps; it has .*/gnss/fix .sensor_msgs"),
        ({"fix": "/imu/data"}, "/imu/data is of type sensor_msgs/msg/Imu, must be .*Fix"),
    ],
)
def test_a_topic_that_does_not_serve_is_refused_with_what_there_is(opened, config, said):
    with pytest.raises(ValueError, match=said):
        opened(**config)


@pytest.mark.parametrize("topic", [IMAGES, INFOS, "/gnss/fix", "/imu/data"])
def test_a_topic_without_a_message_is_named_with_its_bag(opened, topic, tmp_path):
    with pytest.raises(ValueError, match=topic) as raised:
        opened(on(topic, lambda _: None))
    assert str(tmp_path / "bag") in str(raised.value)


def unstamped(message):
    message.header.stamp.sec = message.header.stamp.nanosec = 0
    return message


def zoomed(info):
    return replace(info, k=np.array([700.0 + info.header.stamp.sec, *info.k[1:]]))


@pytest.mark.parametrize(
    ("topic", "change", "said"),
    [
        (INFOS, lambda info: replace(info, width=621), "says 621 x 375 .* have .*1242, 375"),
        (INFOS, zoomed, "/camera/camera_info changes within the bag: k "),
        *((topic, unstamped, STAMP_0) for topic in (IMAGES, "/gnss/fix", "/imu/data")),
        (IMAGES, lambda image: replace(image, encoding="32FC1"), "{}: 5 images .*'32FC1' is none"),
        (IMAGES, lambda image: replace(image, encoding="h264"), "{}: 5 images .*'h264' is none"),
    ],
)
def test_messages_that_cannot_serve_are_refused_when_the_bag_is_opened(opened, topic, change, said):
    with pytest.raises(ValueError, match=said.format(topic)):
        opened(on(topic, change))


@pytest.mark.parametrize("far", [(0.0, 0.0), (-33.9, 151.2), (49.9, 8.43), (90.0, 0.0)])
def test_a_first_fix_far_from_the_others_is_not_used_and_no_datum(opened, caplog, far):
    seen = []

    def first_elsewhere(fix):
        seen.append(fix)
        return replace(fix, latitude=far[0], longitude=far[1]) if len(seen) == 1 else fix

    clean, recorded = opened(), opened(on("/gnss/fix", first_elsewhere))
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


def test_camera_infos_of_zeros_are_left_out(opened, caplog):
    seen = []

    def uncalibrated(info):
        seen.append(info)
        return info if len(seen) > 2 else replace(info, k=np.zeros(9), p=np.zeros(12))

    assert len(opened(on(INFOS, uncalibrated))) == 5
    assert "2 messages not used: /camera/camera_info at" in caplog.text


def test_a_bag_of_ros_1_gives_the_samples_of_its_camera(test_data, tiny, dot_imagery):
    bag = test_data.parent / "cases" / "ros1_camera_info.bag"
    if not bag.is_file():
        pytest.skip(f"no ROS 1 bag at {bag}")
    dataset = RosbagDataset([bag], dot_imagery(LatLon(49.0, 8.4)), tiny, CONFIG)
    assert len(dataset) == 5
    assert dataset.drives[0].camera.K.tolist() == [[40, 0, 32], [0, 40, 16], [0, 0, 1]]
    assert isinstance(dataset[0], Sample)


def test_the_truth_is_found_in_a_map_of_any_origin(opened):
    def moved(message):
        message.pose.position.x += 431.0
        message.pose.position.y -= 1200.0
        return message

    there, here = opened(), opened(on("/truth/pose", moved))
    for truth, known in zip(here.truths, there.truths, strict=True):
        assert (truth.x, truth.y) == pytest.approx((known.x, known.y), abs=0.01)
