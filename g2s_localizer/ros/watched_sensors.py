# SPDX-License-Identifier: Apache-2.0
"""Sensors under the watch on the heading, without images: for recordings."""

from __future__ import annotations

from g2s_localizer.estimator.finding import Finding
from g2s_localizer.estimator.setup_watch import SetupWatch
from g2s_localizer.ros.sensor_input import BridgeConfig, SensorInput


class WatchedSensors(SensorInput):
    """Hears the sensors as the bridge does, and compares headings with the way driven."""

    def __init__(self, config: BridgeConfig) -> None:
        super().__init__(config)
        self._watch = SetupWatch(
            config.heading_source != "course" and config.prior_source == "sensors"
        )

    def heading_finding(self) -> Finding | None:
        """Return what is wrong with the heading by the messages taken so far, None for nothing."""
        with self._lock:
            self._watch.follow(self._priors)
        return self._watch.heading_finding

    @property
    def heading_confirmed(self) -> bool:
        """Return whether the vehicle was seen to drive where the heading points."""
        return self._watch.heading_confirmed
