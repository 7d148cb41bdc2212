# SPDX-License-Identifier: Apache-2.0
"""A provider of tiles as its YAML file describes it: where, whose, and what is allowed."""

from __future__ import annotations

import ipaddress
import math
import re
from dataclasses import dataclass, fields
from pathlib import Path
from string import Formatter
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from g2s_localizer.geometry.geodesy import TILE_SIZE
from g2s_localizer.imagery.yaml_file import read_yaml

KINDS = ("xyz", "wmts", "wms")

MAX_ZOOM = 24

# Whose terms forbid storing tiles, whatever a file says: OpenStreetMap's tile usage policy, and
# the terms of Google's Maps Platform. Host names that end so.
FORBIDDEN_HOSTS = {
    "OpenStreetMap": r"openstreetmap\.(org|fr|de)|osm\.org",
    "Google": r"google(\.com?)?\.[a-z]{2,3}|(googleapis|gstatic|googleusercontent|ggpht)\.com",
}

_HOST = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")

_WEB_MERCATOR = {3857, 3785, 900913, 102100, 102113}
"""EPSG's number of the coordinates that tiles are in, and those that it went by before."""

_EPSG = re.compile(r"\bepsg:+(?:[\d.]*:)?(\d+)", re.I)

_HALF_WORLD_M = 20037508.342789244
"""Half the circumference of Web Mercator, EPSG:3857."""

_INDICES = ({"z", "x", "y"}, {"TileMatrix", "TileCol", "TileRow"})


