# SPDX-License-Identifier: Apache-2.0
"""g2s-tiles fetch as a user runs it, against a real server on loopback."""

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from g2s_localizer.imagery import open_imagery
from g2s_localizer.imagery.tiles.index import TileIndex
from g2s_localizer.imagery.tiles.slippy import SlippyStore
from g2s_localizer.tools.tiles.fetch import add_fetch_command
from g2s_localizer.tools.tiles.main import main as tiles_main

# At the end of the path, so that its modules hide none.
sys.path.append(str(Path(__file__).parents[2] / "imagery" / "fetch"))

from hostile_server import HostileServer, tile_image

BOX = "8.4220,49.0100,8.4240,49.0115"
LARGER = "8.420,49.009,8.429,49.013"
SECRET = "s3cr3t/k3y+with=signs"
COMMAND = """
import argparse, sys
from g2s_localizer.tools.tiles.fetch import add_fetch_command
parser = argparse.ArgumentParser()
add_fetch_command(parser.add_subparsers())
args = parser.parse_args()
sys.exit(args.run(args))
"""


def provider_file(folder, server, way="good", **changes):
    values = {"name": way, "url": f"{server.url}/{way}/{{z}}/{{x}}/{{y}}"}
    values |= {"attribution": "© nobody", "licence": "none", "caching_allowed": True}
    values |= {"max_requests_per_second": 1000} | changes
    (folder / "p.yaml").write_text(yaml.safe_dump(values))
    return folder / "p.yaml"


def arguments(file, out, *more, box=BOX, zoom="19"):
    area = () if "--route" in more else (f"--bbox={box}",)
    return ["fetch", "--provider", str(file), *area, "--zoom", zoom, "--out", str(out), *more]


def fetch(*args, **kwargs):
    parser = argparse.ArgumentParser()
    add_fetch_command(parser.add_subparsers())
    parsed = parser.parse_args(arguments(*args, **kwargs))
    return parsed.run(parsed)


@pytest.fixture
def server():
    with HostileServer() as server:
        yield server


def test_a_store_that_was_fetched_can_be_cropped(server, tmp_path, capsys):
    file = provider_file(tmp_path, server)
    assert fetch(file, tmp_path / "store", "--yes") == 0
    out, err = capsys.readouterr()
    assert "16 tiles fetched" in out and "© nobody (none)" in out
    assert "16 tiles, of which 16 to fetch: about 0.3 MB (20 kB a tile, assumed)" in err
    assert open_imagery(str(tmp_path / "store")).attribution == "© nobody"


def test_a_second_fetch_of_the_same_asks_for_nothing(server, tmp_path, capsys):
    file = provider_file(tmp_path, server)
    fetch(file, tmp_path / "store", "--yes")
    server.requests.clear()
    assert fetch(file, tmp_path / "store") == 0
    assert server.requests == [] and "16 were there already" in capsys.readouterr().out


def test_what_is_missing_is_listed_with_its_reason_and_the_status_says_so(server, tmp_path, capsys):
    file = provider_file(tmp_path, server, "missing")
    assert fetch(file, tmp_path / "store", "--yes") == 1
    out = capsys.readouterr().out
    assert "16 tiles are missing" in out and "16 x 404 Not Found: 19/" in out
    listed = (tmp_path / "store" / "missing.txt").read_text().splitlines()
    assert len(listed) == 16 and listed[0].endswith("\t404 Not Found")


@pytest.mark.parametrize(
    ("way", "says"), [("see_through", "transparent in part"), ("collar", "of exactly one colour")]
)
def test_a_tile_with_a_gap_in_it_is_missing_for_fetch_and_verify_alike(
    server, tmp_path, capsys, way, says
):
    file = provider_file(tmp_path, server, way)
    for _ in range(2):  # fetched, and there already
        assert fetch(file, tmp_path / "store", "--yes") == 1
        told = capsys.readouterr().out
        assert "16 tiles are missing" in told and says in told
    assert len((tmp_path / "store" / "missing.txt").read_text().splitlines()) == 16
    assert tiles_main(["verify", str(tmp_path / "store")]) == 1
    assert says in capsys.readouterr().out


