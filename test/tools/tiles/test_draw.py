# SPDX-License-Identifier: Apache-2.0
"""Maps drawn as tiles: what is where, in both formats, and what is refused."""

from itertools import count

import numpy as np
import pytest

from g2s_localizer.geometry import LatLon, LocalFrame
from g2s_localizer.imagery import MissingImagery, open_imagery
from g2s_localizer.imagery.sidecar import Sidecar, read_sidecar
from g2s_localizer.kitti import KittiDrive
from g2s_localizer.tools.tiles.draw import draw_map, draw_tile
from g2s_localizer.tools.tiles.map_lines import between, dashes, rings
from g2s_localizer.tools.tiles.map_style import GROUND, LAYERS, Shape
from g2s_localizer.tools.tiles.osm import Way, read_osm

FRAME = LocalFrame(LatLon(49.011212, 8.422885))
SQUARE = [(-30, -20), (30, -20), (30, 20), (-30, 20), (-30, -20)]
DRIVE = "2011_09_26_drive_0005_sync"


class MapFile:
    """A map in metres around FRAME's datum: elements are added, then written."""

    def __init__(self, path):
        self.path, self.elements, self.ids, self.nodes = path, [], count(1), {}

    def node(self, x, y):
        if (x, y) not in self.nodes:
            place = FRAME.to_latlon(x, y)
            self.nodes[x, y] = next(self.ids)
            id = f'id="{self.nodes[x, y]}"'
            self.elements.insert(0, f'<node {id} lat="{place.lat!r}" lon="{place.lon!r}"/>')
        return self.nodes[x, y]

    def way(self, points, **tags):
        refs = "".join(f'<nd ref="{self.node(x, y)}"/>' for x, y in points)
        way = next(self.ids)
        self.elements.append(f'<way id="{way}">{refs}{self.tags(tags)}</way>')
        return way

    def relation(self, members, **tags):
        parts = "".join(f'<member type="way" ref="{w}" role="{r}"/>' for r, w in members)
        self.elements.append(f'<relation id="{next(self.ids)}">{parts}{self.tags(tags)}</relation>')

    def tags(self, tags):
        return "".join(f'<tag k="{key.replace("__", ":")}" v="{v}"/>' for key, v in tags.items())

    def write(self, head="<osm>"):
        self.path.write_text(f"{head}{''.join(self.elements)}</osm>")
        return self.path


@pytest.fixture
def map_file(tmp_path):
    return MapFile(tmp_path / "map.osm")


@pytest.fixture
def colour_at(map_file, tmp_path):
    """colour_at(x, y): of the map drawn at 0.1 m a pixel, at metres from FRAME's datum."""
    drawn = []

    def look(x, y):
        if not drawn:
            draw_map(map_file.write(), "slippy", tmp_path / "drawn", zoom=20)
            drawn.append(open_imagery(str(tmp_path / "drawn")))
        return tuple(drawn[0].crop(FRAME.to_latlon(x, y), 0.3, 0.1).image[1, 1].tolist())

    return look


def lanelet(map_file, width):
    sides = [
        map_file.way([(-50, sign * width / 2), (50, sign * width / 2)], type="virtual")
        for sign in (1, -1)
    ]
    map_file.relation(zip(("left", "right"), sides, strict=True), type="lanelet", subtype="road")


def street(map_file, width):
    map_file.way([(-50, 0), (50, 0)], highway="residential", width=width)


@pytest.mark.parametrize("draw", [street, lanelet])
def test_a_road_of_known_width_lies_where_it_is_to_a_pixel(map_file, colour_at, draw):
    draw(map_file, 7.0)
    for side in (1.0, -1.0):
        assert colour_at(20, side * 3.35) == LAYERS["road"]
        assert colour_at(20, side * 3.65) == GROUND