@dataclass(frozen=True)
class Provider:
    """A server of Web-Mercator tiles.

    url              of a tile, with {z}, {x} and {y} (rows from the north) for kind xyz, the same
                     or {TileMatrix}, {TileCol} and {TileRow} for kind wmts, {bbox} (EPSG:3857:
                     west,south,east,north) for kind wms; {key} where the API key goes
    attribution      the notice that its licence asks for
    licence          its name or address
    caching_allowed  whether its terms let tiles be stored for use offline
    expires_days     how long a stored tile counts as fresh; None: until it is fetched anew
    max_requests_per_second   what a fetch keeps to
    hosts            host names that it may redirect to, besides that of url
    api_key_env      name of the environment variable that holds the key

    Raises ValueError naming the field and the value that cannot be.
    """

    name: str
    url: str
    attribution: str
    licence: str
    caching_allowed: bool
    kind: str = "xyz"
    expires_days: float | None = None
    max_requests_per_second: float = 2.0
    hosts: tuple[str, ...] = ()
    api_key_env: str | None = None
    min_zoom: int = 0
    max_zoom: int = MAX_ZOOM

    def __post_init__(self) -> None:
        for name in ("name", "url", "attribution", "licence"):
            value = getattr(self, name)
            if not (isinstance(value, str) and value.strip() and value.isprintable()):
                raise ValueError(f"{name} must be one line of text, got {value!r}")
        if not isinstance(self.caching_allowed, bool):
            raise ValueError(f"caching_allowed must be true or false, got {self.caching_allowed!r}")
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        for name in ("expires_days", "max_requests_per_second"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and value > 0):
                raise ValueError(f"{name} must be a positive number, got {value!r}")
        if self.max_requests_per_second is None:
            raise ValueError("max_requests_per_second must be a positive number, got None")
        zooms = (self.min_zoom, self.max_zoom)
        whole = all(isinstance(zoom, int) and not isinstance(zoom, bool) for zoom in zooms)
        if not (whole and 0 <= self.min_zoom <= self.max_zoom <= MAX_ZOOM):
            raise ValueError(f"min_zoom and max_zoom must lie in 0..{MAX_ZOOM}, got {zooms}")
        self._check_hosts()
        self._check_url()

    def _check_hosts(self) -> None:
        if not isinstance(self.hosts, list | tuple):
            raise ValueError(f"hosts must be a list of host names, got {self.hosts!r}")
        for host in self.hosts:
            if not (isinstance(host, str) and _is_host(plain_host(host))):
                raise ValueError(f"hosts must be host names without scheme and port, got {host!r}")
        object.__setattr__(self, "hosts", tuple(map(plain_host, self.hosts)))

    def _check_url(self) -> None:
        # What the file holds may be shown; a key in it would be, so userinfo is refused unseen.
        parts = urlsplit(self.url)
        if "@" in parts.netloc or not parts.hostname or "{" in parts.netloc:
            raise ValueError("url must name a host, without user name, password or placeholder")
        if not parts.hostname.isascii():
            raise ValueError(f"url must name its host in ASCII (xn--...), got {parts.hostname}")
        if not _is_host(plain_host(parts.hostname)):
            raise ValueError(
                f"url must have a host name of letters, digits, '-' and '.', got {parts.hostname}"
            )
        try:
            _ = parts.port
        except ValueError as error:
            raise ValueError(f"url: {error}") from None
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname)):
            raise ValueError(f"url must start with https://, got {parts.scheme}://{parts.hostname}")
        if "${" in self.url:
            raise ValueError("url: write {z}, not ${z}")
        self._check_coordinates()
        try:
            named = [(name, spec, how) for _, name, spec, how in Formatter().parse(self.url)]
        except ValueError as error:
            raise ValueError(f"url has unpaired braces: {error}") from None
        names = [name for name, _, _ in named if name is not None]
        if any(spec or how for _, spec, how in named):
            raise ValueError("url must have plain placeholders such as {z}")
        if self.kind == "wms":
            sets: tuple[set[str], ...] = ({"bbox"},)
            optional = {"key", "width", "height"}
        else:
            sets = _INDICES if self.kind == "wmts" else _INDICES[:1]
            optional = {"key"}
        if not any(wanted <= set(names) <= wanted | optional for wanted in sets):
            wanted_text = " or ".join(", ".join(f"{{{n}}}" for n in sorted(s)) for s in sets)
            raise ValueError(
                f"url of kind {self.kind} must have {wanted_text}, and no other placeholders than "
                f"{', '.join(sorted(optional))}; got {', '.join(names) or 'none'}"
            )
        if ("key" in names) != (self.api_key_env is not None):
            raise ValueError("url must have {key} where there is api_key_env, and only there")
        if self.api_key_env is not None and not (
            isinstance(self.api_key_env, str) and self.api_key_env.isidentifier()
        ):
            raise ValueError("api_key_env must be the name of an environment variable")

    def _check_coordinates(self) -> None:
        """Refuse addresses that name another system than Web Mercator for tiles or their boxes."""
        text = unquote(self.url)
        said = [name for name in _EPSG.findall(text) if int(name[:9]) not in _WEB_MERCATOR]
        for name, value in parse_qsl(urlsplit(self.url).query, keep_blank_values=True):
            is_crs = name.lower() in ("crs", "srs") and not _EPSG.search(value)
            is_set = name.lower() == "tilematrixset" and "crs84" in value.lower()
            said += [value] if is_crs or is_set else []
        if said:
            raise ValueError(
                f"url must ask for EPSG:3857 (Web Mercator), which tiles are in, got {said[0]!r}"
            )

    @property
    def allowed_hosts(self) -> frozenset[str]:
        """Return host names that a request may go to."""
        return frozenset({plain_host(str(urlsplit(self.url).hostname)), *self.hosts})

    @property
    def allowed_origins(self) -> frozenset[tuple[str, int]]:
        """Return hosts and ports that a request may go to: url's, and `hosts` by https."""
        parts = urlsplit(self.url)
        own = parts.port or (443 if parts.scheme == "https" else 80)
        host = plain_host(str(parts.hostname))
        return frozenset({(host, own), *((other, 443) for other in self.hosts)})

    @property
    def refusal(self) -> str | None:
        """Return why its tiles may not be stored, None where they may."""
        for owner, ending in FORBIDDEN_HOSTS.items():
            for host in sorted(self.allowed_hosts):
                if re.search(rf"(^|\.)({ending})$", host):
                    return (
                        f"{host} is {owner}'s, whose terms forbid fetching tiles to store them; "
                        "g2s-tiles does not, whatever the provider file says"
                    )
        if not self.caching_allowed:
            return (
                f"{self.name}: caching_allowed is false in its provider file: its terms do not let "
                f"tiles be stored for use offline (licence: {self.licence})"
            )
        return None

    def tile_url(self, zoom: int, x: int, y: int, key: str = "") -> str:
        """Return where the tile is; `key` is escaped."""
        values: dict[str, int | str] = {"key": quote(key, safe="")}
        if self.kind == "wms":
            side = 2.0 * _HALF_WORLD_M / 2**zoom
            west, north = x * side - _HALF_WORLD_M, _HALF_WORLD_M - y * side
            box = (west, north - side, west + side, north)
            # A micrometre is enough, and keeps the text the same on every machine.
            values["bbox"] = ",".join(f"{metres:.6f}" for metres in box)
            values["width"] = values["height"] = TILE_SIZE
        else:
            values.update(z=zoom, x=x, y=y, TileMatrix=zoom, TileCol=x, TileRow=y)
        return self.url.format(**values)


def read_provider(file: Path) -> Provider:
    """Return the provider that a YAML file describes.

    Raises ValueError naming the file and what is wrong in it, FileNotFoundError for an absent one.
    """
    values: Any = read_yaml(file)
    if not isinstance(values, dict):
        raise ValueError(f"{file} must hold keys and values, got {type(values).__name__}")
    known = [field.name for field in fields(Provider)]
    if unknown := sorted(str(key) for key in values if key not in known):
        raise ValueError(f"{file}: unknown key(s) {', '.join(unknown)}; known: {', '.join(known)}")
    required = known[: known.index("kind")]
    if absent := [name for name in required if name not in values]:
        raise ValueError(f"{file}: no {', '.join(absent)}")
    try:
        return Provider(**values)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def plain_host(host: str) -> str:
    """Return a host name as it is compared: lower case, without the dot of the root zone."""
    return host.lower().removesuffix(".")


def _is_host(host: str) -> bool:
    """Return whether a plain name is one of a host, or an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return _HOST.fullmatch(host) is not None
    return True


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)
