# SPDX-License-Identifier: Apache-2.0
"""Where a drive went or is to go: the lines of a ROS 2 bag's GNSS fixes, or of a GPX file."""

from __future__ import annotations

import math
from pathlib import Path
from xml.parsers import expat

from rosbags.rosbag2 import Reader, ReaderError

from g2s_localizer.geometry.geodesy import LatLon
from g2s_localizer.tools.bag import jazzy_types

FIX_TYPE = "sensor_msgs/msg/NavSatFix"

MOST_STEP_DEGREES = 0.005
"""Two fixes further apart than this (half a kilometre) are not joined by a line: one of them is
an outlier, or the receiver was off in between."""

Lines = list[list[LatLon]]


def read_route(path: Path) -> Lines:
    """The lines of a bag (a folder) or of a GPX file.

    Raises FileNotFoundError for an absent one, ValueError naming what is wrong with another.
    """
    if not path.exists():
        raise FileNotFoundError(f"no such bag or GPX file: {path}")
    lines = _read_bag(path) if path.is_dir() else _read_gpx(path)
    if not any(lines):
        what = f"fix of type {FIX_TYPE}" if path.is_dir() else "track or route"
        raise ValueError(f"{path} holds no {what}")
    return lines


def _read_bag(path: Path) -> Lines:
    typestore = jazzy_types()
    lines: dict[str, Lines] = {}
    try:
        with Reader(path) as bag:
            fixes = [c for c in bag.connections if c.msgtype == FIX_TYPE]
            for connection, _, data in bag.messages(fixes) if fixes else ():
                fix = typestore.deserialize_cdr(data, FIX_TYPE)
                finite = math.isfinite(fix.latitude) and math.isfinite(fix.longitude)
                if fix.status.status < 0 or not finite:
                    continue
                _append(lines.setdefault(connection.topic, []), LatLon(fix.latitude, fix.longitude))
    except (ReaderError, OSError) as error:
        raise ValueError(f"{path} is no complete ROS 2 bag: {error}") from error
    return [line for of_topic in lines.values() for line in of_topic]


def _append(lines: Lines, place: LatLon) -> None:
    last = lines[-1][-1] if lines else None
    near = (
        last is not None
        and max(
            abs(place.lat - last.lat),
            abs((place.lon - last.lon + 180.0) % 360.0 - 180.0) * math.cos(math.radians(place.lat)),
        )
        <= MOST_STEP_DEGREES
    )
    if near:
        lines[-1].append(place)
    else:
        lines.append([place])


def _read_gpx(path: Path) -> Lines:
    """Track segments and routes. A document type, and with it any entity, is refused."""
    lines: Lines = []
    parser = expat.ParserCreate(namespace_separator=" ")

    def start(name: str, attributes: dict[str, str]) -> None:
        element = name.rpartition(" ")[2]
        if element in ("trkseg", "rte"):
            lines.append([])
        elif element in ("trkpt", "rtept") and lines:
            lines[-1].append(LatLon(float(attributes["lat"]), float(attributes["lon"])))

    def refuse(*_: object) -> None:
        raise ValueError("it declares a document type, which GPX has none of")

    parser.StartElementHandler = start
    parser.StartDoctypeDeclHandler = refuse
    try:
        with path.open("rb") as file:
            parser.ParseFile(file)
    except expat.ExpatError as error:
        raise ValueError(f"{path} is no GPX file: {error}") from error
    except (ValueError, KeyError) as error:
        line = parser.CurrentLineNumber
        raise ValueError(f"{path} is no GPX file: line {line}: {error}") from error
    return [line for line in lines if line]
