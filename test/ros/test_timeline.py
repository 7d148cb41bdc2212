# SPDX-License-Identifier: Apache-2.0
"""Bridge and worker over simulated time, with the shipped parameters: who is answered, how late.

The localizer's part is a stand-in that works for WORK_S of simulated time and refuses what the
shipped network's search window does not hold.
"""

import math
import threading
from array import array
from pathlib import Path

import numpy as np
import pytest
import yaml
from sensor_msgs.msg import Image

from g2s_localizer.estimator.estimate import Estimate, Observation, Rejection
from g2s_localizer.estimator.localizer import SNAP_M
from g2s_localizer.model import model_config
from g2s_localizer.ros.bridge import BridgeConfig, LocalizerBridge
from g2s_localizer.ros.conversions import stamp_ns
from g2s_localizer.ros.worker import NewestWorker

SHIPPED = yaml.safe_load((Path(__file__).parents[2] / "config" / "localizer.yaml").read_text())
PARAMETERS = SHIPPED["/**"]["ros__parameters"]
WORK_S = 0.025
SPEED = 14.0
BEGIN, END = 102.5, 108.5
"""Seconds in which images are taken; the sensors begin at 100."""


class Clockwork:
    """Simulated time, a worker in its thread, and a localizer that works until a moment of it.

    `advance` goes on when the worker can do no more at this moment: it has nothing, its image
    waits for later sensors, or the localizer is busy.
    """

    attribution, checkpoint_id, map_offset_m, read_ahead = "", "stand-in", (0.0, 0.0), None

    def __init__(self, config, max_wait_s):
        self.now, self.busy_until = BEGIN, math.inf
        self.open, self.waits = 0, False
        self.arrived, self.taken, self.answers = {}, {}, []
        self.changed = threading.Condition()
        self.bridge, self.max_wait_s = LocalizerBridge(self, config), max_wait_s
        # The wait is that of simulated time: `is_ready` ends it.
        self.worker = NewestWorker(
            self.work, is_ready=self.is_ready, max_wait_s=20.0,
            on_replaced=self.close_one, on_error=self.fail, on_idle=lambda: None,
        )  # fmt: skip

    def localize(self, observation: Observation) -> Estimate:
        prior = observation.prior
        sigma = math.sqrt(np.linalg.eigvalsh(prior.covariance[:2, :2])[1])
        if 2.0 * sigma > model_config(preset="lift").search_m - SNAP_M / 2.0:
            return Estimate(prior.stamp_ns, prior, rejection=Rejection.UNCERTAIN_PRIOR)
        with self.changed:
            self.busy_until = self.now + WORK_S
            self.changed.notify_all()
            assert self.changed.wait_for(lambda: self.busy_until == math.inf, 20)
        return Estimate(prior.stamp_ns, prior, prior.pose, prior.covariance)

    def work(self, item):
        outgoing = self.bridge.on_image(*item)
        age_s = self.now - self.arrived[stamp_ns(item[0].header)]
        self.answers.append((outgoing.estimate, age_s))
        self.close_one()

    def is_ready(self, item) -> bool:
        stamp = stamp_ns(item[0].header)
        overdue = self.now >= self.taken.setdefault(stamp, self.now) + self.max_wait_s - 1e-9
        with self.changed:
            self.waits = not (overdue or self.bridge.is_ready(stamp))
            self.changed.notify_all()
            return not self.waits

    def close_one(self):
        with self.changed:
            self.open -= 1
            self.changed.notify_all()

    def fail(self, error):
        self.answers.append(error)
        self.close_one()

    def advance(self, t):
        """Let the worker do what it does until t."""
        while self.busy_until <= t:
            with self.changed:
                self.now, self.busy_until = self.busy_until, math.inf
                self.changed.notify_all()
            self.settle()
        self.now = t
        self.waits = False
        self.worker.wake()
        self.settle()

    def settle(self):
        with self.changed:
            assert self.changed.wait_for(self.is_quiet, 20)

    def is_quiet(self) -> bool:
        return self.open == 0 or self.waits or self.busy_until < math.inf

    def submit(self, image, info):
        self.arrived[stamp_ns(image.header)] = self.now
        with self.changed:
            self.open, self.waits = self.open + 1, False
        self.worker.submit((image, info))
        self.settle()


def shipped():
    """The BridgeConfig of the shipped file, with what it leaves to the vehicle."""
    prior = PARAMETERS["prior"]
    values = {
        "map_frame": "map", "datum": None, "camera_translation": (1.1, 0.0, 1.7),
        "camera_rpy": (0.0, 0.0, 0.0), "base_link_height": 0.0, "rectified": False,
        "antenna_offset": (0.0, 0.0), "imu_rpy": (0.0, 0.0, 0.0), "heading_offset": 0.0,
        "heading_source": PARAMETERS["heading"]["source"],
        "heading_default_sigma": PARAMETERS["heading"]["default_sigma"],
        "gnss_default_sigma_m": PARAMETERS["gnss"]["default_sigma_m"],
        "max_gap_s": prior["max_gap_s"], "max_extrapolation_s": prior["max_extrapolation_s"],
        "prior_source": prior["source"], "motion_source": prior["motion"],
    }  # fmt: skip
    return BridgeConfig(**values)


def events(sensors, clockwork, gnss_hz, late_s, camera_hz):
    """(arrival, who takes it, what) of fixes without covariance, headings at 50 Hz and images."""
    picture, bridge = sensors.image(1.0), clockwork.bridge
    noise = np.random.default_rng(0).bytes(100_000)
    found = []
    for t in np.arange(100.0, END + 1.0, 1.0 / gnss_hz):
        fix = sensors.fix(t, SPEED * (t - 100.0))
        fix.position_covariance_type = 0
        found.append((t + late_s + 0.003, bridge.on_fix, (fix,)))
    for t in np.arange(100.0, END + 1.0, 0.02):
        found.append((t + 0.002, bridge.on_imu, (sensors.imu(t, 0.0),)))
    for i, t in enumerate(np.arange(BEGIN, END, 1.0 / camera_hz) + 0.007):
        info = sensors.camera_info(t)
        image = Image(
            header=info.header, width=picture.width, height=picture.height, step=picture.step,
            encoding=picture.encoding, data=array("B", noise[i : i + len(picture.data)]),
        )  # fmt: skip
        found.append((t + 0.03, clockwork.submit, (image, info)))
    return sorted(found, key=lambda event: event[0])


@pytest.mark.parametrize("camera_hz", [10, 20])
@pytest.mark.parametrize("late_s", [0.0, 0.2])
@pytest.mark.parametrize("gnss_hz", [1, 5, 10])
def test_every_image_is_answered_at_once(sensors, registration_type, gnss_hz, late_s, camera_hz):
    clockwork = Clockwork(shipped(), PARAMETERS["prior"]["max_wait_s"])
    try:
        for t, take, what in events(sensors, clockwork, gnss_hz, late_s, camera_hz):
            clockwork.advance(t)
            take(*what)
        clockwork.advance(END + 2.0)
    finally:
        clockwork.worker.stop()
    images = len(np.arange(BEGIN, END, 1.0 / camera_hz))
    accepted = [age for estimate, age in clockwork.answers if estimate.accepted]
    refused = [estimate.reason for estimate, _ in clockwork.answers if not estimate.accepted]
    assert len(refused) <= 0.01 * images, refused[:3]
    assert len(accepted) >= 0.95 * images
    assert max(accepted) <= WORK_S + 0.005
