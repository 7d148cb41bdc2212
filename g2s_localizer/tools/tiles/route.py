# SPDX-License-Identifier: Apache-2.0
"""Route of a drive: the lines of a bag's GNSS fixes, or of a GPX file."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from xml.parsers import expat

import numpy as np
from rosbags.interfaces import Connection

from g2s_localizer.bag_reader import FILES, BagReader
from g2s_localizer.geometry.geodesy import LatLon

FIX_TYPE = "sensor_msgs/msg/NavSatFix"

NO_FIX = -1
"""NavSatStatus; -2 is a status that nobody filled in."""

RECORDED_STEP_DEGREES = 0.005
"""Two fixes further apart than this (half a kilometre) are not joined by a line: one of them is
an outlier, or the receiver was off in between."""

DRAWN_STEP_DEGREES = 0.05
"""The same for a GPX file, which may be drawn by hand with places only where the road bends."""

_USUAL_STEPS = 20.0
"""A line whose places are far from each other throughout is joined up to so many of its steps."""

Lines = list[list[LatLon]]


def read_route(path: Path) -> Lines:
    """Return the lines of a bag (its folder or file, of ROS 2 or ROS 1) or of a GPX file.

    (0, 0) is no place, and places that a jump lies between are in different lines. Raises
    FileNotFoundError for an absent one, ValueError naming what is wrong with another.
    """
    if not path.exists():
        raise FileNotFoundError(f"no such bag or GPX file: {path}")
    if path.is_dir() or path.suffix in (*FILES, ".bag"):
        return _read_bag(path)
    if not path.is_file():
        raise ValueError(f"{path} is no regular file: give a bag or a GPX file")
    lines = _read_gpx(path)
    if not lines:
        raise ValueError(f"{path} holds no track or route")
    return lines


def _read_bag(path: Path) -> Lines:
    places: dict[str, list[LatLon]] = {}
    with BagReader(path) as bag:
        fixes = [c for c in bag.connections if c.msgtype == FIX_TYPE]
        count = 0
        for connection, _, data in bag.messages(fixes):
            count += 1
            if (place := _place(bag, connection, data)) is not None:
                places.setdefault(connection.topic, []).append(place)
        if not count:
            raise ValueError(
                f"{path} holds no fix of type {FIX_TYPE}; its topics: {bag.topics or 'none'}"
            )
    lines = [
        line for of_topic in places.values() for line in _joined(of_topic, RECORDED_STEP_DEGREES)
    ]
    if not lines:
        topics = ", ".join(sorted({connection.topic for connection in fixes}))
        raise ValueError(
            f"{path} holds no fix that is a place: {count} messages on {topics}, none of them that "
            "can be read and has a place other than (0, 0) and a status other than -1 (no fix)"
        )
    return lines


def _place(bag: BagReader, connection: Connection, data: bytes) -> LatLon | None:
    """Return where a NavSatFix is, None where it says nothing or cannot be read."""
    try:
        fix = bag.deserialize(data, connection)
        if fix.status.status == NO_FIX:
            return None
        return LatLon(float(fix.latitude), float(fix.longitude))
    except ValueError:
        return None


def _joined(places: Sequence[LatLon], step_degrees: float) -> Lines:
    """Return the lines through `places` in their order, broken at jumps, without those at (0, 0).

    step_degrees  largest step that is never a jump; a larger one is none either where the lower
                  quartile of all steps is not much smaller
    """
    real = [place for place in places if (place.lat, place.lon) != (0.0, 0.0)]
    if not real:
        return []
    lat, lon = np.array([[place.lat, place.lon] for place in real], np.float64).T
    across = (np.diff(lon) + 180.0) % 360.0 - 180.0
    steps = np.maximum(np.abs(np.diff(lat)), np.abs(across) * np.cos(np.radians(lat[1:])))
    usual = float(np.quantile(steps, 0.25, method="lower")) if len(steps) else 0.0
    jumps = np.flatnonzero(steps > max(step_degrees, _USUAL_STEPS * usual)) + 1
    bounds = [0, *jumps.tolist(), len(real)]
    return [real[first:last] for first, last in pairwise(bounds)]


def _read_gpx(path: Path) -> Lines:
    """Return track segments and routes. A document type, and with it any entity, is refused."""
    drawn: Lines = []
    parser = expat.ParserCreate(namespace_separator=" ")

    def start(name: str, attributes: dict[str, str]) -> None:
        element = name.rpartition(" ")[2]
        if element in ("trkseg", "rte"):
            drawn.append([])
        elif element in ("trkpt", "rtept") and drawn:
            drawn[-1].append(LatLon(float(attributes["lat"]), float(attributes["lon"])))

    def refuse(*_: object) -> None:
        raise ValueError("it declares a document type, which GPX has none of")

    parser.StartElementHandler = start
    parser.StartDoctypeDeclHandler = refuse
    try:
        with path.open("rb") as file:
            parser.ParseFile(file)
    except expat.ExpatError as error:
        raise ValueError(f"{path} is no GPX file: {error}") from error
    except (ValueError, LookupError) as error:
        line = parser.CurrentLineNumber
        raise ValueError(f"{path} is no GPX file: line {line}: {error}") from error
    return [line for each in drawn for line in _joined(each, DRAWN_STEP_DEGREES)]