@pytest.mark.parametrize(
    ("tags", "width"),
    [
        ({"lanes": "4"}, 13.0), ({"width": "9.5 m"}, 9.5), ({"width": "wide"}, 6.0),
        ({"width": "4000"}, 6.0), ({"lanes": "9" * 99}, 6.0),
    ],
)  # fmt: skip
def test_a_road_is_as_wide_as_its_tags_say_or_as_its_kind_is(map_file, colour_at, tags, width):
    map_file.way([(-50, 0), (50, 0)], highway="residential", **tags)
    assert colour_at(0, width / 2 - 0.2) == LAYERS["road"]
    assert colour_at(0, width / 2 + 0.2) == GROUND


@pytest.mark.parametrize(
    ("tags", "layer"),
    [
        ({"building": "yes"}, "building"), ({"natural": "water"}, "water"),
        ({"landuse": "forest"}, "vegetation"), ({"leisure": "park"}, "grass"),
        ({"amenity": "parking"}, "parking"), ({"highway": "pedestrian", "area": "yes"}, "footway"),
        ({"type": "multipolygon", "subtype": "vegetation"}, "vegetation"),
        ({"type": "multipolygon", "subtype": "walkway"}, "pavement"),
    ],
)  # fmt: skip
def test_an_area_of_two_ways_has_its_colour_and_its_hole_none(map_file, colour_at, tags, layer):
    halves = [map_file.way(SQUARE[:3]), map_file.way(SQUARE[:1] + SQUARE[3:1:-1])]
    hole = map_file.way([(5, 5), (9, 5), (9, 9), (5, 9), (5, 5)])
    members = [("outer", halves[0]), ("outer", halves[1]), ("inner", hole)]
    map_file.relation(members, **{"type": "multipolygon", **tags})
    assert colour_at(-29.7, 19.7) == colour_at(0, 0) == LAYERS[layer]
    assert colour_at(7, 7) == colour_at(-30.3, 0) == GROUND


def test_a_sidewalk_lies_on_the_side_that_has_it(map_file, colour_at):
    map_file.way([(-50, 0), (50, 0)], highway="residential", sidewalk="left")
    assert (colour_at(0, 4.0), colour_at(0, -4.0)) == (LAYERS["footway"], GROUND)


def test_a_zebra_and_a_dashed_line_are_painted_bar_by_bar(map_file, colour_at):
    map_file.way([(0, -4), (0, 4)], highway="footway", footway="crossing", crossing="zebra")
    map_file.way([(10, 0), (40, 0)], type="line_thick", subtype="dashed")
    assert (colour_at(1, -3.75), colour_at(1, -3.25)) == (LAYERS["marking"], GROUND)
    assert (colour_at(11.5, 0), colour_at(16, 0)) == (LAYERS["marking"], GROUND)


def test_what_lies_under_ground_and_what_nobody_knows_is_not_drawn(map_file, colour_at):
    map_file.way([(-50, 5), (50, 5)], highway="residential")
    map_file.way([(-50, -9), (50, -9)], highway="primary", tunnel="yes")
    map_file.way(SQUARE, building="yes", location="underground")
    map_file.way(SQUARE, landuse="unheard of")
    assert colour_at(0, -9) == colour_at(0, 15) == GROUND


def test_the_store_is_whole_says_what_it_is_and_is_the_same_each_time(map_file, tiles, tmp_path):
    street(map_file, 6.0)
    file = map_file.write('<osm copyright="mapper" license="ODbL">')
    command = ["draw", "--osm", file, "--offset", "-0.7", "0.4", "--sigma", "0.5"]
    stores = [tmp_path / name / "map.mbtiles" for name in ("one", "two")]
    assert [tiles(*command, "--out", store)[0] for store in stores] == [0, 0]
    assert tiles("verify", stores[0])[0] == 0
    whose = "Rendered map, no photograph: mapper", "ODbL", "g2s-tiles draw"
    assert read_sidecar(stores[0]) == Sidecar(*whose, -0.7, 0.4, 0.5, True)
    assert stores[0].read_bytes() == stores[1].read_bytes()


