# SPDX-License-Identifier: Apache-2.0
"""A Lanelet2 map drawn as slippy tiles: a rendered map that stands in for aerial imagery."""

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from g2s_localizer.geometry.geodesy import (
    LatLon,
    LocalFrame,
    ground_sample_distance,
    mercator_latlon,
    mercator_pixel,
)

ZOOM = 19
OVERSAMPLING = 4
SHIFT = 4  # binary digits of a pixel that OpenCV's drawing keeps
ATTRIBUTION = "Rendered map, no photograph: Lanelet2 example map of Karlsruhe, FZI, BSD-3"
GROUND = (118, 122, 92)
LAYERS = (
    ("multipolygon", {"vegetation": (72, 98, 58), "parking": (126, 124, 122)}),
    ("lanelet", {"walkway": (160, 152, 144), "bicycle_lane": (140, 96, 88), "rail": (96, 90, 86)}),
    ("lanelet", {"road": (92, 92, 96), "highway": (86, 86, 90), "crosswalk": (92, 92, 96)}),
    ("multipolygon", {"walkway": (160, 152, 144), "traffic_island": (138, 132, 124)}),
    ("multipolygon", {"building": (150, 86, 70), "keepout": (104, 104, 104)}),
)
WHITE, KERB, DARK = (235, 235, 228), (176, 172, 166), (58, 56, 54)
# type: colour, width in metres
LINES = {
    "road_border": ((120, 112, 96), 0.2),
    "curbstone": (KERB, 0.2),
    "wall": (DARK, 0.4),
    "fence": (DARK, 0.2),
    "guard_rail": (KERB, 0.3),
    "rail": (DARK, 0.15),
    "line_thin": (WHITE, 0.12),
    "line_thick": (WHITE, 0.25),
    "stop_line": (WHITE, 0.5),
    "pedestrian_marking": (WHITE, 0.3),
    "bike_marking": (WHITE, 0.3),
    "zebra_marking": (WHITE, 0.5),
    "zig-zag": (WHITE, 0.12),
}
DASH_M, GAP_M = 3.0, 6.0


@dataclass(frozen=True)
class Shape:
    """A filled ring (width_m = 0) or a line; points (N, 2) are Mercator pixels at ZOOM."""

    points: np.ndarray
    colour: tuple[int, int, int]
    width_m: float = 0.0


def render_lanelet2(osm: Path, folder: Path, centre: LatLon, reach_m: float) -> str:
    """Draw the map `osm` up to `reach_m` around `centre` into `folder`: the imagery's URI."""
    shapes = read_shapes(osm)
    frame = LocalFrame(centre)
    lat, lon = frame.to_latlon_array([-reach_m, reach_m], [reach_m, -reach_m])
    (x0, x1), (y0, y1) = ((axis // 256).astype(int) for axis in mercator_pixel(lat, lon, ZOOM))
    gsd = ground_sample_distance(centre.lat, ZOOM)
    for x in range(x0, x1 + 1):
        column = folder / str(ZOOM) / str(x)
        column.mkdir(parents=True, exist_ok=True)
        for y in range(y0, y1 + 1):
            tile = draw_tile(shapes, np.array([x, y]) * 256, gsd)
            cv2.imwrite(str(column / f"{y}.png"), tile[:, :, ::-1])
    (folder / "attribution.txt").write_text(ATTRIBUTION, encoding="utf-8")
    return f"slippy:{folder}"


def draw_tile(shapes: list[Shape], origin: np.ndarray, gsd: float) -> np.ndarray:
    """(256, 256, 3) RGB of the tile whose first pixel is `origin`."""
    canvas = np.empty((256 * OVERSAMPLING, 256 * OVERSAMPLING, 3), np.uint8)
    canvas[:] = GROUND
    for shape in shapes:
        if (shape.points.max(0) < origin - 8).any() or (shape.points.min(0) > origin + 264).any():
            continue
        corners = ((shape.points - origin) * OVERSAMPLING - 0.5) * 2**SHIFT
        corners = [np.rint(corners).astype(np.int32)]
        if shape.width_m:
            width = max(1, round(shape.width_m / gsd * OVERSAMPLING))
            cv2.polylines(canvas, corners, False, shape.colour, width, cv2.LINE_8, SHIFT)
        else:
            cv2.fillPoly(canvas, corners, shape.colour, cv2.LINE_8, SHIFT)
    return cv2.resize(canvas, (256, 256), interpolation=cv2.INTER_AREA)


def read_shapes(osm: Path) -> list[Shape]:
    """What is to be drawn, in the order of drawing."""
    root = ElementTree.parse(osm).getroot()
    places = {
        node.get("id"): (float(node.get("lat")), float(node.get("lon")))
        for node in root.iter("node")
    }
    ways = {}
    for way in root.iter("way"):
        lat, lon = np.reshape([places[nd.get("ref")] for nd in way.iter("nd")], (-1, 2)).T
        if lat.size:  # the example map holds a way without nodes
            ways[way.get("id")] = np.stack(mercator_pixel(lat, lon, ZOOM), axis=1)
    areas = [(tags_of(relation), relation) for relation in root.iter("relation")]
    shapes = []
    for kind, colours in LAYERS:
        for tags, relation in areas:
            if tags.get("type") == kind and tags.get("subtype") in colours:
                ring = outline([ways[m.get("ref")] for m in relation.iter("member")
                                if m.get("type") == "way" and m.get("ref") in ways])  # fmt: skip
                shapes.append(Shape(ring, colours[tags["subtype"]]))
    for way in root.iter("way"):
        tags = tags_of(way)
        if tags.get("type") in LINES and way.get("id") in ways:
            colour, width = LINES[tags["type"]]
            dashed = tags.get("subtype") == "dashed"
            pieces = dashes(ways[way.get("id")]) if dashed else [ways[way.get("id")]]
            shapes += [Shape(piece, colour, width) for piece in pieces]
    return shapes


def tags_of(element: ElementTree.Element) -> dict[str, str]:
    return {tag.get("k"): tag.get("v") for tag in element.iter("tag")}


def outline(parts: list[np.ndarray]) -> np.ndarray:
    """One ring (N, 2) of open lines, each joined by the end that lies nearer."""
    ring = parts[0]
    if len(parts) > 1:
        ends = [np.abs(ring[side] - parts[1][[0, -1]]).sum(1).min() for side in (0, -1)]
        ring = ring[::-1] if ends[0] < ends[1] else ring
    for part in parts[1:]:
        flip = np.abs(part[-1] - ring[-1]).sum() < np.abs(part[0] - ring[-1]).sum()
        ring = np.concatenate([ring, part[::-1] if flip else part])
    return ring


def dashes(line: np.ndarray) -> list[np.ndarray]:
    """The painted pieces of a dashed line, each two or more points (N, 2)."""
    lat, _ = mercator_latlon(*line[0], ZOOM)
    gsd = ground_sample_distance(float(lat), ZOOM)
    lengths = np.linalg.norm(np.diff(line, axis=0), axis=1) * gsd
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    pieces = []
    for start in np.arange(0.0, along[-1], DASH_M + GAP_M):
        stop = min(start + DASH_M, along[-1])
        at = np.unique(np.concatenate([[start, stop], along[(along > start) & (along < stop)]]))
        pieces.append(np.stack([np.interp(at, along, line[:, axis]) for axis in (0, 1)], axis=1))
    return pieces
