# SPDX-License-Identifier: Apache-2.0
"""A recording of the vehicle, played through what the node does with its sensors."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from g2s_localizer.bag_reader import BagReader
from g2s_localizer.estimator.estimate import Prior
from g2s_localizer.estimator.localizer import SNAP_M
from g2s_localizer.geometry import Camera, LatLon, Panorama
from g2s_localizer.imagery import Imagery
from g2s_localizer.messages import CameraReader, image_from
from g2s_localizer.model import wrong_camera
from g2s_localizer.ros.parameters import NodeConfig
from g2s_localizer.ros.publishers import type_name
from g2s_localizer.ros.watched_sensors import WatchedSensors
from g2s_localizer.tools.check_report import Report
from g2s_localizer.tools.check_stamps import Stamps, judge_clocks, judge_pairs
from g2s_localizer.tools.check_transforms import StaticTransforms

MAX_DECODED = 10
"""Images that are decoded."""

MAX_DROPPED = 0.01
MAX_WITHOUT_PRIOR = 0.05
MAX_CONTRADICTED = 0.05
"""Shares of messages, images and fixes that are noise; more is a fault."""

STEP_M = 50.0
MAX_PLACES = 200
"""Distance of places along the drive whose imagery is looked up, and how many at most."""


@dataclass(frozen=True)
class Wanted:
    """A topic of the node: its name in the node, in the graph, and its message class."""

    name: str
    topic: str
    kind: type[Any]
    needed: bool = True


class BagCheck:
    """Reads a bag once, in the order of its recording, and judges what came.

    transforms  the static ones of the bag
    """

    def __init__(self, config: NodeConfig, wanted: list[Wanted], report: Report) -> None:
        self._config = config
        self._wanted = wanted
        self._report = report
        self._sensors = WatchedSensors(config.bridge)
        self._takes = {topic.name: topic.take for topic in self._sensors.topics()}
        self._stamps = {one.name: Stamps() for one in wanted}
        self._cameras = CameraReader(config.bridge.rectified)
        self.transforms = StaticTransforms()
        self._sizes: dict[int, tuple[int, int]] = {}
        self._camera_sizes: dict[int, tuple[int, int]] = {}
        self._bad: Counter[tuple[str, str]] = Counter()
        self._priors: list[Prior] = []
        self._without: Counter[str] = Counter()
        self._contradicted: Counter[str] = Counter()
        self._confirmed = False
        self._camera: Camera | Panorama | None = None

    def read(self, reader: BagReader, seconds: float) -> None:
        """Take the messages of the first so many seconds."""
        names = self._check_topics(reader)
        connections = [c for c in reader.connections if (c.topic, c.msgtype) in names]
        static = [c for c in reader.connections if c.topic == "/tf_static"]
        for connection, _, data in reader.messages(static):
            self.transforms.add(reader.deserialize(data, connection))
        counts = Counter(names[c.topic, c.msgtype] for c in connections for _ in range(c.msgcount))
        every = max(1, counts["image"] // MAX_DECODED)
        for connection, logged_ns, data in reader.messages(connections):
            if logged_ns - reader.start_time > seconds * 1e9:
                break
            name = names[connection.topic, connection.msgtype]
            try:
                message = reader.deserialize(data, connection)
            except ValueError as error:
                self._bad[name, str(error)] += 1
                continue
            stamps = self._stamps[name]
            stamps.add(message.header, logged_ns)
            if name == "image":
                self._take_image(message, decode=stamps.count % every == 1 % every)
            elif name == "camera_info":
                self._take_camera(message)
            else:
                self._takes[name](message)
                self._watch_heading(name)

    def judge(self, imagery: Imagery | None, model: Any) -> None:
        """Say what is right and what is wrong; imagery and model where there are any."""
        for one in self._wanted:
            stamps = self._stamps[one.name]
            if stamps.count:
                subject = f"{one.name} on {one.topic}"
                self._report.judge(subject, stamps.fault, str(stamps))
                self._judge_drops(one.name, subject, stamps.count)
        judge_clocks(self._stamps, self._report)
        for conflict in self._sensors.conflicts.values():
            self._report.fault("clocks", conflict)
        judge_pairs(self._stamps["image"], self._stamps["camera_info"], self._report)
        self._judge_camera(model)
        self._judge_heading()
        self._judge_priors(model)
        if imagery is not None and model is not None:
            self._judge_route(imagery, model)

    def _check_topics(self, reader: BagReader) -> dict[tuple[str, str], str]:
        """Return names in the node by (topic, type); what the bag lacks is said."""
        names = {}
        for one in self._wanted:
            kind = type_name(one.kind)
            held = {c.msgtype for c in reader.connections if c.topic == one.topic and c.msgcount}
            if kind in held:
                names[one.topic, kind] = one.name
                continue
            said = f"the bag has no {one.topic}"
            if held:
                said = f"{one.topic} is {', '.join(held)}, not {kind}"
            same = sorted(c.topic for c in reader.connections if c.msgtype == kind and c.msgcount)
            if same:
                said += f"; {kind} is on {', '.join(same)}: -r {one.name}:={same[0]}"
            if one.needed:
                self._report.fault(one.name, said)
            else:
                self._report.unseen(one.name, f"{said}; the node does without it")
        return names

    def _take_image(self, message: Any, decode: bool) -> None:
        if decode:
            try:
                height, width = image_from(message).shape[:2]
            except ValueError as error:
                self._bad["image", str(error)] += 1
            else:
                self._sizes[self._stamps["image"].newest_ns] = width, height
        try:
            prior = self._sensors.prior_at(self._sensors.image_stamp(message.header))
        except ValueError as error:
            self._bad["image", str(error)] += 1
            return
        if isinstance(prior, Prior):
            self._priors.append(prior)
        elif self._priors:  # the first images come before what they are matched with
            self._without[f"{prior[0].name} ({prior[1]})"] += 1

    def _extrinsic(self, camera_frame: str) -> NDArray[np.float64]:
        """Return T_base_camera (4, 4) at the ground, as the node would have it."""
        bridge = self._config.bridge
        if self._config.extrinsic_source == "parameters":
            return bridge.T_base_camera()
        return bridge.T_base_camera(self.transforms.lookup(self._config.base_frame, camera_frame))

    def _take_camera(self, info: Any) -> None:
        try:
            camera = self._cameras.read(info, self._extrinsic(info.header.frame_id))
            self._camera = camera
        except ValueError as error:
            self._bad["camera_info", str(error)] += 1
        else:
            self._camera_sizes[self._stamps["camera_info"].newest_ns] = camera.width, camera.height

    def _watch_heading(self, name: str) -> None:
        finding = self._sensors.heading_finding()
        if name == "fix":
            self._contradicted["all"] += 1
            self._contradicted[finding.sentence if finding else ""] += 1
        self._confirmed = self._confirmed or self._sensors.heading_confirmed

    def _judge_drops(self, name: str, subject: str, count: int) -> None:
        bad = {why: n for (where, why), n in self._bad.items() if where == name}
        dropped = self._sensors.dropped[name]
        looked = len(self._sizes) + sum(bad.values()) if name == "image" else count
        if bad and sum(bad.values()) > MAX_DROPPED * looked:
            why, n = max(bad.items(), key=lambda item: item[1])
            self._report.fault(subject, f"{n} of {looked} looked at cannot be used: {why}")
        if dropped > MAX_DROPPED * count:
            why = self._sensors.drop_reason[name]
            self._report.fault(subject, f"{dropped} of {count} are dropped, the last: {why}")

    def _judge_camera(self, model: Any) -> None:
        other = [
            f"images are {size[0]} x {size[1]}, CameraInfo says {said[0]} x {said[1]}"
            for stamp, size in self._sizes.items()
            if (said := self._camera_sizes.get(stamp)) and size != said
        ]
        if model is not None and self._camera is not None:
            other += filter(None, [wrong_camera(self._camera, model.panorama)])
        if other:
            self._report.fault("camera", other[0])
        elif self._camera is not None:
            self._report.right("camera", f"sees the ground from {self._camera.ground_height:.2f} m")

    def _judge_heading(self) -> None:
        fixes = self._contradicted.pop("all", 0)
        self._contradicted.pop("", None)
        found = self._contradicted.total()
        if fixes and found > MAX_CONTRADICTED * fixes:
            why = self._contradicted.most_common(1)[0][0]
            self._report.fault("heading", f"at {found} of {fixes} fixes: {why}")
        elif self._confirmed:
            self._report.right("heading", "agrees with the course over ground")
        else:
            self._report.unseen("heading", "the recording has no drive that would tell")

    def _judge_priors(self, model: Any) -> None:
        images = len(self._priors) + self._without.total()
        if not self._stamps["image"].count:
            return
        if not self._priors:
            self._report.fault("prior", "no image has one: fixes and headings must be recorded too")
            return
        without = ", ".join(f"{n} x {why}" for why, n in self._without.most_common(3))
        faults = []
        if self._without.total() > MAX_WITHOUT_PRIOR * images:
            faults.append(f"{self._without.total()} of {images} images have none: {without}")
        sigmas = [math.sqrt(np.linalg.eigvalsh(p.covariance[:2, :2])[-1]) for p in self._priors]
        sigma = float(np.median(sigmas))
        reach = yaw_reach = math.inf
        if model is not None:
            reach, yaw_reach = model.search_m - SNAP_M / 2.0, model.max_prior_yaw_deg
        yaw = math.degrees(float(np.median([p.covariance[2, 2] for p in self._priors])) ** 0.5)
        if 2.0 * yaw > yaw_reach:
            faults.append(
                f"2 sigma of the heading are {2.0 * yaw:.1f} degrees (median), the network takes "
                f"{yaw_reach:.1f}"
            )
        if 2.0 * sigma > reach:
            faults.append(
                f"2 sigma are {2.0 * sigma:.1f} m (median), the network looks within "
                f"{reach:.1f} m: is the receiver's covariance right?"
            )
        found = f"{len(self._priors)} of {images} images, sigma {sigma:.1f} m (median)"
        self._report.judge("prior", "; ".join(faults), found)

    def _judge_route(self, imagery: Imagery, model: Any) -> None:
        places: list[LatLon] = []
        last = (math.inf, math.inf)
        for prior in self._priors:
            here = prior.pose.x, prior.pose.y
            if math.dist(here, last) >= STEP_M:
                last = here
                places.append(prior.frame.to_latlon(*here))
        places = places[:: math.ceil(len(places) / MAX_PLACES) or 1]
        lacking = [(p, imagery.missing(p, model.imagery_m + SNAP_M, model.gsd)) for p in places]
        missing = [f"{p.lat:.5f}, {p.lon:.5f} ({m[0]})" for p, m in lacking if m]
        if places:
            fault = f"missing at {len(missing)} of {len(places)} place(s): {'; '.join(missing[:3])}"
            self._report.judge(
                "coverage of the drive",
                fault if missing else "",
                f"whole at {len(places)} place(s)",
            )
