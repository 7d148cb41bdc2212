# SPDX-License-Identifier: Apache-2.0
"""Score of a recorded run: published poses and GNSS fixes against the truth of the bag."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.patches import Ellipse
from numpy.typing import NDArray
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from g2s_localizer.geometry import LatLon, LocalFrame, Pose2D
from g2s_localizer.imagery import open_imagery
from g2s_localizer.motion_messages import planar_pose
from training.data.track import truth_track
from training.score.metrics import coverage, squared_mahalanobis, vehicle_errors

matplotlib.use("Agg")
import matplotlib.pyplot as plt

FloatArray = NDArray[np.float64]

_MARGIN_M = 30.0


@dataclass(frozen=True)
class Scene:
    """Everything to draw, in the map of `frame`."""

    frame: LocalFrame
    truth: FloatArray
    """(N, 2) m"""
    fixes: FloatArray
    """(N, 2) m"""
    poses: list[Pose2D]
    covariances: FloatArray
    """(M, 3, 3)"""


def score_recording(
    bag: Path, recording: Path, registration_msg: Path
) -> tuple[dict[str, float], Scene]:
    """Return figures of a recording of ~/pose and ~/registration made while `bag` was replayed.

    Raises ValueError when the recording holds no registration.
    """
    sources = _messages(bag, registration_msg, ["/gnss/fix", "/truth/fix", "/truth/pose"])
    outputs = _messages(recording, registration_msg, ["/localizer/pose", "/localizer/registration"])
    registrations = outputs["/localizer/registration"]
    if not registrations:
        raise ValueError(f"{recording}: no message on /localizer/registration")
    frame = LocalFrame(LatLon(registrations[-1].datum_latitude, registrations[-1].datum_longitude))
    first = sources["/truth/fix"][0]
    truth = truth_track(
        [(_stamp(m), planar_pose(m.pose)) for m in sources["/truth/pose"]],
        (_stamp(first), LatLon(first.latitude, first.longitude)),
        frame,
    )
    fixes = np.array([frame.to_xy(LatLon(m.latitude, m.longitude)) for m in sources["/gnss/fix"]])
    gnss_errors = [
        np.hypot(x - t.x, y - t.y)
        for (x, y), t in zip(
            fixes, (truth.at(_stamp(m)) for m in sources["/gnss/fix"]), strict=True
        )
    ]

    published = outputs["/localizer/pose"]
    poses = [
        Pose2D(m.pose.pose.position.x, m.pose.pose.position.y, _yaw(m.pose.pose.orientation))
        for m in published
    ]
    covariances = np.array(
        [m.pose.covariance.reshape(6, 6)[np.ix_([0, 1, 5], [0, 1, 5])] for m in published]
    ).reshape(-1, 3, 3)
    truths = [truth.at(_stamp(m)) for m in published]
    errors = vehicle_errors(poses, truths)
    if len(errors) == 0:
        errors = np.full((1, 3), np.nan)
    # an image refused before any work on it, for want of a prior, has none
    latency_ms = 1e3 * np.array([m.latency for m in registrations if np.isfinite(m.latency)])
    nees = squared_mahalanobis(poses, covariances, truths)
    figures = {
        "gnss_median_m": float(np.median(gnss_errors)),
        "pose_median_m": float(np.median(np.hypot(errors[:, 0], errors[:, 1]))),
        "pose_lateral_within_1m": float(np.mean(np.abs(errors[:, 1]) <= 1.0)),
        "pose_longitudinal_within_1m": float(np.mean(np.abs(errors[:, 0]) <= 1.0)),
        "yaw_median_deg": float(np.degrees(np.median(np.abs(errors[:, 2])))),
        "published": len(published),
        "rejected": sum(not m.accepted for m in registrations),
        "latency_p50_ms": float(np.percentile(latency_ms, 50)),
        "latency_p99_ms": float(np.percentile(latency_ms, 99)),
        "coverage_95": coverage(nees, 0.95),
    }
    return figures, Scene(frame, truth.xy, fixes, poses, covariances)


def draw_report(path: Path, scene: Scene, tiles: Path, report: dict[str, Any]) -> None:
    """Draw imagery with truth, GNSS fixes, published poses and their 95 % ellipses, as PNG."""
    low, high = scene.truth.min(axis=0) - _MARGIN_M, scene.truth.max(axis=0) + _MARGIN_M
    centre, half = (low + high) / 2, float((high - low).max() / 2)
    crop = open_imagery(f"slippy:{tiles}").crop(
        scene.frame.to_latlon(*centre), 2 * half, half / 700
    )
    figure, axes = plt.subplots(figsize=(12, 12))
    axes.imshow(
        crop.image,
        extent=(centre[0] - half, centre[0] + half, centre[1] - half, centre[1] + half),
    )
    axes.plot(*scene.fixes.T, ".", color="red", ms=4, label="GNSS fixes")
    axes.plot(*scene.truth.T, "-", color="cyan", lw=2, label="truth")
    axes.plot(
        [p.x for p in scene.poses], [p.y for p in scene.poses], ".", color="yellow", ms=4,
        label="published poses, 95 % ellipses",
    )  # fmt: skip
    for pose, covariance in zip(scene.poses, scene.covariances, strict=True):
        values, vectors = np.linalg.eigh(covariance[:2, :2])
        width, height = 2.0 * np.sqrt(5.991 * values)
        angle = float(np.degrees(np.arctan2(vectors[1, 0], vectors[0, 0])))
        axes.add_patch(
            Ellipse((pose.x, pose.y), width, height, angle=angle, fill=False, ec="yellow", lw=0.5)
        )
    axes.set_xlim(centre[0] - half, centre[0] + half)
    axes.set_ylim(centre[1] - half, centre[1] + half)
    axes.set_xlabel("east (m)")
    axes.set_ylabel("north (m)")
    axes.set_title(
        f"synthetic drive, preset {report['difficulty']}: median error "
        f"{report['gnss_median_m']:.1f} m GNSS, {report['pose_median_m']:.2f} m published"
    )
    axes.legend(loc="upper right")
    figure.savefig(path, dpi=90, bbox_inches="tight")
    plt.close(figure)


def print_table(report: dict[str, Any]) -> None:
    for name, value in report.items():
        print(f"  {name:30} {round(value, 3) if isinstance(value, float) else value}")


def _messages(bag: Path, registration_msg: Path, topics: list[str]) -> dict[str, list[Any]]:
    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(
        get_types_from_msg(registration_msg.read_text(), "g2s_localizer/msg/Registration")
    )
    found: dict[str, list[Any]] = {topic: [] for topic in topics}
    with AnyReader([bag], default_typestore=store) as reader:
        connections = [c for c in reader.connections if c.topic in found]
        for connection, _, raw in reader.messages(connections):
            found[connection.topic].append(reader.deserialize(raw, connection.msgtype))
    return found


def _stamp(message: Any) -> int:
    return int(message.header.stamp.sec) * 10**9 + int(message.header.stamp.nanosec)


def _yaw(q: Any) -> float:
    return float(np.arctan2(2 * (q.w * q.z + q.x * q.y), 1 - 2 * (q.y**2 + q.z**2)))
