# SPDX-License-Identifier: Apache-2.0
"""KittiDrive: the colour images, calibration and OXTS records of a KITTI raw drive."""

from __future__ import annotations

import logging
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from g2s_localizer.geometry.camera import Camera
from g2s_localizer.geometry.geodesy import LatLon, LocalFrame
from g2s_localizer.geometry.pose import wrap_angle
from g2s_localizer.imagery.picture import UnusablePicture, decode_picture

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# fmt: off
OXTS_COLUMNS = (
    "lat", "lon", "alt", "roll", "pitch", "yaw",
    "vn", "ve", "vf", "vl", "vu", "ax", "ay", "az", "af", "al", "au",
    "wx", "wy", "wz", "wf", "wl", "wu", "pos_accuracy", "vel_accuracy",
    "navstat", "numsats", "posmode", "velmode", "orimode",
)
# fmt: on
"""Columns of an OXTS record: degrees, metres, radians, m/s, m/s^2, rad/s."""

_LOG = logging.getLogger(__name__)

_SUFFIXES = (".png", ".jpg", ".jpeg")
"""Suffixes of images, the better one first: a drive may hold a frame as more than one."""

IMU_HEIGHT = 0.93
"""Height of the OXTS unit above the road (m), from KITTI's drawing of the vehicle."""


