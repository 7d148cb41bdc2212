# SPDX-License-Identifier: Apache-2.0
"""Scoring a recording: bags made by hand, with errors that are known."""

import math
from pathlib import Path

import numpy as np
import pytest
from rosbags.typesys import get_types_from_msg

from g2s_localizer.geometry import LatLon, LocalFrame, Pose2D
from g2s_localizer.tools.bags.new_bag import jazzy_types, new_bag
from training.score.report import score_recording

REGISTRATION = Path(__file__).parents[3] / "msg" / "Registration.msg"
DATUM = LatLon(49.0, 8.4)
NORTHBOUND = math.pi / 2

STORE = jazzy_types()
STORE.register(get_types_from_msg(REGISTRATION.read_text(), "g2s_localizer/msg/Registration"))


def message(kind, **fields):
    """A message with the given fields; all others are zero."""
    made = STORE.types[kind]
    values = {}
    for name, (node, detail) in STORE.fielddefs[kind][1]:
        if name in fields:
            values[name] = fields[name]
        elif node == 2:
            values[name] = message(detail)
        elif node == 3:
            values[name] = np.zeros(detail[1])
        else:
            base = detail[0] if node == 1 else "sequence"
            values[name] = {"string": "", "bool": False, "sequence": []}.get(base, 0)
    return made(**values)


def header(stamp):
    time = message("builtin_interfaces/msg/Time", sec=stamp, nanosec=0)
    return message("std_msgs/msg/Header", stamp=time, frame_id="map")


def posed(x, y, yaw):
    return message(
        "geometry_msgs/msg/Pose",
        position=message("geometry_msgs/msg/Point", x=float(x), y=float(y)),
        orientation=message(
            "geometry_msgs/msg/Quaternion", z=math.sin(yaw / 2), w=math.cos(yaw / 2)
        ),
    )


def fix(stamp, x, y):
    place = LocalFrame(DATUM).to_latlon(x, y)
    return message(
        "sensor_msgs/msg/NavSatFix", header=header(stamp), latitude=place.lat, longitude=place.lon
    )


def published(stamp, pose, sigma=1.0):
    covariance = np.zeros(36)
    covariance[[0, 7, 35]] = sigma**2, sigma**2, 0.01
    full = message(
        "geometry_msgs/msg/PoseWithCovariance", pose=posed(pose.x, pose.y, pose.yaw),
        covariance=covariance,
    )  # fmt: skip
    return message("geometry_msgs/msg/PoseWithCovarianceStamped", header=header(stamp), pose=full)


def registration(stamp, accepted, latency):
    return message(
        "g2s_localizer/msg/Registration", header=header(stamp), accepted=accepted, latency=latency,
        datum_latitude=DATUM.lat, datum_longitude=DATUM.lon,
    )  # fmt: skip


def write_bag(path, topics):
    with new_bag(path) as writer:
        for topic, messages in topics.items():
            kind = messages[0].__msgtype__
            connection = writer.add_connection(topic, kind, typestore=STORE)
            for made in messages:
                stamp = made.header.stamp.sec * 10**9
                writer.write(connection, stamp, STORE.serialize_cdr(made, kind))


@pytest.fixture
def score(tmp_path):
    """Score poses (stamp -> pose) on a drive north at 10 m/s, whose fixes lie 12 m east of it."""
    stamps = range(1, 6)
    poses = [
        message(
            "geometry_msgs/msg/PoseStamped",
            header=header(s),
            pose=posed(0, 10 * s - 10, NORTHBOUND),
        )
        for s in stamps
    ]
    write_bag(
        tmp_path / "bag",
        {
            "/gnss/fix": [fix(s, 12.0, 10 * s) for s in stamps],
            "/truth/fix": [fix(s, 0.0, 10 * s) for s in stamps],
            "/truth/pose": poses,
        },
    )

    def run(answers):
        write_bag(
            tmp_path / "recording",
            {
                "/localizer/pose": [published(s, pose) for s, pose in answers.items()],
                "/localizer/registration": [
                    registration(s, s in answers, 0.04 if s > 1 else math.nan) for s in stamps
                ],
            },
        )
        return score_recording(tmp_path / "bag", tmp_path / "recording", REGISTRATION)

    return run


def test_a_shift_to_the_left_of_a_northbound_vehicle_is_lateral(score):
    figures, _ = score({s: Pose2D(-2.0, 10 * s, NORTHBOUND + 0.1) for s in (2, 3, 4)})
    assert figures["pose_median_m"] == pytest.approx(2.0, abs=1e-6)
    assert figures["pose_lateral_within_1m"] == 0.0
    assert figures["pose_longitudinal_within_1m"] == 1.0
    assert figures["yaw_median_deg"] == pytest.approx(math.degrees(0.1), abs=1e-6)


def test_fixes_and_answers_are_counted(score):
    figures, _ = score({s: Pose2D(0.0, 10 * s, NORTHBOUND) for s in (2, 3)})
    assert figures["gnss_median_m"] == pytest.approx(12.0, abs=1e-6)
    assert (figures["published"], figures["rejected"]) == (2, 3)
    assert figures["latency_p50_ms"] == pytest.approx(40.0, abs=1e-3)


def test_coverage_counts_the_ellipses_that_hold_the_truth(score):
    figures, _ = score({2: Pose2D(0.0, 22.4, NORTHBOUND), 3: Pose2D(0.0, 32.5, NORTHBOUND)})
    assert figures["coverage_95"] == 0.5
