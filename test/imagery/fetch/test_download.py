# SPDX-License-Identifier: Apache-2.0
"""Whatever a server does: no crash, bounded memory and disk, the reason told, nothing bad kept."""

import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from g2s_localizer.imagery.fetch.download import Download, FetchLimits
from g2s_localizer.imagery.fetch.provider import Provider
from g2s_localizer.imagery.fetch.request import RequestLimits
from g2s_localizer.imagery.fetch.store import FetchStore
from g2s_localizer.imagery.sidecar import Sidecar
from g2s_localizer.imagery.tiles.slippy import SlippyStore

# At the end of the path, so that its modules hide none.
sys.path.append(str(Path(__file__).parent))

from hostile_server import HostileServer, tile_image

ONE = [(19, 274000, 179000)]
MANY = [(19, 274000 + i, 179000) for i in range(40)]
RIGHTS = Sidecar("© nobody", "none", "hostile")
SECRET = "s3cr3t/k3y+with=signs"


def limits(**changes):
    values = {"request": RequestLimits(connect_s=2.0, read_s=1.0, total_s=2.0), "attempts": 2}
    values |= {"backoff_s": 0.01, "max_backoff_s": 0.02, "max_wait_s": 5.0}
    return FetchLimits(**(values | changes))


def provider(server, way, **changes):
    values = {"name": "hostile", "url": f"{server.url}/{way}/{{z}}/{{x}}/{{y}}"}
    values |= {"attribution": "© nobody", "licence": "none", "caching_allowed": True}
    return Provider(**(values | {"max_requests_per_second": 1000.0} | changes))


def fetch(provider, folder, tiles, **changes):
    """Fetch what the store lacks, as the command does; returns the result."""
    with FetchStore(folder, RIGHTS) as store:
        download = Download(provider, store, "test", limits=limits(**changes))
        return download.run(store.status(tiles).wanted)


@pytest.fixture(scope="module")
def server():
    with HostileServer() as server:
        yield server


@pytest.fixture(autouse=True)
def forget(server):
    server.seen.clear()
    server.requests.clear()


REASONS = {
    "redirect_loop": "more than 5 redirects",
    "redirect_elsewhere": "redirected to 127.0.0.2, which is not among its hosts (127.0.0.1)",
    "redirect_port": "redirected to port 9 of 127.0.0.1",
    "redirect_broken": "redirected to what is no address",
    "gigabyte": "1073741824 bytes; the limit is 5242880",
    "gigabyte_undeclared": "more than 5242880 bytes, the limit",
    "endless_headers": "truncated or broken answer",
    "drip": "no whole answer within 2 s (2 attempts)",
    "silent": "silent for 1 s (2 attempts)",
    "html": "declared image/png, but is HTML: Please log in",
    "service_exception": "declared text/xml, but is XML: no such layer",
    "bomb": "60000 x 60000 pixels; the limit is 4096 a side",
    "bomb_outside": "compressed (deflate) although that was not asked for",
    "wrong_size": "300 x 200 pixels; a tile has 256 x 256 or 512 x 512",
    "wrong_type": "declared image/jpeg, but is PNG",
    "constant": "placeholder: all of it has the colour",
    "forbidden": "403 Forbidden: Keep off[31m, you /forbidden/19",
    "missing": "404 Not Found",
    "busy_for_long": "429 Too Many Requests",
    "failing": "500 Internal Server Error (2 attempts)",
    "reset": "the connection was reset (2 attempts)",
    "truncated": "truncated or broken answer",
    "truncated_undeclared": "truncated at 900 bytes",
}


@pytest.mark.parametrize("way", REASONS)
def test_what_goes_wrong_is_named_and_nothing_of_it_is_kept(server, tmp_path, way):
    result = fetch(provider(server, way), tmp_path, ONE)
    assert REASONS[way] in result.failed[ONE[0]]
    assert SlippyStore(tmp_path).zooms == ()
    assert not list(tmp_path.glob("*/*/*")) and (tmp_path / ".partial").exists() is False


@pytest.mark.parametrize(
    "way", ["good", "jpeg", "redirect_within", "busy", "busy_until", "failing_once"]
)
def test_what_can_be_had_is_had_and_kept_bit_by_bit(server, tmp_path, way):
    result = fetch(provider(server, way), tmp_path, ONE)
    expected = tile_image(*ONE[0][1:], suffix="jpg" if way == "jpeg" else "png")
    assert (result.fetched, result.failed) == (1, {})
    assert SlippyStore(tmp_path).read(*ONE[0]) == expected


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("xyz", "good/{z}/{x}/{y}"),
        ("wmts", "good/{TileMatrix}/{TileCol}/{TileRow}?layer=photo"),
        ("wms", "wms?BBOX={bbox}&WIDTH={width}&HEIGHT={height}"),
    ],
)
def test_the_same_tiles_come_by_xyz_wmts_and_wms(server, tmp_path, kind, path):
    served = provider(server, "", kind=kind, url=f"{server.url}/{path}")
    assert fetch(served, tmp_path, MANY[:6]).failed == {}
    stored = [SlippyStore(tmp_path).read(*tile) for tile in MANY[:6]]
    assert stored == [tile_image(x, y) for _, x, y in MANY[:6]]


