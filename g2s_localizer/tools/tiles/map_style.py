# SPDX-License-Identifier: Apache-2.0
"""Style of g2s-tiles draw: the elements drawn, their order and colours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from g2s_localizer.geometry.geodesy import ground_sample_distance, mercator_pixel
from g2s_localizer.tools.tiles.map_lines import beside, between, dashes, rings
from g2s_localizer.tools.tiles.osm import OsmMap, Relation, Tags, Way

FloatArray = NDArray[np.float64]
Colour = tuple[int, int, int]

GROUND: Colour = (118, 122, 92)
"""Colour of places that no element of the map describes."""

_ASPHALT, _PAVING, _WHITE, _KERB = (92, 92, 96), (160, 152, 144), (235, 235, 228), (176, 172, 166)

LAYERS: dict[str, Colour] = {
    "grass": (100, 116, 72),
    "vegetation": (72, 98, 58),
    "water": (62, 82, 90),
    "parking": (126, 124, 122),
    "footway": _PAVING,
    "cycleway": (140, 96, 88),
    "track bed": (96, 90, 86),
    "road": _ASPHALT,
    "motorway": (86, 86, 90),
    "pavement": _PAVING,
    "island": (138, 132, 124),
    "keepout": (104, 104, 104),
    "building": (150, 86, 70),
    "verge": (120, 112, 96),
    "kerb": _KERB,
    "hedge": (72, 98, 58),
    "wall": (58, 56, 54),
    "marking": _WHITE,
}
"""From the lowest to the uppermost."""

_ORDER = {name: order for order, name in enumerate(LAYERS)}

AREAS: tuple[tuple[str, set[str], str], ...] = (
    ("building", set(), "building"),
    ("amenity", {"parking"}, "parking"),
    ("area:highway", {"footway", "pedestrian", "path"}, "footway"),
    ("area:highway", {"traffic_island"}, "island"),
    ("area:highway", set(), "road"),
    ("highway", {"pedestrian", "footway", "platform"}, "footway"),
    ("natural", {"water"}, "water"),
    ("waterway", {"riverbank"}, "water"),
    ("landuse", {"reservoir", "basin"}, "water"),
    ("natural", {"wood", "scrub"}, "vegetation"),
    ("landuse", {"forest", "orchard"}, "vegetation"),
    ("natural", {"grassland", "heath"}, "grass"),
    ("leisure", {"park", "garden", "pitch", "golf_course"}, "grass"),
    ("landuse", {"grass", "meadow", "village_green", "recreation_ground", "cemetery", "farmland",
                 "allotments"}, "grass"),
)  # fmt: skip
"""OpenStreetMap: key, values (none: any) and layer of a ring, the first that fits."""

LINES: tuple[tuple[str, dict[str, float], str], ...] = (
    ("highway", {"motorway": 9.5, "trunk": 8.0}, "motorway"),
    ("highway", {
        "primary": 8.0, "secondary": 7.5, "tertiary": 7.0, "unclassified": 6.0, "residential": 6.0,
        "living_street": 5.0, "service": 4.0, "track": 3.0, "road": 6.0, "busway": 4.0,
        "motorway_link": 5.0, "trunk_link": 5.0, "primary_link": 4.5, "secondary_link": 4.5,
        "tertiary_link": 4.5,
    }, "road"),
    ("highway", {"footway": 2.0, "path": 1.5, "pedestrian": 4.0, "steps": 2.0}, "footway"),
    ("highway", {"cycleway": 2.0}, "cycleway"),
    ("railway", {"rail": 3.0, "light_rail": 3.0, "narrow_gauge": 2.5}, "track bed"),
    ("waterway", {"river": 10.0, "canal": 8.0, "stream": 2.0, "ditch": 1.0}, "water"),
    ("barrier", {"wall": 0.4, "fence": 0.2, "retaining_wall": 0.4, "city_wall": 1.0}, "wall"),
    ("barrier", {"hedge": 1.0}, "hedge"),
    ("barrier", {"kerb": 0.2}, "kerb"),
)  # fmt: skip
"""OpenStreetMap: key, width (m) of each value where no tag says it, and layer of a line."""

MAX_POINTS = 30_000_000
"""Most points of all that is drawn: half a gigabyte."""

LANE_M = 3.25
MAX_LANES = 16
WIDTHS_M = (0.1, 100.0)
"""Widths (m) of a line: what is tagged beyond is taken for a mistake."""

SIDEWALK_M = 2.0

LANELETS = {
    "road": "road", "highway": "motorway", "play_street": "road", "emergency_lane": "road",
    "bus_lane": "road", "crosswalk": "road", "bicycle_lane": "cycleway", "walkway": "footway",
    "shared_walkway": "footway", "rail": "track bed",
}  # fmt: skip
LANELET_AREAS = {
    "vegetation": "vegetation", "parking": "parking", "walkway": "pavement",
    "traffic_island": "island", "building": "building", "keepout": "keepout",
}  # fmt: skip
LANELET_LINES = {
    "road_border": ("verge", 0.2), "curbstone": ("kerb", 0.2), "guard_rail": ("kerb", 0.3),
    "wall": ("wall", 0.4), "fence": ("wall", 0.2), "rail": ("wall", 0.15),
    "line_thin": ("marking", 0.12), "line_thick": ("marking", 0.25), "stop_line": ("marking", 0.5),
    "pedestrian_marking": ("marking", 0.3), "bike_marking": ("marking", 0.3),
    "zebra_marking": ("marking", 0.5), "zig-zag": ("marking", 0.12),
}  # fmt: skip
"""Lanelet2: layers of the subtypes of lanelets and areas; layer and width (m) of a line's type."""

