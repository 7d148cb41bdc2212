# SPDX-License-Identifier: Apache-2.0
"""A drive through a world, written in the layout of KITTI's raw data, with exact truth."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from g2s_localizer.geometry import Camera, LocalFrame
from g2s_localizer.geometry.mounting import matrix_from_rpy
from g2s_localizer.kitti import IMU_HEIGHT, KittiDrive
from training.simulation.objects import draw_traffic
from training.simulation.preset import PRESET_VERSION, Stream, stream
from training.simulation.route import LEAD_M
from training.simulation.street_view import expose, render_street
from training.simulation.world import World

FloatArray = NDArray[np.float64]

DATE = "2011_09_26"
_START = np.datetime64("2011-09-26T10:00:00", "ns").astype(np.int64)
_IMAGE_LAG_NS = 4_000_000
_ALTITUDE_M = 110.0

CALIBRATION = {
    "calib_cam_to_cam.txt": """\
calib_time: 09-Jan-2012 13:57:47
corner_dist: 9.950000e-02
R_rect_00: 9.999239e-01 9.837760e-03 -7.445048e-03 -9.869795e-03 9.999421e-01 -4.278459e-03 \
7.402527e-03 4.351614e-03 9.999631e-01
S_rect_02: 1.242000e+03 3.750000e+02
P_rect_02: 7.215377e+02 0.000000e+00 6.095593e+02 4.485728e+01 0.000000e+00 7.215377e+02 \
1.728540e+02 2.163791e-01 0.000000e+00 0.000000e+00 1.000000e+00 2.745884e-03
""",
    "calib_velo_to_cam.txt": """\
calib_time: 15-Mar-2012 11:37:16
R: 7.533745e-03 -9.999714e-01 -6.166020e-04 1.480249e-02 7.280733e-04 -9.998902e-01 \
9.998621e-01 7.523790e-03 1.480755e-02
T: -4.069766e-03 -7.631618e-02 -2.717806e-01
""",
    "calib_imu_to_velo.txt": """\
calib_time: 25-May-2012 16:47:16
R: 9.999976e-01 7.553071e-04 -2.035826e-03 -7.854027e-04 9.998898e-01 -1.482298e-02 \
2.024406e-03 1.482454e-02 9.998881e-01
T: -8.086759e-01 3.195559e-01 -7.997231e-01
""",
}
"""KITTI's own calibration of 2011-09-26: the lines that place and describe camera 02."""


@dataclass(frozen=True, eq=False)
class Motion:
    """Path of base_link, on its lane of the route; time in s from the start."""

    world: World
    lane_left: float
    wander: FloatArray
    speed: FloatArray
    """(3,) mean (m/s), amplitude (m/s), angular frequency (rad/s)"""
    sway: FloatArray
    """(2, 2) angular frequencies and phases of body pitch and roll"""

    def distance(self, t: float) -> float:
        mean, amplitude, frequency = self.speed
        return LEAD_M + mean * t + amplitude / frequency * (1 - math.cos(frequency * t))

    def position(self, t: float) -> FloatArray:
        """Return (3,) m; z is the terrain's."""
        s = self.distance(t)
        left = self.lane_left + self.wander[0] * math.sin(s / 23.0 + self.wander[1])
        x, y = self.world.network.route.line.at(s, left)[0]
        return np.array([x, y, float(self.world.terrain.height(x, y))])

    def attitude(self, t: float) -> FloatArray:
        """Return roll, pitch, yaw (rad), KITTI's signs: left side up, front down, from east."""
        before, after = self.position(t - 0.05), self.position(t + 0.05)
        step = after - before
        yaw = math.atan2(step[1], step[0])
        slope_x, slope_y = self.world.terrain.slope(*self.position(t)[:2])
        ahead = slope_x * math.cos(yaw) + slope_y * math.sin(yaw)
        aside = -slope_x * math.sin(yaw) + slope_y * math.cos(yaw)
        sway = math.radians(self.world.preset.body_deg) * np.sin(self.sway[0] * t + self.sway[1])
        return np.array([math.atan(aside) + sway[1], -math.atan(ahead) + sway[0], yaw])

    def transform(self, t: float) -> FloatArray:
        """Return (4, 4) base_link in the world."""
        roll, pitch, yaw = self.attitude(t)
        T = np.eye(4)
        T[:3, :3] = matrix_from_rpy(roll, pitch, yaw)
        T[:3, 3] = self.position(t)
        return T


def draw_motion(world: World) -> Motion:
    rng = stream(world.seed, Stream.MOTION)
    lane = int(rng.integers(0, world.style.lanes))
    return Motion(
        world,
        -world.style.lane_m * (lane + 0.5),
        np.array([rng.uniform(0.05, 0.3), rng.uniform(0, 6.28)]),
        np.array([rng.uniform(8.8, 10.2), 0.8, rng.uniform(0.15, 0.4)]),
        np.array([rng.uniform(1.0, 4.0, 2), rng.uniform(0.0, 6.28, 2)]),
    )


def route_length(frames: int, rate: float) -> float:
    """Return metres of route that `frames` at `rate` per second need, whatever the motion."""
    return 11.0 * frames / rate + 20.0


