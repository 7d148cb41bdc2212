# SPDX-License-Identifier: Apache-2.0
import re
from pathlib import Path

import numpy as np
import pytest
from rosbags.typesys import get_types_from_msg

from g2s_localizer.imagery.sidecar import Sidecar, read_sidecar, write_sidecar
from g2s_localizer.tools.bags.new_bag import jazzy_types, new_bag
from g2s_localizer.tools.tiles.offset import REGISTRATION, read_disagreements

ROOT = Path(__file__).parents[3]
OFFSET = np.array([1.5, -0.7])
ACCEPTED, AMBIGUOUS, INNOVATION = 0, 7, 9


class BagWriter:
    """Registrations of a drive along three streets, two a second."""

    def __init__(self):
        self.typestore = jazzy_types()
        definition = (ROOT / "msg" / "Registration.msg").read_text()
        self.typestore.register(get_types_from_msg(definition, REGISTRATION))
        self.new = self.typestore.types

    def write(self, out, offset, applied=(0.0, 0.0), rejection=lambda i: ACCEPTED, count=600):
        """offset: of the imagery; applied: what the sidecar said of it during the drive."""
        rng = np.random.default_rng(5)
        with new_bag(out) as bag:
            topic = bag.add_connection(
                "/localizer/registration", REGISTRATION, typestore=self.typestore
            )
            for i in range(count):
                yaw = (0.3, 1.9, -2.5)[3 * i // count]
                prior = rng.normal(0.0, 50.0, 2)
                pose = prior + offset - applied + rng.normal(0.0, 0.7, 2)
                if rejection(i) == AMBIGUOUS:
                    pose += 9.0
                message = self.registration(i, prior, pose, yaw, applied, rejection(i))
                bag.write(topic, i, self.typestore.serialize_cdr(message, REGISTRATION))
        return out

    def registration(self, i, prior, pose, yaw, applied, rejection):
        new = self.new
        stamp = new["builtin_interfaces/msg/Time"](sec=i // 2, nanosec=i % 2 * 500_000_000)
        return new[REGISTRATION](
            header=new["std_msgs/msg/Header"](stamp=stamp, frame_id="map"),
            datum_latitude=49.0, datum_longitude=8.4, image_width=1, image_height=1,
            camera_matrix=np.zeros(9), has_prior=True, prior=self.pose(prior, yaw),
            accepted=rejection == ACCEPTED, rejection=rejection, rejection_reason="",
            has_pose=True, pose=self.pose(pose, yaw), innovation=0.0, entropy=0.0, peak_ratio=0.0,
            correlation=0.0, min_correlation=-1.0, presence=1.0, warnings=[], latency=0.0,
            latency_from_arrival=0.0, latency_from_stamp=0.0,
            map_offset_east=applied[0], map_offset_north=applied[1],
            attribution="", checkpoint="",
        )  # fmt: skip

    def pose(self, xy, yaw):
        new = self.new
        return new["geometry_msgs/msg/PoseWithCovariance"](
            pose=new["geometry_msgs/msg/Pose"](
                position=new["geometry_msgs/msg/Point"](x=xy[0], y=xy[1], z=0.0),
                orientation=new["geometry_msgs/msg/Quaternion"](
                    x=0.0, y=0.0, z=np.sin(yaw / 2), w=np.cos(yaw / 2)
                ),
            ),
            covariance=np.diag([0.25, 0.25, 1e6, 1e6, 1e6, 0.01]).ravel(),
        )


@pytest.fixture(scope="module")
def writer():
    return BagWriter()


@pytest.fixture
def store(tmp_path):
    folder = tmp_path / "tiles"
    (folder / "19").mkdir(parents=True)
    write_sidecar(folder, Sidecar("© painted", georeferencing_sigma_m=0.4))
    return folder


def test_the_offset_of_a_drives_registrations_goes_into_the_sidecar(tiles, writer, store, tmp_path):
    bag = writer.write(tmp_path / "bag", OFFSET)
    status, out, _ = tiles("offset", store, "--registrations", bag)
    sidecar = read_sidecar(store)
    assert status == 0 and str(store / "imagery.json") in out
    assert sidecar.offset_m == pytest.approx(tuple(OFFSET), abs=0.15)
    assert (sidecar.attribution, sidecar.georeferencing_sigma_m) == ("© painted", 0.4)


def test_the_same_drive_is_not_counted_twice(tiles, writer, store, tmp_path):
    bag = writer.write(tmp_path / "bag", OFFSET)
    tiles("offset", store, "--registrations", bag)
    first = read_sidecar(store)
    status, _, err = tiles("offset", store, "--registrations", bag)
    assert status == 1 and "Nothing is written" in err
    assert read_sidecar(store) == first


def test_a_drive_with_the_offset_taken_out_confirms_it(tiles, writer, store, tmp_path):
    write_sidecar(store, Sidecar(offset_east_m=1.5, offset_north_m=-0.7))
    bag = writer.write(tmp_path / "bag", OFFSET, applied=OFFSET)
    status, out, _ = tiles("offset", store, "--registrations", bag)
    assert status == 1 and "were that right" in out.lower()
    assert read_sidecar(store).offset_m == (1.5, -0.7)


def test_an_offset_that_is_none_is_not_written(tiles, writer, store, tmp_path):
    bag = writer.write(tmp_path / "bag", np.zeros(2))
    status, _, err = tiles("offset", store, "--registrations", bag)
    assert status == 1 and "Nothing is written: the limit is 0.01" in err
    assert read_sidecar(store).offset_m == (0.0, 0.0)


def test_a_dry_run_writes_nothing(tiles, writer, store, tmp_path):
    bag = writer.write(tmp_path / "bag", OFFSET)
    status, out, _ = tiles("offset", store, "--registrations", bag, "--dry-run")
    assert status == 0 and "--dry-run" in out
    assert read_sidecar(store).offset_m == (0.0, 0.0)


def test_what_disagrees_with_the_prior_counts_and_false_peaks_do_not(writer, tmp_path):
    verdicts = [ACCEPTED, INNOVATION, AMBIGUOUS]
    bag = writer.write(tmp_path / "bag", OFFSET, rejection=lambda i: verdicts[i % 3], count=300)
    data = read_disagreements([bag, bag])
    assert len(data.xy) == 400 and set(data.drive) == {0, 1}
    assert np.abs(data.xy - OFFSET).max() < 5.0


def test_a_short_drive_is_refused_in_words(tiles, writer, store, tmp_path):
    bag = writer.write(tmp_path / "bag", OFFSET, count=60)
    status, _, err = tiles("offset", store, "--registrations", bag)
    assert status == 1 and "60 usable registrations, at least 100 are needed" in err


def test_a_bag_without_registrations_is_refused_by_name(tiles, store, tmp_path):
    with new_bag(tmp_path / "empty"):
        pass
    for name, said in (("empty", "empty must hold one topic of"), ("none", "no such bag: ")):
        status, _, err = tiles("offset", store, "--registrations", tmp_path / name)
        assert status == 1 and said in err


def test_a_recording_whose_metadata_says_another_type_hash_is_read(tiles, writer, store, tmp_path):
    bag = writer.write(tmp_path / "bag", OFFSET)
    file = bag / "metadata.yaml"
    file.write_text(re.sub(r"RIHS01_\w+", f"RIHS01_{'0' * 64}", file.read_text()))
    assert tiles("offset", store, "--registrations", bag)[0] == 0


def test_a_recording_that_is_damaged_is_a_sentence(tiles, writer, store, tmp_path):
    bag = writer.write(tmp_path / "bag", OFFSET)
    [file] = bag.glob("*.mcap")
    file.write_bytes(file.read_bytes()[:-100])
    status, _, err = tiles("offset", store, "--registrations", bag)
    assert status == 1 and f"{bag} is no complete ROS 2 bag: " in err