DASH_M, GAP_M = 3.0, 6.0
ZEBRA_M, ZEBRA_WIDTH_M = 0.5, 3.0


@dataclass(frozen=True)
class Shape:
    """Rings filled by the even-odd rule (width_px = 0), or one line with round ends.

    parts  each (N, 2) in Web-Mercator pixels, as `mercator_pixel` has them
    """

    layer: int
    colour: Colour
    parts: list[FloatArray]
    width_px: float = 0.0


def map_shapes(drawn: OsmMap, zoom: int) -> list[Shape]:
    """Return what is drawn of a map at `zoom`, the lowest first; what no rule names is not drawn.

    Raises ValueError for an element across the antimeridian, and for more than MAX_POINTS.
    """
    of_relations = (shape for each in drawn.relations for shape in _of_relation(each, zoom))
    of_ways = (shape for way in drawn.ways for shape in _of_way(way, zoom))
    shapes: list[Shape] = []
    points = 0
    for shape in chain(of_relations, of_ways):
        points += sum(map(len, shape.parts))
        if points > MAX_POINTS:
            raise ValueError(f"more than {MAX_POINTS} points are to be drawn: cut out a part")
        shapes.append(shape)
    return sorted(shapes, key=lambda shape: shape.layer)


def _of_relation(relation: Relation, zoom: int) -> Iterator[Shape]:
    tags = relation.tags
    if tags.get("type") == "lanelet":
        layer = LANELETS.get(tags.get("subtype", ""))
        sides = [way for role, way in relation.members if role in ("left", "right")]
        if layer and len(sides) == 2:
            left, right = (_pixels(way, zoom) for way in sides)
            yield _shape(layer, [between(left, right)])
    elif tags.get("type") == "multipolygon":
        layer = LANELET_AREAS.get(tags.get("subtype", "")) or _area_layer(tags)
        # Each way once, however often it is named.
        ways = list({id(way): way for _, way in relation.members}.values())
        if layer and (found := [_pixels(ring, zoom) for ring in rings(ways)]):
            yield _shape(layer, found)