def test_a_redirect_to_an_allowed_host_must_be_https_too(server, tmp_path):
    there = provider(server, "redirect_unsafe", hosts=("tiles.example",))
    assert "not https" in fetch(there, tmp_path, ONE).failed[ONE[0]]


def test_a_redirect_to_an_allowed_host_goes_to_the_port_of_https_alone(server, tmp_path):
    there = provider(server, "redirect_other_service", hosts=("tiles.example",))
    assert "redirected to port 8443 of tiles.example" in fetch(there, tmp_path, ONE).failed[ONE[0]]


def test_pixels_hidden_behind_a_small_header_are_not_unfolded(server, tmp_path):
    result = fetch(provider(server, "bomb_inside"), tmp_path, ONE)
    assert "placeholder: all of it has the colour [0, 0, 0]" in result.failed[ONE[0]]


def test_a_server_that_does_not_even_accept_is_given_up(tmp_path):
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf, ExitStack() as queue:
        # The first connection fills the queue; what comes then waits for an answer.
        queue.enter_context(socket.create_connection(deaf.getsockname()))
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/{{z}}/{{x}}/{{y}}"
        brief = RequestLimits(connect_s=0.3)
        result = fetch(Provider("n", url, "a", "l", True), tmp_path, ONE, request=brief)
    assert result.failed[ONE[0]] == "no connection within 0.3 s (2 attempts)"


@pytest.mark.parametrize(("way", "wait"), [("busy", 1.0), ("busy_until", 0.9)])
def test_retry_after_is_kept_by_every_connection(server, tmp_path, way, wait):
    fetch(provider(server, way), tmp_path, ONE)
    (first, _, _), (second, _, _) = server.requests
    assert wait <= second - first < wait + 10.0


def test_a_server_that_asks_for_a_day_of_quiet_gets_it(server, tmp_path):
    result = fetch(provider(server, "busy_for_long"), tmp_path, MANY)
    assert "asks for 86400 s of quiet" in result.stopped and len(server.requests) <= 8


def test_many_failures_in_a_row_end_the_fetch(server, tmp_path):
    result = fetch(provider(server, "forbidden"), tmp_path, MANY, failures=5)
    assert "5 tiles in a row failed, lastly: 403" in result.stopped
    assert len(server.requests) < 5 + 8


def test_the_budget_of_requests_is_kept(server, tmp_path):
    result = fetch(provider(server, "good"), tmp_path, MANY, requests=7)
    assert (len(server.requests), result.fetched) == (7, 7)
    assert result.stopped == "the budget of 7 requests is spent"


def test_the_rate_is_kept_whatever_the_number_of_connections(server, tmp_path):
    fetch(provider(server, "good", max_requests_per_second=10.0), tmp_path, MANY[:11])
    times = sorted(moment for moment, _, _ in server.requests)
    assert times[-1] - times[0] >= 0.9


def test_an_expired_tile_is_asked_after_and_not_sent_again(server, tmp_path):
    brief = provider(server, "good", expires_days=1e-9)
    fetch(brief, tmp_path, ONE)
    result = fetch(brief, tmp_path, ONE)
    headers = server.requests[-1][2]
    assert (result.renewed, result.fetched) == (1, 0)
    assert headers["If-None-Match"] == '"274000-179000"' and "If-Modified-Since" in headers


def test_an_expired_tile_outlives_a_server_that_fails(server, tmp_path):
    fetch(provider(server, "good", expires_days=1e-9), tmp_path, ONE)
    for way in ("failing", "missing", "constant", "html"):
        fetch(provider(server, way), tmp_path, ONE)
        assert SlippyStore(tmp_path).read(*ONE[0]) == tile_image(274000, 179000)


def test_a_damaged_tile_is_fetched_again_in_full(server, tmp_path):
    fetch(provider(server, "good"), tmp_path, ONE)
    file = tmp_path / "19" / "274000" / "179000.png"
    file.write_bytes(file.read_bytes()[:-20] + bytes(20))
    assert fetch(provider(server, "good"), tmp_path, ONE).fetched == 1
    assert SlippyStore(tmp_path).read(*ONE[0]) == tile_image(274000, 179000)