class KittiDrive:
    """One drive of KITTI's raw data in its original layout.

    root   folder that holds the date folders
    drive  "2011_09_26_drive_0005_sync"; "_sync" may be left out

    Images (PNG or JPEG, in the folder `images`) may be missing: `frames` names those that exist
    and have a stamp. An OXTS record is that of the vehicle at base_link, the point of the road
    under the OXTS unit, axes those of the unit. Raises FileNotFoundError naming the file or
    folder that is not there, ValueError naming the file and what is wrong in it.
    """

    def __init__(self, root: Path, drive: str) -> None:
        if drive.endswith("_extract"):
            raise ValueError(
                f"{drive} is not rectified, and its records are not those of its images: take "
                f"{drive.removesuffix('_extract')}_sync"
            )
        self.name = drive if drive.endswith("_sync") else f"{drive}_sync"
        self._date = root / self.name[:10]
        self._require_folder()
        self.images = self._date / self.name / "image_02" / "data"
        oxts = self._date / self.name / "oxts"
        image_stamps = _read_stamps(self.images.parent / "timestamps.txt")
        self.image_stamps = np.array([stamp or 0 for stamp in image_stamps], np.int64)
        self.oxts_stamps = _require_all(oxts / "timestamps.txt")
        self.oxts = _read_oxts(oxts, len(self.oxts_stamps))
        self._files = _numbered(self.images, _SUFFIXES)
        self.frames = self._find_frames(image_stamps)

    @cached_property
    def camera(self) -> Camera:
        """Return the rectified colour camera 02 on base_link."""
        rig = _read_calibration(self._date / "calib_cam_to_cam.txt")
        P = rig.matrix("P_rect_02", 3, 4)
        width, height = rig.matrix("S_rect_02", 1, 2)[0]
        T_rect_cam0 = np.eye(4)
        T_rect_cam0[:3, :3] = rig.matrix("R_rect_00", 3, 3)
        # P_rect_02 = K [I | t]: camera 02 stands beside the rectified camera 00.
        T_cam2_rect = np.eye(4)
        T_cam2_rect[:3, 3] = np.linalg.solve(P[:, :3], P[:, 3])
        T_cam0_velo = _read_calibration(self._date / "calib_velo_to_cam.txt").transform()
        T_velo_imu = _read_calibration(self._date / "calib_imu_to_velo.txt").transform()
        T_base_camera = np.linalg.inv(T_cam2_rect @ T_rect_cam0 @ T_cam0_velo @ T_velo_imu)
        T_base_camera[2, 3] += IMU_HEIGHT
        return Camera(P[:, :3], int(width), int(height), np.zeros(5), T_base_camera)

    def image(self, frame: int) -> NDArray[np.uint8]:
        """Return the rectified image of `frame`: (H, W, 3) uint8 RGB."""
        file = self._files.get(frame, self.images / f"{frame:010d}.png")
        if not file.is_file():
            raise FileNotFoundError(f"no such image: {file}")
        try:
            image = decode_picture(file.read_bytes())
        except UnusablePicture as error:
            raise ValueError(f"{file}: {error}") from error
        if image.shape[:2] != (self.camera.height, self.camera.width):
            raise ValueError(
                f"{file} has {image.shape[1]} x {image.shape[0]} pixels, S_rect_02 says "
                f"{self.camera.width} x {self.camera.height}"
            )
        return image

    def latlon(self, record: int) -> LatLon:
        """Return where OXTS record `record` puts base_link."""
        return LatLon(self.oxts[record, 0], self.oxts[record, 1])

    def yaw(self, record: int) -> float:
        """Return the heading of OXTS record `record`: rad, counter-clockwise from east."""
        return wrap_angle(float(self.oxts[record, OXTS_COLUMNS.index("yaw")]))

    def pose_at(self, stamp: int) -> tuple[LatLon, float]:
        """Place and yaw (rad) of base_link at `stamp` (ns), linear between OXTS records.

        The first image is often taken some milliseconds before the first record: up to one
        period outside the records the motion of the nearest two is carried on. ValueError
        beyond that.
        """
        stamps = self.oxts_stamps
        if len(stamps) < 2:
            raise ValueError(f"{self.name} has {len(stamps)} OXTS record(s), needs two")
        after = int(np.clip(np.searchsorted(stamps, stamp), 1, len(stamps) - 1))
        period = int(stamps[after] - stamps[after - 1])
        share = int(stamp - stamps[after - 1]) / period
        if not -1.0 <= share <= 2.0:
            raise ValueError(f"{stamp} ns lies outside the OXTS records of {self.name}")
        frame = LocalFrame(self.latlon(after - 1))
        x, y = frame.to_xy(self.latlon(after))
        turn = wrap_angle(self.yaw(after) - self.yaw(after - 1))
        return frame.to_latlon(share * x, share * y), wrap_angle(self.yaw(after - 1) + share * turn)

    @cached_property
    def dead_reckoned(self) -> FloatArray:
        """Return path (N, 3) of the OXTS records: x, y (m), yaw (rad) from zero at the first of
        them, integrated from speed and turn rate alone.
        """
        seconds = (self.oxts_stamps - self.oxts_stamps[0]) * 1e-9
        rates = (self.oxts[:, OXTS_COLUMNS.index(name)] for name in ("vf", "vl", "wu"))
        return dead_reckon(seconds, *rates)

    def _require_folder(self) -> None:
        folder = self._date / self.name
        extract = folder.with_name(folder.name.removesuffix("_sync") + "_extract")
        if not folder.is_dir() and extract.is_dir():
            raise FileNotFoundError(
                f"no such folder: {folder}; {extract.name} beside it is the drive as it was "
                "recorded, neither rectified nor synchronised"
            )

    def _find_frames(self, stamps: list[int | None]) -> tuple[int, ...]:
        frames = sorted(self._files)
        if frames and frames[-1] >= len(stamps):
            raise ValueError(
                f"{self._files[frames[-1]]} has no line among the {len(stamps)} of "
                f"{self.images.parent / 'timestamps.txt'}"
            )
        if blank := [frame for frame in frames if stamps[frame] is None]:
            _LOG.warning(
                "%s: %d images have no stamp, their lines in timestamps.txt are blank: left out, "
                "the first of them is frame %d",
                *(self.name, len(blank), blank[0]),
            )
        return tuple(frame for frame in frames if stamps[frame] is not None)


def dead_reckon(
    seconds: FloatArray, forward: FloatArray, left: FloatArray, turn: FloatArray
) -> FloatArray:
    """Return path (N, 3) of x, y, yaw from zero, by trapezoids between the records.

    seconds (N,) s; forward and left (N,) m/s in the vehicle frame; turn (N,) rad/s.
    """
    yaw = integrate(seconds, turn)
    xy = integrate(seconds, (forward + 1j * left) * np.exp(1j * yaw))
    return np.stack([xy.real, xy.imag, yaw], axis=1)