def test_a_crop_beside_the_map_s_only_line_is_served_and_none_far_off(map_file, tmp_path):
    map_file.way([(0, 0), (3, 3)], barrier="wall")
    draw_map(map_file.write(), "slippy", tmp_path / "drawn")
    imagery = open_imagery(str(tmp_path / "drawn"))
    assert imagery.crop(FRAME.to_latlon(10, 10), 60.0, 0.2).image.std() > 0.0
    with pytest.raises(MissingImagery):
        imagery.crop(FRAME.to_latlon(900, 0), 60.0, 0.2)


def test_a_bbox_and_the_file_s_own_bounds_say_what_is_drawn(map_file, tiles, tmp_path):
    street(map_file, 6.0)
    low, high = FRAME.to_latlon(-20, -20), FRAME.to_latlon(20, 20)
    bounds = f'minlat="{low.lat}" minlon="{low.lon}" maxlat="{high.lat}" maxlon="{high.lon}"'
    out = tiles(
        "draw", "--osm", map_file.write(f"<osm><bounds {bounds}/>"), "--out", tmp_path / "a"
    )
    box = f"{low.lon},{low.lat},{high.lon},{high.lat}"
    again = tiles("draw", "--osm", map_file.write(), "--out", tmp_path / "b", "--bbox", box)
    assert out[1].split()[1:3] == again[1].split()[1:3] == ["4", "tiles"]


ROAD = "<nd ref='1'/><nd ref='2'/><tag k='highway' v='primary'/></way>"


def between_places(lat1, lon1, lat2, lon2):
    """A file of one road from place to place."""
    nodes = f"<node id='1' lat='{lat1}' lon='{lon1}'/><node id='2' lat='{lat2}' lon='{lon2}'/>"
    return f"<osm>{nodes}<way id='3'>{ROAD}</osm>"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "is no XML: no element found"),
        ("\x1f\x8b\x08", "have to be converted to .osm"),
        ("<osm><node id='1' lat='49'", "is no XML"),
        ("<gpx/>", "line 1: it is <gpx>, not <osm>"),
        ("<!DOCTYPE osm [<!ENTITY a 'aa'>]><osm/>", "it declares a document type"),
        ("<osm>\n<node id='7' lat='' lon='8'/></osm>", "line 2: node 7 has lat=''"),
        ("<osm><node id='7' lat='nan' lon='8'/></osm>", "node 7 has lat='nan'"),
        ("<osm><node id='7' lat='88' lon='8'/></osm>", "within 85.05"),
        ("<osm><node lat='8' lon='8'/></osm>", "a node has no id"),
        ("<osm/>", "nothing of it is drawn: 0 ways and 0 relations"),
        ("<osm><node id='1' lat='9' lon='8'/><way id='3'><nd ref='1'/></way></osm>", ": 0 ways"),
        (between_places(49, 8, 0, 0), "the limit is 100000"),
        (between_places(0, 179.9, 0, -179.9), "from node 1 to 2 crosses the antimeridian"),
    ],
)
def test_what_cannot_be_drawn_is_refused_by_a_sentence(tiles, tmp_path, text, cause):
    (tmp_path / "bad.osm").write_text(text)
    status, _, err = tiles("draw", "--osm", tmp_path / "bad.osm", "--out", tmp_path / "out")
    assert status == 1 and "bad.osm" in err and cause in err
    assert [file.name for file in tmp_path.iterdir()] == ["bad.osm"]


def test_a_box_beside_the_map_is_refused(map_file, tiles, tmp_path):
    street(map_file, 6.0)
    box = ["--bbox", "8.5,49,8.501,49.001"]
    status, _, err = tiles("draw", "--osm", map_file.write(), "--out", tmp_path / "out", *box)
    assert status == 1 and "nothing of it is drawn in the area asked for" in err


