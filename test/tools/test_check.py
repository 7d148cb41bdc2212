# SPDX-License-Identifier: Apache-2.0
"""g2s-check on a short drive east, recorded as a vehicle's sensors are."""

import math

import cv2
import numpy as np
import pytest
import yaml
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Quaternion
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, Image, Imu, NavSatFix

from g2s_localizer.geometry import LatLon, LocalFrame
from g2s_localizer.model import build_network, model_config, save_checkpoint
from g2s_localizer.tools import check_pictures
from g2s_localizer.tools.bags.new_bag import jazzy_types, new_bag
from g2s_localizer.tools.check import main

FRAME = LocalFrame(LatLon(49.011212, 8.422885))
BEGIN_S = 1000.0
TOPICS = {NavSatFix: "/fix", Imu: "/imu", CameraInfo: "/camera_info", Image: "/image"}


@pytest.fixture(scope="module")
def store(tmp_path_factory, paint):
    """A folder of tiles around the drive."""
    folder = tmp_path_factory.mktemp("imagery")
    paint(folder, side=7)
    return folder


@pytest.fixture
def checked(store, tmp_path, capsys):
    """checked(messages, options, **parameters) -> (exit status, lines that are not OK)"""

    def run(messages, *options, **parameters):
        given = {
            "imagery": {"uri": str(store)},
            "camera": {"translation": [1.0, 0.0, 1.6], "rotation_rpy": [0.0, 0.0, 0.0]},
        }
        file, bag = tmp_path / "car.yaml", tmp_path / "bag"
        file.write_text(yaml.safe_dump({"/**": {"ros__parameters": given | parameters}}))
        write(bag, messages)
        status = main(["--params-file", str(file), "--bag", str(bag), *options])
        return status, [li for li in capsys.readouterr().out.splitlines() if li[:5] == "WRONG"]

    return run


def write(bag, messages):
    types = jazzy_types()
    with new_bag(bag) as writer:
        connections = {}
        for logged, topic, message in messages:
            if topic == "/tf_static":
                msgtype = message.__msgtype__
                data = types.serialize_cdr(message, msgtype)
            else:
                msgtype = f"{type(message).__module__.split('.')[0]}/msg/{type(message).__name__}"
                data = serialize_message(message)
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, msgtype, typestore=types)
            writer.write(connections[topic], round(logged * 1e9), data)


def stamped(message, t):
    message.header.stamp = Time(sec=int(t), nanosec=round(t % 1 * 1e9))
    return message


def info(t):
    k = [80.0, 0.0, 63.5, 0.0, 80.0, 30.0, 0.0, 0.0, 1.0]
    return stamped(CameraInfo(width=128, height=96, distortion_model="plumb_bob", k=k), t)


def drive(yaw=0.0, image_late=0.0, info_late=0.0, encoding="rgb8", status=0):
    """(log time, topic, message) of 12 s east at 5 m/s; yaw of the IMU, late clocks (s)."""
    pixels = np.random.default_rng(0).integers(0, 256, 128 * 96 * 3, dtype=np.uint8)
    for t in np.arange(BEGIN_S, BEGIN_S + 12.0, 0.2):
        place = FRAME.to_latlon(5.0 * (t - BEGIN_S) - 30.0, 0.0)
        fix = NavSatFix(latitude=place.lat, longitude=place.lon, position_covariance_type=2)
        fix.status.status, fix.position_covariance = status, np.eye(3).ravel()
        imu = Imu(orientation=Quaternion(z=math.sin(yaw / 2), w=math.cos(yaw / 2)))
        imu.orientation_covariance = (1e-3 * np.eye(3)).ravel()
        image = Image(width=128, height=96, encoding=encoding, step=384, data=pixels.tobytes())
        for message, late in ((fix, 0), (imu, 0), (info(t), info_late), (image, image_late)):
            yield t, TOPICS[type(message)], stamped(message, t - late)


def test_a_set_up_that_works_is_right(checked):
    assert checked(drive()) == (0, [])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"yaw": math.pi / 2}, "in a direction -90 degrees from the heading"),
        (
            {"info_late": 0.03},
            "0 of 60 images have a CameraInfo of their stamp; the nearest is 0.03",
        ),
        ({"encoding": "depth9"}, "cannot be used: image encoding 'depth9'"),
        ({"status": -1}, "60 of 60 are dropped, the last: NavSatFix.status is -1"),
        ({"image_late": 5.0, "info_late": 5.0}, "stamps of image are 5.00 s behind those of fix"),
    ],
)
def test_what_is_wrong_in_a_recording_is_named_with_its_number(checked, changes, said):
    status, wrong = checked(drive(**changes))
    assert status == 1 and said in " ".join(wrong)


def test_a_network_for_panoramas_is_no_fault_and_a_pinhole_camera_with_it_is(checked, tmp_path):
    checkpoint = tmp_path / "vigor.safetensors"
    model = model_config("paper-vigor", gsd=0.4, crop_m=51.2, ground_height=32, ground_width=64)
    save_checkpoint(checkpoint, build_network(model), {})
    status, wrong = checked(drive(), checkpoint=str(checkpoint))
    assert status == 1 and [w[10:] for w in wrong] == [
        "camera: the camera's are pinhole images, the network takes panoramas"
    ]