def test_what_was_not_tried_is_missing_too(server, tmp_path, capsys):
    file = provider_file(tmp_path, server)
    assert fetch(file, tmp_path / "store", "--yes", "--max-requests", "4") == 1
    assert "12 x not tried: the budget of 4 requests is spent" in capsys.readouterr().out
    assert fetch(file, tmp_path / "store", "--yes") == 0
    assert not (tmp_path / "store" / "missing.txt").exists()


def test_a_damaged_tile_that_cannot_be_had_again_is_missing(server, tmp_path, capsys):
    file = provider_file(tmp_path, server)
    fetch(file, tmp_path / "store", "--yes")
    next((tmp_path / "store").glob("19/*/*.png")).write_bytes(b"")
    assert fetch(file, tmp_path / "store", "--yes", "--max-requests", "1") == 0
    next((tmp_path / "store").glob("19/*/*.png")).write_bytes(b"")
    provider_file(tmp_path, server, "forbidden", name="good")
    assert fetch(file, tmp_path / "store", "--yes") == 1
    assert "1 x 403 Forbidden" in capsys.readouterr().out


def test_nothing_is_made_or_asked_for_before_somebody_says_yes(server, tmp_path, capsys):
    file = provider_file(tmp_path, server)
    assert fetch(file, tmp_path / "store") == 1
    assert "nobody is there to confirm: add --yes" in capsys.readouterr().err
    assert server.requests == [] and not (tmp_path / "store").exists()


def test_terms_that_forbid_caching_are_refused_before_anything(server, tmp_path, capsys):
    file = provider_file(tmp_path, server, caching_allowed=False)
    assert fetch(file, tmp_path / "store", "--yes") == 1
    assert "its terms do not let tiles be stored" in capsys.readouterr().err
    assert server.requests == [] and not (tmp_path / "store").exists()


def test_a_route_is_fetched_with_its_surroundings(server, tmp_path):
    track = '<gpx><trk><trkseg><trkpt lat="49.0" lon="8.4"/><trkpt lat="49.001" lon="8.4"/>'
    (tmp_path / "r.gpx").write_text(track + "</trkseg></trk></gpx>")
    options = ("--route", str(tmp_path / "r.gpx"), "--buffer", "30", "--yes")
    assert fetch(provider_file(tmp_path, server), tmp_path / "store", *options) == 0
    assert 8 <= len(list(SlippyStore(tmp_path / "store").tiles(19))) <= 20


def test_what_a_jump_leaves_out_of_a_route_is_said(server, tmp_path, capsys):
    places = [49.0, 49.0001, 49.0002, 10.0]
    track = "".join(f'<trkpt lat="{lat}" lon="8.4"/>' for lat in places)
    (tmp_path / "r.gpx").write_text(f"<gpx><trk><trkseg>{track}</trkseg></trk></gpx>")
    options = ("--route", str(tmp_path / "r.gpx"), "--buffer", "10", "--yes")
    assert fetch(provider_file(tmp_path, server), tmp_path / "s", *options) == 0
    assert "r.gpx has 2 lines; nothing is fetched for what is between" in capsys.readouterr().err
    assert len(list(SlippyStore(tmp_path / "s").tiles(19))) <= 12


def test_several_zooms_are_fetched_at_once(server, tmp_path):
    assert fetch(provider_file(tmp_path, server), tmp_path / "s", "--yes", zoom="17-19") == 0
    assert SlippyStore(tmp_path / "s").zooms == (17, 18, 19)


def test_a_zoom_that_the_provider_lacks_is_refused(server, tmp_path, capsys):
    file = provider_file(tmp_path, server, max_zoom=18)
    assert fetch(file, tmp_path / "s", "--yes") == 1
    assert "good has zoom 0 to 18, asked for 19 to 19" in capsys.readouterr().err