def test_a_small_file_that_names_one_way_over_and_over_is_refused(map_file, tmp_path, monkeypatch):
    ring = map_file.way(SQUARE)
    for _ in range(9):
        map_file.relation([("outer", ring)] * 9, type="multipolygon", building="yes")
    monkeypatch.setattr("g2s_localizer.tools.tiles.map_style.MAX_POINTS", 9 * len(SQUARE) - 1)
    with pytest.raises(ValueError, match="map.osm: more than 44 points are to be drawn"):
        draw_map(map_file.write(), "slippy", tmp_path / "drawn")


def test_too_long_a_file_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("g2s_localizer.tools.tiles.osm.MAX_BYTES", 5)
    (tmp_path / "large.osm").write_text("<osm/>")
    with pytest.raises(ValueError, match="large.osm: longer than 5 bytes; cut larger maps"):
        read_osm(tmp_path / "large.osm")


def test_what_an_editor_deleted_is_gone_and_what_an_extract_cut_off_is_no_fault(map_file):
    street(map_file, 6.0)
    map_file.elements.append(f"<way id='x' action='delete'>{ROAD}")
    map_file.elements.append(f"<way id='y'><nd ref='gone'/>{ROAD}")
    cut = read_osm(map_file.write()).ways
    assert [len(way.places) for way in cut] == [2, 2]


def test_shapes_that_reach_around_the_world_are_cut_as_they_are_drawn_whole():
    far, road = 1e8, LAYERS["road"]
    half = np.array([[-far, 100.0], [far, 100.0], [far, far], [-far, far]])
    line = np.array([[-far, -far + 50.0], [far, far + 50.0]])
    tile = draw_tile([Shape(0, road, [half])], 0, 0)
    assert (tile[:99] == GROUND).all() and (tile[101:] == road).all()
    tile = draw_tile([Shape(0, road, [line], 9.0)], 0, 0)
    assert tuple(tile[150, 100]) == road and tuple(tile[100, 100]) == GROUND


def test_lines_side_by_side_enclose_the_strip_whichever_way_they_run():
    left, right = np.array([[0.0, 0.0], [0.0, 9.0]]), np.array([[4.0, 0.0], [4.0, 9.0]])
    for parts in ((left, right), (left, right[::-1]), (left[::-1], right)):
        ring = between(*parts)
        sides = np.linalg.norm(ring - np.roll(ring, 1, axis=0), axis=1)
        assert sorted(sides) == [4.0, 4.0, 9.0, 9.0]


def test_rings_close_at_common_nodes_and_what_stays_open_is_left_out():
    parts = [("a", "b", "c"), ("d", "c"), ("d", "a"), ("e", "f", "e"), ("g", "h")]
    found = rings([Way({}, nodes, np.zeros((len(nodes), 2))) for nodes in parts])
    assert [ring.nodes for ring in found] == [("a", "b", "c", "d", "a"), ("e", "f", "e")]
    assert [len(ring.places) for ring in found] == [5, 3]


def test_dashes_are_three_metres_of_paint_every_nine():
    pieces = dashes(np.array([[0.0, 0.0], [60.0, 0.0], [60.0, 40.0]]), 0.5, 3.0, 6.0, 0.5)
    assert [piece[:, 0].min() for piece in pieces[:3]] == [0.0, 18.0, 36.0]
    np.testing.assert_allclose(pieces[0], [[0, -0.5], [6, -0.5], [6, 0.5], [0, 0.5]])


def test_a_real_drive_lies_on_the_asphalt_of_a_real_map(test_data, tmp_path):
    osm = test_data / "lanelet2_karlsruhe" / "mapping_example.osm"
    if not osm.is_file():
        pytest.skip(f"no Lanelet2 map {osm}")
    drive = KittiDrive(test_data / "kitti_raw", DRIVE)
    draw_map(osm, "mbtiles", tmp_path / "map.mbtiles", zoom=18)
    imagery = open_imagery(str(tmp_path / "map.mbtiles"))
    middles = [imagery.crop(drive.latlon(i), 1.0, 0.2).image[2, 2] for i in range(154)]
    assert np.mean(np.abs(middles - np.array(LAYERS["road"])).max(axis=1) < 12) > 0.6