def integrate(seconds: FloatArray, rates: NDArray[Any]) -> NDArray[Any]:
    """Return (N,) from zero at the first of `seconds` (N,), by trapezoids between rates (N,)."""
    steps = 0.5 * (rates[1:] + rates[:-1]) * np.diff(seconds)
    return np.concatenate([np.zeros(1, rates.dtype), np.cumsum(steps)])


class _Calibration:
    """The "name: numbers" lines of a calibration file."""

    def __init__(self, file: Path, lines: dict[str, str]) -> None:
        self._file = file
        self._lines = lines

    def matrix(self, name: str, rows: int, columns: int) -> FloatArray:
        if name not in self._lines:
            raise ValueError(f"{self._file} has no line {name}")
        values = _numbers(self._lines[name], f"{self._file}, {name}")
        if len(values) != rows * columns:
            raise ValueError(
                f"{self._file}, {name}: {len(values)} numbers, expected {rows * columns}"
            )
        return values.reshape(rows, columns)

    def transform(self) -> FloatArray:
        """Return (4, 4) made of the lines R and T."""
        transform = np.eye(4)
        transform[:3, :3] = self.matrix("R", 3, 3)
        transform[:3, 3:] = self.matrix("T", 3, 1)
        return transform


def _read_calibration(file: Path) -> _Calibration:
    named = (line.partition(":") for line in _read_lines(file))
    return _Calibration(file, {name.strip(): values for name, _, values in named})


def _read_stamps(file: Path) -> list[int | None]:
    """Read lines "2011-09-26 13:04:32.345808896" as UTC, ns, rising; None for a blank one."""
    stamps: list[int | None] = []
    newest = None
    for number, line in enumerate(_read_lines(file), start=1):
        if not line.strip():
            stamps.append(None)
            continue
        try:
            stamp = int(np.datetime64(line.strip(), "ns").astype(np.int64))
        except ValueError as error:
            raise ValueError(f'{file}, line {number}: "{line}" is no timestamp') from error
        if newest is not None and stamp <= newest:
            raise ValueError(f"{file}, line {number}: earlier than the line before it")
        newest = stamp
        stamps.append(stamp)
    return stamps


def _require_all(file: Path) -> IntArray:
    """Read stamps (N,) of a file in which every line must have one."""
    stamps = _read_stamps(file)
    if None in stamps:
        raise ValueError(
            f"{file}, line {stamps.index(None) + 1} is blank: its record has no stamp; where the "
            "record is one of a gap, give it a stamp between those beside it"
        )
    return np.array(stamps, np.int64)


def _numbered(folder: Path, suffixes: tuple[str, ...]) -> dict[int, Path]:
    """Return files by the number that their name is; others (._ of macOS) are left out."""
    found: dict[int, Path] = {}
    for suffix in reversed(suffixes):
        files = (file for file in folder.glob("*") if file.suffix.lower() == suffix)
        found |= {int(file.stem): file for file in files if file.stem.isdecimal()}
    return found


def _read_oxts(folder: Path, count: int) -> FloatArray:
    """Return (count, 30) records, one file each."""
    files = _numbered(folder / "data", (".txt",))
    if len(files) != count:
        raise ValueError(
            f"{folder / 'data'} holds {len(files)} records, "
            f"{folder / 'timestamps.txt'} has {count} lines"
        )
    records = np.empty((count, len(OXTS_COLUMNS)))
    for index in range(count):
        file = folder / "data" / f"{index:010d}.txt"
        values = _numbers(" ".join(_read_lines(file)), str(file))
        if len(values) != len(OXTS_COLUMNS):
            raise ValueError(
                f"{file}: {len(values)} numbers, an OXTS record has {len(OXTS_COLUMNS)}"
            )
        records[index] = values
    return records


def _read_lines(file: Path) -> list[str]:
    if not file.is_file():
        raise FileNotFoundError(f"no such file: {file}")
    text = file.read_text(encoding="utf-8").rstrip()
    if not text:
        raise ValueError(f"{file} is empty")
    return text.splitlines()


def _numbers(text: str, where: str) -> FloatArray:
    values = []
    for word in text.split():
        try:
            values.append(float(word))
        except ValueError as error:
            raise ValueError(f'{where}: "{word}" is no number') from error
    result = np.array(values, np.float64)
    if not np.isfinite(result).all():
        raise ValueError(f"{where}: holds a number that is not finite")
    return result