def test_a_provider_abroad_must_learn_whom_to_write_to(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("G2S_CONTACT", raising=False)
    server = argparse.Namespace(url="https://tiles.example")
    assert fetch(provider_file(tmp_path, server), tmp_path / "s", "--yes") == 1
    assert "give --contact" in capsys.readouterr().err


def test_the_contact_is_in_the_user_agent(server, tmp_path):
    options = ("--yes", "--contact", "map@robot.example")
    fetch(provider_file(tmp_path, server), tmp_path / "s", *options)
    agent = server.requests[0][2]["User-Agent"]
    assert agent.startswith("g2s_localizer/") and agent.endswith("(+map@robot.example)")


def test_a_missing_key_is_asked_for_by_the_name_of_its_variable(server, tmp_path, capsys):
    url = f"{server.url}/good/{{z}}/{{x}}/{{y}}?k={{key}}"
    file = provider_file(tmp_path, server, url=url, api_key_env="NO_SUCH_KEY")
    assert fetch(file, tmp_path / "s", "--yes") == 1
    assert "environment variable NO_SUCH_KEY" in capsys.readouterr().err


@pytest.mark.parametrize("box", ["1,2,3", "a,b,c,d", "9,50,8,49"])
def test_a_box_that_is_none_is_refused(server, tmp_path, box, capsys):
    with pytest.raises(SystemExit):
        fetch(provider_file(tmp_path, server), tmp_path / "s", box=box)
    assert f"got {box}" in capsys.readouterr().err


def start(file, out, box=BOX, **environment):
    command = [sys.executable, "-X", "dev", "-c", COMMAND]
    return subprocess.Popen(
        [*command, *arguments(file, out, "--yes", box=box)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ | environment,
    )  # fmt: skip


@pytest.mark.parametrize("way", ["leaks", "leaks_in_redirect", "leaks_in_headers", "good"])
def test_the_key_is_nowhere_but_in_the_requests(tmp_path, way):
    with HostileServer(secret=SECRET) as server:
        url = f"{server.url}/{way}/{{z}}/{{x}}/{{y}}?k={{key}}"
        file = provider_file(tmp_path, server, url=url, api_key_env="TILES_KEY")
        process = start(file, tmp_path / "store", TILES_KEY=SECRET)
        told, _ = process.communicate(timeout=60)
        assert "s3cr3t%2Fk3y" in server.requests[0][1]
    kept = [f.read_bytes() for f in (tmp_path / "store").rglob("*") if f.is_file()]
    for text in (told, *kept):
        assert b"s3cr3t" not in text


def test_kill_9_loses_what_is_in_flight_and_the_next_fetch_completes(tmp_path):
    with HostileServer(latency=0.02) as server:
        file, out = provider_file(tmp_path, server), tmp_path / "store"
        process = start(file, out, LARGER)
        deadline = time.monotonic() + 30.0
        while len(server.requests) < 40 and time.monotonic() < deadline:
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=10)
        asked = {tuple(map(int, path.split("/")[2:])) for path in server.seen}
        stored = {(19, x, y) for x, y in SlippyStore(out).tiles(19)}
        assert 20 < len(stored) < 100 and len(asked - stored) <= 8
        first = server.seen.copy()
        again = start(file, out, LARGER)
        assert again.wait(timeout=60) == 0
    asked_again = {path for path in first if server.seen[path] > first[path]}
    assert not asked_again & {f"/good/19/{x}/{y}" for _, x, y in stored}
    index = TileIndex(out)
    assert all(index.read((19, x, y)) == tile_image(x, y) for x, y in index.tiles(19))
    assert not list(out.glob(".partial/*"))


def test_ctrl_c_ends_in_a_report_and_not_in_a_traceback(tmp_path):
    with HostileServer(latency=0.02) as server:
        process = start(provider_file(tmp_path, server), tmp_path / "store", LARGER)
        while len(server.requests) < 10 and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        told = process.communicate(timeout=30)[0].decode()
    assert process.returncode == 130 and "Traceback" not in told
    assert "Stopped early: interrupted. The same command goes on from here." in told


def test_a_cap_too_small_for_the_area_is_said_to_be(server, tmp_path, capsys):
    file = provider_file(tmp_path, server)
    assert fetch(file, tmp_path / "s", "--yes", "--max-gb", "0.0005") == 1
    assert "the cap of 0.5 MB is reached by tiles of this fetch itself" in capsys.readouterr().out


def test_the_other_commands_do_not_load_what_talks_to_servers():
    code = "import sys, g2s_localizer.tools.tiles.fetch, g2s_localizer.imagery.tiles.slippy\n"
    code += "assert 'httpx' not in sys.modules\n"
    code += "assert 'g2s_localizer.imagery.fetch.download' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