def test_a_topic_under_another_name_is_found(checked):
    moved = [(t, f"/front{topic}", message) for t, topic, message in drive()]
    status, wrong = checked(moved, "-r", "image:=/front/image", "--topics", "fix=/front/fix")
    assert status == 1 and len([w for w in wrong if "-r imu:=/front/imu" in w]) == 1
    assert not [w for w in wrong if w.startswith(("WRONG     image:", "WRONG     fix:"))]


def test_stamps_of_0_are_named(checked):
    zero = [(t, topic, stamped(m, 0) if topic == "/imu" else m) for t, topic, m in drive()]
    assert "all stamps are 0" in " ".join(checked(zero)[1])


def test_two_clocks_on_one_topic_are_named(checked):
    both = [
        (t, topic, stamped(m, t - 5 * (i // 4 % 2)) if topic == "/fix" else m)
        for i, (t, topic, m) in enumerate(drive())
    ]
    wrong = " ".join(checked(both)[1])
    assert "stamps go back, by up to" in wrong and "two publishers with different clocks" in wrong


def test_a_drive_beyond_the_imagery_is_named(checked, tmp_path, paint):
    paint(tmp_path / "small", side=3)
    status, wrong = checked(drive(), imagery={"uri": str(tmp_path / "small")})
    assert status == 1 and "coverage of the drive: missing at" in wrong[0]


def test_all_that_is_wrong_with_the_parameters_is_listed(checked):
    status, wrong = checked(drive(), imagery={"uri": ""}, device=3, camera={"rectified": True})
    assert status == 1 and len(wrong) == 3
    assert ["imagery.uri" in w or "device" in w or "translation" in w for w in wrong] == [True] * 3


def test_a_set_up_that_cannot_be_opened_is_a_line_each(checked):
    status, wrong = checked(drive(), imagery={"uri": "slippy:nowhere"}, checkpoint="absent.pth")
    assert status == 1 and ["nowhere" in wrong[0], "absent.pth" in wrong[1]] == [True, True]


def test_a_bag_that_is_none_is_a_line(checked, tmp_path):
    status, wrong = checked(drive(), "--bag", str(tmp_path / "absent"))
    assert status == 1 and "no such bag" in wrong[0]


def test_a_recording_is_read_as_far_as_asked(checked):
    late = [(t, topic, m) for t, topic, m in drive(yaw=math.pi / 2)]
    assert checked(late, "--seconds", "2") == (0, [])


@pytest.fixture
def two_pictures(monkeypatch, tmp_path):
    """A folder for them: a person wants more, and waits longer."""
    monkeypatch.setattr(check_pictures, "PICTURES", 2)
    return tmp_path / "pictures"


def test_pictures_of_a_recording_are_spread_over_it_and_named_by_stamp(checked, two_pictures):
    assert checked(drive(), "--pictures", str(two_pictures)) == (0, [])
    stamps = sorted(int(file.stem) for file in two_pictures.glob("*.jpg"))
    assert len(stamps) == 2 and stamps[1] - stamps[0] == pytest.approx(6e9, abs=0.5e9)
    picture = cv2.imread(str(two_pictures / f"{stamps[0]}.jpg"))
    side = picture.shape[0]
    assert side >= 640 and picture.shape[1] == side + 128
    image, below = picture[:96, side:], picture[104:, side:]
    assert image.std() > 20 and below.mean() < 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"status": -1}, "none: no image has a pose; 2 without a pose: there is no GNSS fix"),
        ({"info_late": 0.03}, "2 without a pose: no CameraInfo of its stamp"),
    ],
)
def test_why_there_are_no_pictures_is_said(checked, two_pictures, changes, said):
    status, wrong = checked(drive(**changes), "--pictures", str(two_pictures))
    assert status == 1 and said in wrong[-1] and not list(two_pictures.iterdir())


def test_a_folder_that_cannot_be_is_a_line(checked, tmp_path):
    (tmp_path / "file").write_text("")
    status, wrong = checked(drive(), "--pictures", str(tmp_path / "file"))
    assert status == 1 and len(wrong) == 1 and "pictures: " in wrong[0] and "file" in wrong[0]


def test_pictures_have_the_camera_where_the_transforms_put_it(checked, two_pictures):
    still = [(BEGIN_S, "/tf_static", camera_on_base_link())]
    messages = [(t, topic, framed(m)) for t, topic, m in drive()]
    options = ("--pictures", str(two_pictures), "--seconds", "6")
    assert checked([*still, *messages], *options, camera={"extrinsic_source": "tf"}) == (0, [])
    assert len(list(two_pictures.iterdir())) == 2


def camera_on_base_link():
    """A tf2_msgs/TFMessage as rosbags has it: rclpy's class is of no use without ROS installed."""
    new = jazzy_types().types
    place = new["geometry_msgs/msg/Vector3"](x=1.0, y=0.0, z=1.6)
    ahead = new["geometry_msgs/msg/Quaternion"](x=-0.5, y=0.5, z=-0.5, w=0.5)
    now = new["builtin_interfaces/msg/Time"](sec=int(BEGIN_S), nanosec=0)
    link = new["geometry_msgs/msg/TransformStamped"](
        header=new["std_msgs/msg/Header"](stamp=now, frame_id="base_link"), child_frame_id="camera",
        transform=new["geometry_msgs/msg/Transform"](translation=place, rotation=ahead),
    )  # fmt: skip
    return new["tf2_msgs/msg/TFMessage"](transforms=[link])


def framed(message):
    message.header.frame_id = "camera"
    return message
