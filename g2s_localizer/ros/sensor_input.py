# SPDX-License-Identifier: Apache-2.0
"""Fixes, headings, motions and poses of messages into a PriorBuffer, and who of them is dropped."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from geometry_msgs.msg import (
    PoseWithCovarianceStamped,
    TwistWithCovariance,
    TwistWithCovarianceStamped,
)
from nav_msgs.msg import Odometry
from sensor_msgs.msg import Imu, NavSatFix
from std_msgs.msg import Header

from g2s_localizer.estimator.estimate import Prior, Rejection
from g2s_localizer.estimator.prior import PriorBuffer
from g2s_localizer.estimator.series import BACKWARD_JUMP_S, Motion, Sample, Series
from g2s_localizer.geometry import LatLon, LocalFrame
from g2s_localizer.motion_messages import (
    Unusable,
    checked_stamp_ns,
    motion_from_twist,
    pose_from_message,
)
from g2s_localizer.ros.publisher_watch import PublisherWatch
from g2s_localizer.vehicle import VehicleConfig

TOPICS = ("fix", "imu", "odometry", "twist", "prior_pose", "image")

IMAGE_PAUSE_S = 10.0
"""An image further ahead of the one before is not the newest until the next one agrees."""


@dataclass(frozen=True, kw_only=True)
class BridgeConfig(VehicleConfig):
    """The vehicle, and how to make priors of its sensors, as the node's parameters say.

    datum None: the first fix. max_gap_s, max_extrapolation_s: of the sensors, in time (s).
    """

    map_frame: str
    datum: LatLon | None
    heading_source: str
    max_gap_s: float
    max_extrapolation_s: float
    prior_source: str = "sensors"
    motion_source: str = "odometry"


@dataclass(frozen=True)
class Topic:
    """A subscription and its callback; not `needed`: used where it comes."""

    kind: type[Any]
    name: str
    take: Callable[[Any], None]
    needed: bool = True


class SensorInput:
    """Hears the sensors. A message that cannot be used is dropped: `dropped` counts them by topic,
    `drop_reason` holds the latest reason of each. Nothing that a message holds raises. Thread-safe.
    """

    def __init__(self, config: BridgeConfig) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._priors = PriorBuffer(
            LocalFrame(config.datum) if config.datum else None,
            antenna_offset_xy=_lever(config),
            max_gap_s=config.max_gap_s,
            max_extrapolation_s=config.max_extrapolation_s,
            headings=_headings(config),
        )
        self._image_order: Series[Sample] = Series("image", IMAGE_PAUSE_S)
        self._watches = {topic: PublisherWatch(topic) for topic in TOPICS}
        self.received: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.drop_reason: dict[str, str] = {}

    def topics(self) -> list[Topic]:
        """Return what the config wants to be heard."""
        heading, motion = self._config.heading_source, self._config.motion_source
        odometry_heads = heading == "odometry"
        wanted = []
        if self._config.prior_source == "pose":
            wanted.append(Topic(PoseWithCovarianceStamped, "prior_pose", self.on_prior_pose))
            odometry_heads = False
        else:
            wanted.append(Topic(NavSatFix, "fix", self.on_fix))
            if heading == "imu":
                wanted.append(Topic(Imu, "imu", self.on_imu))
        if odometry_heads or motion == "odometry":
            wanted.append(Topic(Odometry, "odometry", self.on_odometry, odometry_heads))
        if motion == "twist":
            wanted.append(Topic(TwistWithCovarianceStamped, "twist", self.on_twist, False))
        return wanted

    @property
    def frame(self) -> LocalFrame | None:
        return self._priors.frame

    @property
    def resets(self) -> int:
        """Return how often time was set back."""
        return self._priors.resets

    @property
    def newest_ns(self) -> int:
        """Return the latest stamp of what is kept of the sensors; 0: nothing is."""
        with self._lock:
            return self._priors.newest_ns

    def on_fix(self, msg: NavSatFix) -> None:
        """Take a GNSS fix of the antenna."""

        def add(stamp_ns: int) -> None:
            self._priors.add_fix(stamp_ns, *self._config.fix_of(msg))

        self._take("fix", msg.header, add)

    def on_imu(self, msg: Imu) -> None:
        """Take an orientation from true east, north and up."""
        self._take("imu", msg.header, partial(self._add_heading, msg))

    def on_odometry(self, msg: Odometry) -> None:
        """Take a heading, a speed and turn rate, or both, as the config says."""

        uses = []
        if self._config.heading_source == "odometry" and self._config.prior_source == "sensors":
            uses.append(partial(self._add_heading, msg))
        if self._config.motion_source == "odometry":
            uses.append(partial(self._add_motion, msg.twist))
        self._take("odometry", msg.header, *uses)

    def on_twist(self, msg: TwistWithCovarianceStamped) -> None:
        """Take a speed and turn rate of base_link."""
        self._take("twist", msg.header, partial(self._add_motion, msg.twist))

    def on_prior_pose(self, msg: PoseWithCovarianceStamped) -> None:
        """Take a pose of base_link in map, by a filter that this localizer does not feed."""

        def add(stamp_ns: int) -> None:
            if msg.header.frame_id != self._config.map_frame:
                raise ValueError(
                    f"prior_pose is in frame '{msg.header.frame_id}', not in "
                    f"'{self._config.map_frame}'"
                )
            self._priors.add_pose(stamp_ns, *pose_from_message(msg.pose))

        self._take("prior_pose", msg.header, add)

    def reset(self) -> None:
        """Forget what is known of the motion: time was set back."""
        with self._lock:
            self._priors.reset()
            self._image_order.clear()

    def take_notes(self) -> list[str]:
        """Return what was given up as the datum since the last call, one sentence each."""
        with self._lock:
            return self._priors.take_notes()

    @property
    def conflicts(self) -> dict[str, str]:
        """Return the topics that two publishers share, each with its sentence."""
        return {name: said for name, watch in self._watches.items() if (said := watch.conflict)}

    def is_ready(self, stamp_ns: int) -> bool:
        """Return True when the prior at the stamp will not get better by waiting."""
        with self._lock:
            return self._priors.is_settled(stamp_ns)

    def prior_age(self, stamp_ns: int) -> float:
        """Return seconds from the newest fix to the stamp, negative for a newer one; NaN: none."""
        with self._lock:
            newest = self._priors.newest_fix_ns
        return float("nan") if newest is None else (stamp_ns - newest) * 1e-9

    def prior_at(self, stamp_ns: int) -> Prior | tuple[Rejection, str]:
        """Return the prior at the stamp, or why there is none."""
        with self._lock:
            if conflicts := self.conflicts:
                # Nobody knows which of the two is the vehicle's.
                return Rejection.NO_PRIOR, "; ".join(conflicts.values())
            return self._priors.at(stamp_ns)

    def image_stamp(self, header: Header) -> int:
        """Return the stamp of an image (ns). Raises ValueError for one that is alone in going
        back, and while two cameras publish.
        """
        stamp_ns = checked_stamp_ns(header)
        with self._lock:
            watch = self._saw("image", stamp_ns, header)
            if watch.conflict:
                raise ValueError(watch.conflict)
            # One that is merely late or repeated is answered like any other.
            with contextlib.suppress(ValueError):
                self._image_order.add(Sample(stamp_ns))
            self._image_order.odd.clear()
            behind_s = (self._image_order[-1].stamp_ns - stamp_ns) * 1e-9
        if behind_s > BACKWARD_JUMP_S:
            raise ValueError(
                f"image stamp is {behind_s:.3f} s older than the newest one: not used unless the "
                "next one agrees"
            )
        return stamp_ns

    def drop(self, topic: str, reason: str) -> None:
        """Count a message that is not used, and why."""
        self.dropped[topic] += 1
        self.drop_reason[topic] = reason

    def _saw(self, topic: str, stamp_ns: int, header: Header) -> PublisherWatch:
        for name, watch in self._watches.items():
            if name != topic:
                watch.saw_other()
        self._watches[topic].saw(stamp_ns, header.frame_id)
        return self._watches[topic]

    def _take(self, topic: str, header: Header, *uses: Callable[[int], None]) -> None:
        """Hand the stamp of a message to each of its uses; what one refuses is a drop."""
        self.received[topic] += 1
        refused: list[str] = []
        with self._lock:
            resets = self._priors.resets
            try:
                stamp_ns = checked_stamp_ns(header)
            except ValueError as error:
                refused.append(f"{topic}: {error}")
                stamp_ns, uses = 0, ()
            usable = bool(stamp_ns) and not uses
            for use in uses:
                try:
                    use(stamp_ns)
                    usable = True
                except Unusable as error:
                    refused.append(str(error))
                except ValueError as error:
                    refused.append(str(error))
                    usable = True
                except Exception as error:  # one message, whatever is in it, ends no process
                    refused.append(f"{topic}: {type(error).__name__}: {error}")
            # The stamp of what says nothing is not worth more than the rest of it.
            if usable:
                self._saw(topic, stamp_ns, header)
            refused += self._priors.take_odd()
            if self._priors.resets != resets:
                self._image_order.clear()
        if refused:
            self.drop(topic, self._watches[topic].conflict or refused[-1])

    def _add_heading(self, msg: Imu | Odometry, stamp_ns: int) -> None:
        self._priors.add_heading(stamp_ns, *self._config.heading_of(msg))

    def _add_motion(self, twist: TwistWithCovariance, stamp_ns: int) -> None:
        self._priors.add_motion(Motion(stamp_ns, *motion_from_twist(twist)))


def _headings(config: BridgeConfig) -> str:
    """Return what the yaws of the heading's source are measured from, as PriorBuffer names it."""
    if config.prior_source == "pose":
        return "map"
    return {"imu": "north", "odometry": "map", "course": "course"}[config.heading_source]


def _lever(config: BridgeConfig) -> tuple[float, float]:
    """Return the point whose positions are heard, in base_link (m): the antenna or itself."""
    if config.prior_source == "pose":
        return 0.0, 0.0
    return config.antenna_offset[0], config.antenna_offset[1]