def calibration_of(T_base_camera: FloatArray) -> dict[str, str]:
    """Return files in place of CALIBRATION for KITTI's camera 02 at another place (4, 4).

    It is already rectified, and the laser's axes are those of the IMU.
    """
    T_base_imu = np.eye(4)
    T_base_imu[2, 3] = IMU_HEIGHT
    return {
        "calib_cam_to_cam.txt": f"""\
R_rect_00: {_numbers(np.eye(3))}
S_rect_02: 1.242000e+03 3.750000e+02
P_rect_02: 7.215377e+02 0 6.095593e+02 0 0 7.215377e+02 1.728540e+02 0 0 0 1 0
""",
        "calib_velo_to_cam.txt": _transform(np.linalg.inv(T_base_camera) @ T_base_imu),
        "calib_imu_to_velo.txt": _transform(np.eye(4)),
    }


def _transform(T: FloatArray) -> str:
    return f"R: {_numbers(T[:3, :3])}\nT: {_numbers(T[:3, 3])}\n"


def _numbers(values: FloatArray) -> str:
    return " ".join(f"{value:.12e}" for value in values.ravel())


def write_calibration(root: Path, T_base_camera: FloatArray | None = None) -> None:
    folder = root / DATE
    folder.mkdir(parents=True, exist_ok=True)
    files = CALIBRATION if T_base_camera is None else calibration_of(T_base_camera)
    for name, text in files.items():
        (folder / name).write_text(text)


def write_drive(
    world: World, root: Path, frames: int, rate: float, T_base_camera: FloatArray | None = None
) -> Iterator[int]:
    """Write calibration, timestamps, OXTS records and images; yields the number of each frame
    once its image is on disk.

    T_base_camera  (4, 4), z from the road; None: where KITTI's camera is
    """
    name = drive_name(world.seed)
    folder = root / DATE / name
    images, records = folder / "image_02" / "data", folder / "oxts" / "data"
    images.mkdir(parents=True)
    records.mkdir(parents=True)
    write_calibration(root, T_base_camera)
    motion = draw_motion(world)
    period = round(1e9 / rate)
    stamps = _START + np.arange(frames, dtype=np.int64) * period
    _write_stamps(folder / "oxts" / "timestamps.txt", stamps)
    _write_stamps(folder / "image_02" / "timestamps.txt", stamps + _IMAGE_LAG_NS)
    frame = LocalFrame(world.datum)
    for i in range(frames):
        record = _oxts(motion, frame, i * period / 1e9)
        (records / f"{i:010d}.txt").write_text(" ".join(f"{v:.13g}" for v in record) + "\n")
    camera: Camera = KittiDrive(root, name).camera
    rng = stream(world.seed, Stream.CAMERA)
    gain = math.exp(rng.normal(0.0, world.preset.exposure_spread))
    traffic = draw_traffic(world.network, world.style, world.preset, rng)
    for i in range(frames):
        t = (i * period + _IMAGE_LAG_NS) / 1e9
        view = render_street(world, camera, motion.transform(t), traffic.at(t))
        image = expose(view, rng, gain, world.preset.camera_noise)
        file = images / f"{i:010d}.png"
        if not cv2.imwrite(str(file), image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1]):
            raise OSError(f"cannot write {file}")
        yield i


def write_description(world: World, root: Path, difficulty: str, offset: FloatArray) -> None:
    """Write world.json: the data, and the imagery's error, which only evaluation may use."""
    description = {
        "synthetic": True,
        "seed": world.seed,
        "difficulty": difficulty,
        "preset_version": PRESET_VERSION,
        "drive": drive_name(world.seed),
        "imagery_offset_m": offset.tolist(),
        "datum": [world.datum.lat, world.datum.lon],
    }
    (root / "world.json").write_text(json.dumps(description, indent=2) + "\n")


def drive_name(seed: int) -> str:
    return f"{DATE}_drive_{seed % 10000:04d}_sync"


def _oxts(motion: Motion, frame: LocalFrame, t: float) -> list[float]:
    """Return the 30 numbers of an OXTS record; rates and accelerations by central differences."""
    h = 0.05
    position, attitude = motion.position(t), motion.attitude(t)
    place = frame.to_latlon(position[0], position[1])
    velocity = (motion.position(t + h) - motion.position(t - h)) / (2 * h)
    acceleration = (motion.position(t + h) - 2 * position + motion.position(t - h)) / h**2
    acceleration[2] += 9.81
    turn = motion.attitude(t + h) - motion.attitude(t - h)
    rates = (turn + math.pi) % (2 * math.pi) - math.pi
    rates /= 2 * h
    R = matrix_from_rpy(*attitude)
    flat = matrix_from_rpy(0.0, 0.0, attitude[2])
    body_a, level_a, level_v = R.T @ acceleration, flat.T @ acceleration, flat.T @ velocity
    return [
        place.lat, place.lon, _ALTITUDE_M + position[2] + IMU_HEIGHT, *attitude,
        velocity[1], velocity[0], *level_v, *body_a, *level_a, *rates, *rates,
        0.02, 0.01, 4, 10, 4, 4, 0,
    ]  # fmt: skip


def _write_stamps(file: Path, stamps: NDArray[np.int64]) -> None:
    lines = [str(np.datetime64(int(s), "ns")).replace("T", " ") for s in stamps]
    file.write_text("\n".join(lines) + "\n")
