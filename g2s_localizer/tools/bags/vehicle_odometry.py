# SPDX-License-Identifier: Apache-2.0
"""VehicleOdometry: what the wheels and the gyroscope of a KITTI drive would have measured."""

from __future__ import annotations

import math

import numpy as np

from g2s_localizer.kitti import OXTS_COLUMNS, KittiDrive, dead_reckon, integrate

SPEED_SCALE = 0.02
"""Share by which all speeds are too large or too small: wear and pressure of the tyres."""

SPEED_NOISE = 0.05
"""Standard deviation (m/s) of each speed: slip, ticks of the wheels."""

TURN_RATE_BIAS = math.radians(0.05)
"""Offset (rad/s) of all turn rates, of a gyroscope that was calibrated at standstill."""

TURN_RATE_NOISE = math.radians(0.1)
"""Standard deviation (rad/s) of each turn rate."""

RECORDED_TURN_RATE_STD = math.radians(0.1)
"""Standard deviation (rad/s) of the OXTS unit's turn rates, which its records do not tell."""

MIN_SPEED_STD = 0.01
"""Standard deviation (m/s) that a speed has at least."""

START_STD = (0.01, math.radians(0.05))
"""Standard deviations (m, rad) of the first pose: a filter refuses a covariance of zero."""


class VehicleOdometry:
    """Velocities of a drive's records with the errors of a usual car, and the pose by them.

    noise  in units of those errors: 1 is SPEED_SCALE, SPEED_NOISE, TURN_RATE_BIAS and
           TURN_RATE_NOISE, 0 the records as they are. Scale and bias have these sizes in every
           drive, their signs are drawn, so that no seed hides them.

    forward, left   (N,) m/s
    turn            (N,) rad/s, to the left
    speed_std       (N,) m/s, and turn_std (rad/s): standard deviations
    path            (N, 3) x, y (m), yaw (rad), from zero at the first record
    path_std        (N, 2) of position per axis (m) and of yaw (rad): as if no error ever changed

    Raises ValueError for a noise that is negative or not finite.
    """

    def __init__(self, drive: KittiDrive, noise: float, seed: int) -> None:
        if not (math.isfinite(noise) and noise >= 0.0):
            raise ValueError(f"the noise of odometry must not be negative, got {noise}")
        columns = ("vf", "vl", "wu", "vel_accuracy")
        forward, left, turn, accuracy = (
            drive.oxts[:, OXTS_COLUMNS.index(name)] for name in columns
        )
        # A stream of its own: the other sensors' errors do not depend on this one.
        rng = np.random.default_rng([seed, 1])
        scale, bias = noise * rng.choice([-1.0, 1.0], 2) * (SPEED_SCALE, TURN_RATE_BIAS)
        jitter = noise * rng.standard_normal((2, len(forward)))
        self.forward = (1.0 + scale) * forward + SPEED_NOISE * jitter[0]
        self.left = (1.0 + scale) * left
        self.turn = turn + bias + TURN_RATE_NOISE * jitter[1]

        speed = np.hypot(forward, left)
        self.speed_std = np.sqrt(
            np.maximum(accuracy, MIN_SPEED_STD) ** 2
            + noise**2 * ((SPEED_SCALE * speed) ** 2 + SPEED_NOISE**2)
        )
        self.turn_std = math.hypot(
            RECORDED_TURN_RATE_STD, noise * TURN_RATE_BIAS, noise * TURN_RATE_NOISE
        )
        seconds = (drive.oxts_stamps - drive.oxts_stamps[0]) * 1e-9
        self.path = dead_reckon(seconds, self.forward, self.left, self.turn)
        yaw_std = START_STD[1] + self.turn_std * seconds
        along, across = integrate(seconds, self.speed_std), integrate(seconds, speed * yaw_std)
        self.path_std = np.stack([START_STD[0] + np.hypot(along, across), yaw_std], axis=1)
