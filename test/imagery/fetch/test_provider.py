# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
import yaml

from g2s_localizer.imagery.fetch.provider import Provider, read_provider

SHIPPED = sorted((Path(__file__).parents[3] / "config" / "providers").glob("*.yaml"))
GOOD = {
    "name": "surveyor", "url": "https://tiles.example/{z}/{x}/{y}.jpg",
    "attribution": "© a surveyor", "licence": "CC BY 4.0", "caching_allowed": True,
}  # fmt: skip


def write(tmp_path, **changes):
    file = tmp_path / "p.yaml"
    values = {key: value for key, value in (GOOD | changes).items() if value is not None}
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    return file


def test_the_short_form_has_sensible_defaults(tmp_path):
    provider = read_provider(write(tmp_path))
    assert (provider.kind, provider.max_requests_per_second) == ("xyz", 2.0)
    assert provider.allowed_hosts == {"tiles.example"} and provider.refusal is None


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"colour": "red"}, "unknown key.s. colour; known: name, url, attribution"),
        ({"licence": None}, "no licence"),
        ({"attribution": " "}, "attribution must be one line of text, got ' '"),
        ({"caching_allowed": "yes"}, "caching_allowed must be true or false, got 'yes'"),
        ({"kind": "tms"}, "kind must be one of xyz, wmts, wms, got 'tms'"),
        ({"expires_days": 0}, "expires_days must be a positive number, got 0"),
        ({"max_requests_per_second": -1}, "max_requests_per_second must be a positive number"),
        ({"min_zoom": 9, "max_zoom": 3}, r"min_zoom and max_zoom must lie in 0..24, got \(9, 3\)"),
        ({"hosts": ["https://a.example"]}, "hosts must be host names without scheme"),
        ({"hosts": "a.example"}, "hosts must be a list"),
        ({"url": "http://tiles.example/{z}/{x}/{y}"}, "url must start with https://"),
        ({"url": "file:///{z}/{x}/{y}"}, "url must name a host"),
        ({"url": "https://me:pw@tiles.example/{z}/{x}/{y}"}, "without user name, password"),
        ({"url": "https://karte.ä.example/{z}/{x}/{y}"}, "its host in ASCII"),
        ({"url": "https://{x}.example/{z}/{y}"}, "or placeholder"),
        ({"url": "https://tiles.example/{z}/{x}"}, "url of kind xyz must have {x}, {y}, {z}"),
        ({"url": "https://tiles.example/{z}/{x}/{y}{s}"}, "no other placeholders than key"),
        ({"url": "https://tiles.example/{z.__class__}/{x}/{y}"}, "must have {x}, {y}, {z}"),
        ({"url": "https://tiles.example/{z!r}/{x}/{y}"}, "plain placeholders"),
        ({"url": "https://tiles.example/{z}/{x}/{y"}, "unpaired braces"),
        ({"url": "https://tiles.example/{z}/{x}/{y}?k={key}"}, "{key} where there is api_key_env"),
        ({"api_key_env": "KEY"}, "{key} where there is api_key_env"),
        ({"kind": "wms"}, "url of kind wms must have {bbox}"),
        ({"url": "https://tiles.example/${z}/${x}/${y}"}, "write {z}, not .{z}"),
        ({"url": "https://tiles%2eexample/{z}/{x}/{y}"}, "host name of letters, digits"),
        ({"url": "https://tiles.example../{z}/{x}/{y}"}, "host name of letters, digits"),
        ({"url": "https://tiles.example:99999/{z}/{x}/{y}"}, "url: Port out of range"),
        ({"hosts": ["a.example/b"]}, "hosts must be host names without scheme"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_its_name(tmp_path, changes, says):
    with pytest.raises(ValueError, match=says) as error:
        read_provider(write(tmp_path, **changes))
    assert "p.yaml" in str(error.value)


@pytest.mark.parametrize("content", ["- a\n", "a: [", "!!python/object:os.system {}", "x" * 70000])
def test_what_is_no_provider_file_is_refused(tmp_path, content):
    (tmp_path / "p.yaml").write_text(content)
    with pytest.raises(ValueError, match="p.yaml"):
        read_provider(tmp_path / "p.yaml")


@pytest.mark.parametrize(
    ("host", "owner"),
    [
        ("tile.openstreetmap.org", "OpenStreetMap"),
        ("a.tile.openstreetmap.org", "OpenStreetMap"),
        ("mt1.google.com", "Google"),
        ("khms0.googleapis.com", "Google"),
        ("tile.openstreetmap.org.", "OpenStreetMap"),
        ("MT1.Google.com.", "Google"),
        ("mt1.google.de", "Google"),
        ("maps.google.co.uk", "Google"),
    ],
)
def test_openstreetmap_and_google_are_refused_whatever_the_file_says(tmp_path, host, owner):
    provider = read_provider(write(tmp_path, url=f"https://{host}/{{z}}/{{x}}/{{y}}"))
    hidden = read_provider(write(tmp_path, hosts=[host.upper()]))
    assert owner in provider.refusal and owner in hidden.refusal


def test_terms_against_caching_are_a_refusal_that_says_so(tmp_path):
    refusal = read_provider(write(tmp_path, caching_allowed=False)).refusal
    assert "surveyor: caching_allowed is false" in refusal and "CC BY 4.0" in refusal


@pytest.mark.parametrize("host", ["notgoogle.com", "google.tiles.example", "tiles.example."])
def test_a_name_that_is_only_like_a_forbidden_one_is_not_forbidden(tmp_path, host):
    url = f"https://{host}/{{z}}/{{x}}/{{y}}"
    assert read_provider(write(tmp_path, url=url)).refusal is None


WMS = "https://t.example/?BBOX={bbox}&"


@pytest.mark.parametrize(
    ("kind", "url"),
    [
        ("wms", WMS + "CRS=EPSG:25832"),
        ("wms", WMS + "srs=epsg%3A4326"),
        ("wms", WMS + "CRS=CRS:84"),
        ("wms", WMS + "CRS="),
        ("wms", WMS + "CRS=EPSG:3857&SRS=EPSG:4326"),
        ("wmts", "https://t.example/?TILEMATRIXSET=WorldCRS84Quad&y={y}&x={x}&z={z}"),
        ("wmts", "https://t.example/EPSG:25832/{TileMatrix}/{TileRow}/{TileCol}.png"),
    ],
)
def test_a_service_asked_in_other_coordinates_than_web_mercator_is_refused(tmp_path, kind, url):
    with pytest.raises(ValueError, match="url must ask for EPSG:3857"):
        read_provider(write(tmp_path, kind=kind, url=url))


@pytest.mark.parametrize("crs", ["CRS=EPSG:3857", "srs=EPSG%3A900913", "CRS=epsg:102100", "a=b"])
def test_web_mercator_goes_by_several_numbers(tmp_path, crs):
    assert read_provider(write(tmp_path, kind="wms", url=WMS + crs)).kind == "wms"


def test_an_alias_bomb_is_refused_at_once(tmp_path):
    parts = ["&a0 [x, x, x, x, x, x, x, x, x, x]"]
    parts += [f"&a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    values = {key: value for key, value in GOOD.items() if key != "licence"}
    bomb = f"licence: [{', '.join(parts)}]\n"
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(values) + bomb)
    with pytest.raises(ValueError, match="p.yaml"):
        read_provider(tmp_path / "p.yaml")


def test_wmts_takes_the_names_of_its_standard():
    url = "https://t.example/{TileMatrix}/{TileRow}/{TileCol}?k={key}"
    provider = Provider(**(GOOD | {"url": url}), kind="wmts", api_key_env="KEY")
    assert provider.tile_url(3, 4, 5, "a/b &c") == "https://t.example/3/5/4?k=a%2Fb%20%26c"


def test_wms_asks_for_the_box_of_the_tile_in_web_mercator():
    url = "https://t.example/?BBOX={bbox}&WIDTH={width}&HEIGHT={height}"
    provider = Provider(**(GOOD | {"url": url}), kind="wms")
    half = "20037508.342789"
    expected = f"https://t.example/?BBOX=-{half},0.000000,0.000000,{half}&WIDTH=256&HEIGHT=256"
    assert provider.tile_url(1, 0, 0) == expected


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_every_shipped_provider_reads_and_says_when_its_terms_were_seen(file):
    provider = read_provider(file)
    text = file.read_text(encoding="utf-8")
    assert "Terms seen" in text and "not tested live" in text
    assert provider.tile_url(18, 137000, 90000, key="k").startswith("https://")


def test_the_promised_providers_are_shipped():
    stems = {file.stem for file in SHIPPED}
    assert stems == {"baden_wuerttemberg", "netherlands", "switzerland", "usgs", "france"}
    assert [f.stem for f in SHIPPED if read_provider(f).refusal] == ["switzerland"]