def _of_way(way: Way, zoom: int) -> Iterator[Shape]:
    tags = way.tags
    if (kind := tags.get("type")) in LANELET_LINES:
        layer, width = LANELET_LINES[kind]
        pixels, gsd = _pixels(way, zoom), _gsd(way, zoom)
        if tags.get("subtype") == "dashed":
            yield from (_shape(layer, [d]) for d in dashes(pixels, gsd, DASH_M, GAP_M, width))
        else:
            yield _shape(layer, [pixels], width / gsd)
        return
    closed = way.nodes[0] == way.nodes[-1] and len(way.nodes) > 3
    if closed and (area := _area_layer(tags)):
        yield _shape(area, [_pixels(way, zoom)])
    elif not _is_hidden(tags):
        yield from _of_line(way, zoom)


def _of_line(way: Way, zoom: int) -> Iterator[Shape]:
    tags = way.tags
    if "crossing" in (tags.get("footway"), tags.get("cycleway"), tags.get("path")):
        if tags.get("crossing:markings", tags.get("crossing")) in ("zebra", "marked", "yes"):
            bars = dashes(_pixels(way, zoom), _gsd(way, zoom), ZEBRA_M, ZEBRA_M, ZEBRA_WIDTH_M)
            yield from (_shape("marking", [bar]) for bar in bars)
        return
    for key, widths, layer in LINES:
        if (value := tags.get(key, "")) in widths:
            pixels, gsd = _pixels(way, zoom), _gsd(way, zoom)
            width = _width_m(tags, widths[value])
            for side in _sidewalks(tags):
                edge = beside(pixels, side * (width / 2.0 + SIDEWALK_M) / gsd)
                yield _shape("footway", [between(pixels, edge)])
            yield _shape(layer, [pixels], width / gsd)
            return


def _shape(layer: str, parts: list[FloatArray], width_px: float = 0.0) -> Shape:
    return Shape(_ORDER[layer], LAYERS[layer], parts, width_px)


def _area_layer(tags: Tags) -> str | None:
    if _is_hidden(tags):
        return None
    # A closed road is a line that ends where it began unless it says that it is an area.
    is_area = tags.get("area") == "yes" or tags.get("type") == "multipolygon"
    for key, values, layer in AREAS:
        value = tags.get(key, "no")
        if value != "no" and (not values or value in values) and (key != "highway" or is_area):
            return layer
    return None


def _is_hidden(tags: Tags) -> bool:
    """Return whether something else lies above it."""
    return (
        tags.get("tunnel", "no") != "no"
        or tags.get("layer", "").startswith("-")
        or tags.get("location") in ("underground", "indoor")
        or tags.get("indoor", "no") != "no"
    )


def _width_m(tags: Tags, usual: float) -> float:
    """Return the width of a line (m): as tagged, by its lanes, or the usual one of its kind."""
    if found := re.fullmatch(r"(\d+(?:\.\d+)?)(?: ?m)?", tags.get("width", "")):
        tagged = float(found[1])
        if WIDTHS_M[0] <= tagged <= WIDTHS_M[1]:
            return tagged
    lanes = tags.get("lanes", "")
    if "highway" in tags and lanes.isdecimal() and 1 <= int(lanes) <= MAX_LANES:
        return int(lanes) * LANE_M
    return usual


def _sidewalks(tags: Tags) -> tuple[int, ...]:
    """Return the sides of a road that have one mapped on it: 1 left, -1 right."""
    if "highway" not in tags:
        return ()
    said = tags.get("sidewalk", "")
    known = {"both": (1, -1), "yes": (1, -1), "left": (1,), "right": (-1,)}
    if said in known:
        return known[said]
    both = tags.get("sidewalk:both") == "yes"
    return tuple(
        sign
        for sign, side in ((1, "left"), (-1, "right"))
        if both or tags.get(f"sidewalk:{side}") == "yes"
    )


def _pixels(way: Way, zoom: int) -> FloatArray:
    if np.ptp(way.places[:, 1]) > 180.0:
        raise ValueError(
            f"a way from node {way.nodes[0]} to {way.nodes[-1]} crosses the antimeridian, or has "
            "a node in the wrong place"
        )
    return np.stack(mercator_pixel(way.places[:, 0], way.places[:, 1], zoom), axis=1)


def _gsd(way: Way, zoom: int) -> float:
    return ground_sample_distance(float(way.places[:, 0].mean()), zoom)