def test_what_is_stored_or_known_to_be_absent_is_not_asked_for(server, tmp_path):
    fetch(provider(server, "good"), tmp_path, MANY[:2])
    fetch(provider(server, "missing"), tmp_path, MANY[2:4])
    server.requests.clear()
    fetch(provider(server, "good"), tmp_path, MANY[:4])
    assert server.requests == []


def test_absence_is_believed_for_a_time_only(server, tmp_path):
    fetch(provider(server, "missing"), tmp_path, ONE, absent_days=0.0)
    assert fetch(provider(server, "good"), tmp_path, ONE).fetched == 1


def test_the_same_bytes_for_three_places_are_a_placeholder(server, tmp_path):
    result = fetch(provider(server, "repeated"), tmp_path, MANY[:5])
    assert set(result.failed) == set(MANY[:5]) and SlippyStore(tmp_path).zooms == ()
    assert "the same bytes came for 3 places" in " ".join(result.failed.values())


def test_a_tile_of_another_size_than_the_others_is_refused(server, tmp_path):
    from g2s_localizer.imagery.picture import ImageHeader

    with FetchStore(tmp_path, RIGHTS) as store:
        store.put((19, 1, 1), tile_image(1, 1, (512, 512)), ImageHeader(0, 512, 512))
    result = fetch(provider(server, "good"), tmp_path, ONE)
    assert result.failed[ONE[0]] == "256 x 256 pixels where others have 512 x 512"


def test_a_full_disk_ends_the_fetch_and_spoils_nothing(server, tmp_path):
    with FetchStore(tmp_path, RIGHTS) as store:
        pages = store.index.query("PRAGMA page_count")[0][0]
        store.index.query(f"PRAGMA max_page_count = {pages + 1}")
        result = Download(provider(server, "good"), store, "test", limits=limits()).run(MANY)
    assert result.stopped.startswith("the store cannot be written: ") and result.fetched > 0
    stored = SlippyStore(tmp_path)
    assert all(stored.read(19, x, y) == tile_image(x, y) for x, y in stored.tiles(19))


def test_the_server_learns_who_asks(server, tmp_path):
    fetch(provider(server, "good"), tmp_path, ONE)
    assert server.requests[0][2]["User-Agent"] == "test"


def test_terms_that_forbid_caching_are_kept(server, tmp_path):
    with pytest.raises(ValueError, match="caching_allowed is false"):
        fetch(provider(server, "good", caching_allowed=False), tmp_path, ONE)
    assert server.requests == []


PEAK = """
import resource, sys
from test_download import *
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
class Server: url = sys.argv[1]
for way in ("gigabyte", "gigabyte_undeclared", "bomb", "bomb_inside", "bomb_outside"):
    fetch(provider(Server, way), Path(sys.argv[2]) / way, MANY[:8])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_gigabytes_and_bombs_cost_little_memory_and_no_disk(server, tmp_path):
    command = [sys.executable, "-c", PEAK, server.url, str(tmp_path)]
    done = subprocess.run(
        command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=60, check=True
    )
    kept = sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file())
    assert int(done.stdout) < 100_000  # kilobytes, for eight connections at once
    assert kept < 500_000


@pytest.mark.parametrize(
    "way", ["leaks", "leaks_in_picture", "leaks_in_redirect", "redirect_broken", "forbidden",
            "reset", "leaks_in_headers"]
)  # fmt: skip
def test_the_key_is_neither_told_nor_kept(tmp_path, capfd, caplog, way):
    caplog.set_level("DEBUG")
    with HostileServer(secret=SECRET) as server, FetchStore(tmp_path, RIGHTS) as store:
        url = f"{server.url}/{way}/{{z}}/{{x}}/{{y}}?key={{key}}"
        keyed = provider(server, way, url=url, api_key_env="HOSTILE_KEY")
        result = Download(keyed, store, "test", SECRET, limits()).run(ONE)
        assert SECRET[:6] in server.requests[0][1]
    told = str(result) + caplog.text + "".join(capfd.readouterr())
    kept = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    for form in (SECRET, "s3cr3t%2Fk3y", "s3cr3t"):
        assert form not in told and form.encode() not in kept


def test_no_exception_with_the_request_in_it_comes_out(server, tmp_path):
    started = time.monotonic()
    nobody = Provider("n", "http://127.0.0.1:9/{z}/{x}/{y}", "a", "l", True)
    result = fetch(nobody, tmp_path, ONE)
    assert result.failed[ONE[0]].startswith("ConnectError: ")
    assert time.monotonic() - started < 5.0
