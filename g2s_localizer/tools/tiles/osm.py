# SPDX-License-Identifier: Apache-2.0
"""OpenStreetMap XML, and Lanelet2's dialect of it: ways and relations with their places."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from pathlib import Path
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray

from g2s_localizer.geometry.geodesy import MERCATOR_MAX_LATITUDE
from g2s_localizer.imagery.level import Box
from g2s_localizer.imagery.local_file import UnreadableFile, read_file

FloatArray = NDArray[np.float64]
Tags = dict[str, str]

MAX_BYTES = 256 * 1024 * 1024
"""Largest file (bytes): what is read of it takes about five times as much memory. A city has some
100 MB."""


@dataclass(frozen=True)
class Way:
    """A line, or a ring where the first node is the last one too."""

    tags: Tags
    nodes: tuple[str, ...]
    """their identifiers, two or more"""
    places: FloatArray
    """(N, 2) latitude and longitude in degrees"""


@dataclass(frozen=True)
class Relation:
    tags: Tags
    members: list[tuple[str, Way]]
    """role and way; those that the file does not hold are left out"""


@dataclass(frozen=True)
class OsmMap:
    """ways, relations  in the order of the file
    bounds           the area that the file says it covers, None where it says nothing
    rights           copyright and licence that the file states, "" where it states none
    """

    ways: list[Way]
    relations: list[Relation]
    bounds: Box | None
    rights: tuple[str, str]


def read_osm(path: Path) -> OsmMap:
    """Read an OpenStreetMap or Lanelet2 XML file of at most MAX_BYTES.

    Ways and members that the file does not hold whole, as at the border of an extract, are kept
    as far as they are there. A document type, and with it any entity, is refused. Raises
    FileNotFoundError for an absent file, ValueError naming path, line and what is wrong.
    """
    try:
        content = read_file(path, MAX_BYTES)
    except UnreadableFile as error:
        raise ValueError(f"{path}: {error}; cut larger maps with osmium extract") from error
    reader = _Reader()
    try:
        reader.parser.Parse(content, True)
    except expat.ExpatError as error:
        raise ValueError(
            f"{path} is no XML: {error}; .pbf and packed files have to be converted to .osm first"
        ) from error
    except (ValueError, LookupError) as error:
        raise ValueError(f"{path}, line {reader.parser.CurrentLineNumber}: {error}") from error
    return reader.result()


class _Reader:
    """Takes the elements of a file as they come."""

    def __init__(self) -> None:
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.StartDoctypeDeclHandler = self._refuse
        self._index: dict[str, int] = {}
        self._places = array("d")
        self._ways: dict[str, tuple[Tags, list[str]]] = {}
        self._relations: list[tuple[Tags, list[tuple[str, str]]]] = []
        self._bounds: list[Box] = []
        self._rights = ("", "")
        self._depth = 0
        self._element: dict[str, str] = {}
        self._tags: Tags = {}
        self._parts: list[tuple[str, str]] = []

    def result(self) -> OsmMap:
        places = np.array(self._places, np.float64).reshape(-1, 2)
        ways: dict[str, Way] = {}
        for name, (tags, refs) in self._ways.items():
            known = [ref for ref in refs if ref in self._index]
            if len(known) > 1:
                at = [self._index[ref] for ref in known]
                ways[name] = Way(tags, tuple(known), places[at])
        relations = [
            Relation(tags, [(role, ways[ref]) for role, ref in members if ref in ways])
            for tags, members in self._relations
        ]
        boxes = self._bounds
        bounds = boxes and Box(
            min(box.west for box in boxes),
            min(box.south for box in boxes),
            max(box.east for box in boxes),
            max(box.north for box in boxes),
        )
        return OsmMap(list(ways.values()), relations, bounds or None, self._rights)

    def _refuse(self, *_: object) -> None:
        raise ValueError("it declares a document type, which OpenStreetMap's files have none of")

    def _start(self, name: str, values: dict[str, str]) -> None:
        self._depth += 1
        if self._depth == 1:
            if name != "osm":
                raise ValueError(
                    f"it is <{name}>, not <osm>, as OpenStreetMap and Lanelet2 have it"
                )
            self._rights = values.get("copyright", ""), values.get("license", "")
        elif self._depth == 2:
            self._element, self._tags, self._parts = values, {}, []
            if name == "bounds":
                sides = ("minlon", "minlat", "maxlon", "maxlat")
                self._bounds.append(Box(*(_number(name, values, side, 180.0) for side in sides)))
        elif name == "tag":
            self._tags[values.get("k", "")] = values.get("v", "")
        elif name == "nd":
            self._parts.append(("", values.get("ref", "")))
        elif name == "member" and values.get("type") == "way":
            self._parts.append((values.get("role", ""), values.get("ref", "")))

    def _end(self, name: str) -> None:
        self._depth -= 1
        if self._depth != 1 or _is_deleted(self._element):
            return
        if name == "node":
            lat = _number(name, self._element, "lat", MERCATOR_MAX_LATITUDE)
            lon = _number(name, self._element, "lon", 180.0)
            self._index[_identifier(name, self._element)] = len(self._places) // 2
            self._places.extend((lat, lon))
        elif name == "way":
            refs = [ref for _, ref in self._parts]
            self._ways[_identifier(name, self._element)] = self._tags, refs
        elif name == "relation":
            self._relations.append((self._tags, self._parts))


def _is_deleted(element: dict[str, str]) -> bool:
    """Return whether an editor has marked an element as no longer there."""
    return element.get("action") == "delete" or element.get("visible") == "false"


def _identifier(name: str, values: dict[str, str]) -> str:
    if "id" not in values:
        raise ValueError(f"a {name} has no id")
    return values["id"]


def _number(name: str, values: dict[str, str], key: str, most: float) -> float:
    text = values.get(key)
    try:
        value = float(text if text is not None else "")
    except ValueError:
        value = math.nan
    if not abs(value) <= most:
        which = f"{name} {values['id']}" if "id" in values else name
        raise ValueError(
            f"{which} has {key}={text!r}, which is no number of degrees within {most:.2f}"
        )
    return value
