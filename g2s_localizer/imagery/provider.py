# SPDX-License-Identifier: Apache-2.0
"""A provider of tiles as its YAML file describes it: where, whose, and what is allowed."""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass, fields
from pathlib import Path
from string import Formatter
from typing import Any
from urllib.parse import quote, urlsplit

import yaml

from g2s_localizer.geometry.geodesy import TILE_SIZE

KINDS = ("xyz", "wmts", "wms")

MOST_ZOOM = 24

MOST_BYTES = 64 * 1024
"""A provider file is a few lines; what is longer is not read."""

# Whose terms forbid storing tiles, whatever a file says: OpenStreetMap's tile usage policy, and
# the terms of Google's Maps Platform. Host names that end so.
FORBIDDEN_HOSTS = {
    "OpenStreetMap": ("openstreetmap.org", "openstreetmap.fr", "openstreetmap.de", "osm.org"),
    "Google": ("google.com", "googleapis.com", "gstatic.com", "googleusercontent.com", "ggpht.com"),
}

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
    max_zoom: int = MOST_ZOOM

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
        if not (whole and 0 <= self.min_zoom <= self.max_zoom <= MOST_ZOOM):
            raise ValueError(f"min_zoom and max_zoom must lie in 0..{MOST_ZOOM}, got {zooms}")
        self._check_hosts()
        self._check_url()

    def _check_hosts(self) -> None:
        if not isinstance(self.hosts, list | tuple):
            raise ValueError(f"hosts must be a list of host names, got {self.hosts!r}")
        for host in self.hosts:
            plain = isinstance(host, str) and host.isascii()
            if not (plain and urlsplit(f"//{host}").hostname == host.lower()):
                raise ValueError(f"hosts must be host names without scheme and port, got {host!r}")
        object.__setattr__(self, "hosts", tuple(host.lower() for host in self.hosts))

    def _check_url(self) -> None:
        # What the file holds may be shown; a key in it would be, so userinfo is refused unseen.
        parts = urlsplit(self.url)
        if "@" in parts.netloc or not parts.hostname or "{" in parts.netloc:
            raise ValueError("url must name a host, without user name, password or placeholder")
        if not parts.hostname.isascii():
            raise ValueError(f"url must name its host in ASCII (xn--...), got {parts.hostname}")
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname)):
            raise ValueError(f"url must start with https://, got {parts.scheme}://{parts.hostname}")
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

    @property
    def allowed_hosts(self) -> frozenset[str]:
        """Host names that a request may go to."""
        return frozenset({str(urlsplit(self.url).hostname), *self.hosts})

    @property
    def refusal(self) -> str | None:
        """Why its tiles may not be stored, None where they may."""
        for owner, endings in FORBIDDEN_HOSTS.items():
            for host in sorted(self.allowed_hosts):
                if any(host == ending or host.endswith(f".{ending}") for ending in endings):
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
        """Where the tile is; `key` is escaped."""
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
    """The provider that a YAML file describes.

    Raises ValueError naming the file and what is wrong in it, FileNotFoundError for an absent one.
    """
    if not file.is_file():
        raise FileNotFoundError(f"no such provider file: {file}")
    with file.open("rb") as stream:
        content = stream.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"{file} is longer than {MOST_BYTES} bytes")
    try:
        values: Any = yaml.safe_load(content)
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{file} is no YAML: {error}") from error
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


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)
