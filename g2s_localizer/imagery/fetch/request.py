# SPDX-License-Identifier: Apache-2.0
"""One request for a tile: whatever the server does, an answer that is bounded and named.

The only importer of httpx; nothing that opens stored imagery imports this module.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal
from urllib.parse import quote as percent_encoded
from urllib.parse import quote_plus

import httpx

from g2s_localizer.imagery.fetch.guards import quote
from g2s_localizer.imagery.fetch.pace import retry_after
from g2s_localizer.imagery.fetch.provider import is_loopback, plain_host

_ABSENT = {204, 404, 410}
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
_MESSAGE_BYTES = 2048
_VALIDATOR = 200
"""Characters of an ETag or date; a longer one is not kept."""


@dataclass(frozen=True)
class RequestLimits:
    """Limits of one request.

    connect_s, read_s   seconds to connect, and between two pieces of the answer
    total_s             seconds from the first byte sent to the last one received
    max_bytes          of the answer's body
    redirects           followed one after the other
    """

    connect_s: float = 10.0
    read_s: float = 10.0
    total_s: float = 30.0
    max_bytes: int = 5 * 1024 * 1024
    redirects: int = 5

    def __post_init__(self) -> None:
        for name in ("connect_s", "read_s", "total_s", "max_bytes"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.redirects < 0:
            raise ValueError(f"redirects must not be negative, got {self.redirects}")


@dataclass(frozen=True)
class Reply:
    """Outcome of a request.

    kind       tile: a body that may be one; unchanged: the stored tile is still right;
               absent: the server has none; failed
    reason     why not a tile, for people
    transient  worth asking again, after `wait_s` seconds if the server said so
    """

    kind: Literal["tile", "unchanged", "absent", "failed"]
    reason: str = ""
    transient: bool = False
    wait_s: float | None = None
    body: bytes = b""
    content_type: str = ""
    etag: str = ""
    last_modified: str = ""


class TileClient:
    """Asks one provider's hosts for tiles; an asynchronous context manager.

    origins     the only hosts and ports that a request or a redirect may go to
    user_agent  who asks
    secret      the API key: taken out of everything that a Reply says, "" for none
    """

    def __init__(
        self,
        origins: frozenset[tuple[str, int]],
        user_agent: str,
        limits: RequestLimits,
        secret: str = "",
    ) -> None:
        # Their records of what goes on hold whole URLs, and with them the key.
        for name in ("httpx", "httpcore"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self._origins = origins
        self._limits = limits
        forms = {secret, percent_encoded(secret, safe=""), percent_encoded(secret)}
        self._secrets = sorted((forms | {quote_plus(secret)}) - {""}, key=len, reverse=True)
        self._client = httpx.AsyncClient(
            # Compressed transfer could unfold to any size, and images gain nothing by it.
            headers={
                "User-Agent": user_agent,
                "Accept": "image/png, image/jpeg, image/webp",
                "Accept-Encoding": "identity",
            },
            timeout=httpx.Timeout(limits.read_s, connect=limits.connect_s, pool=None),
            follow_redirects=False,
        )

    async def __aenter__(self) -> TileClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def get(self, url: str, etag: str = "", last_modified: str = "") -> Reply:
        """Ask for `url`, or whether it is still what `etag` and `last_modified` say. Never raises.

        Exceptions hold the request, and it the key; so what went wrong is told in a Reply.
        """
        headers = {"If-None-Match": etag, "If-Modified-Since": last_modified}
        headers = {name: value for name, value in headers.items() if value}
        try:
            reply = await asyncio.wait_for(self._follow(url, headers), self._limits.total_s)
        except asyncio.TimeoutError:
            reply = _failed(f"no whole answer within {self._limits.total_s:g} s", transient=True)
        except httpx.ConnectTimeout:
            reply = _failed(f"no connection within {self._limits.connect_s:g} s", transient=True)
        except httpx.TimeoutException:
            reply = _failed(f"silent for {self._limits.read_s:g} s", transient=True)
        except httpx.RemoteProtocolError as error:
            # What httpx quotes of a Location may be a piece of the key.
            is_redirect = "location header" in str(error)
            reply = _failed(
                "redirected to what is no address"
                if is_redirect
                else f"truncated or broken answer: {error}",
                transient=not is_redirect,
            )
        except httpx.ReadError:
            reply = _failed("the connection was reset", transient=True)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError) as error:
            reply = _failed(f"{type(error).__name__}: {error}", transient=True)
        return self._without_secret(reply)

    async def _follow(self, url: str, headers: dict[str, str]) -> Reply:
        target = httpx.URL(url)
        for _ in range(self._limits.redirects + 1):
            if (refusal := self._refusal(target)) is not None:
                return _failed(refusal)
            async with self._client.stream("GET", target, headers=headers) as response:
                if not response.has_redirect_location:
                    return await self._read(response, conditional=bool(headers))
                location = response.headers["location"]
                following = target.join(location)
                is_ours = _origin(following) in self._origins
                if not is_ours and self._redacted(location) != location:
                    # Not even its host is told: that may be a piece of the key.
                    return _failed("redirected elsewhere, the API key in the address")
                target = following
        return _failed(f"more than {self._limits.redirects} redirects")

    def _refusal(self, target: httpx.URL) -> str | None:
        host, port = _origin(target)
        hosts = sorted({name for name, _ in self._origins})
        if host not in hosts:
            return f"redirected to {quote(host)}, which is not among its hosts ({', '.join(hosts)})"
        if target.scheme != "https" and not (target.scheme == "http" and is_loopback(host)):
            return f"redirected to {quote(target.scheme)}://{host}, which is not https"
        if (host, port) not in self._origins:
            ports = ", ".join(str(own) for name, own in sorted(self._origins) if name == host)
            return f"redirected to port {port} of {host}, whose port is {ports}"
        if target.userinfo:
            return f"redirected to {host} with a user name in the address"
        return None

    async def _read(self, response: httpx.Response, conditional: bool) -> Reply:
        status = response.status_code
        if status == 304 and conditional:
            return Reply("unchanged")
        if status in _ABSENT:
            return Reply("absent", _status(status))
        if status != 200:
            return await self._error(response)
        encoding = response.headers.get("content-encoding", "identity").lower()
        if encoding != "identity":
            return _failed(f"compressed ({quote(encoding)}) although that was not asked for")
        most = self._limits.max_bytes
        declared = response.headers.get("content-length", "0")
        if declared.isdecimal() and int(declared) > most:
            return _failed(f"{declared} bytes; the limit is {most}")
        body = bytearray()
        async for piece in response.aiter_raw():
            body += piece
            if len(body) > most:
                return _failed(f"more than {most} bytes, the limit")
        validators = [response.headers.get(name, "") for name in ("etag", "last-modified")]
        etag, last_modified = (text if self._is_storable(text) else "" for text in validators)
        if any(secret.encode() in body for secret in self._secrets):
            return _failed("the server wrote the API key into its answer")
        content_type = response.headers.get("content-type", "")
        return Reply(
            "tile", body=bytes(body), content_type=content_type,
            etag=etag, last_modified=last_modified,
        )  # fmt: skip

    async def _error(self, response: httpx.Response) -> Reply:
        """Return the status with the server's words on it."""
        status = response.status_code
        message = bytearray()
        if response.headers.get("content-type", "").startswith("text/"):
            async for piece in response.aiter_raw():
                message += piece[:_MESSAGE_BYTES]
                if len(message) >= _MESSAGE_BYTES:
                    break
        text = self._redacted(message[:_MESSAGE_BYTES].decode("utf-8", "replace"))
        says = f": {quote(text)}" if quote(text) else ""
        wait = response.headers.get("retry-after")
        return _failed(
            _status(status) + says,
            transient=status in _TRANSIENT,
            wait_s=retry_after(wait, time.time()) if wait is not None else None,
        )

    def _is_storable(self, validator: str) -> bool:
        return (
            len(validator) <= _VALIDATOR
            and validator.isprintable()
            and validator == self._redacted(validator)
        )

    def _redacted(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "(key)")
        return text

    def _without_secret(self, reply: Reply) -> Reply:
        if reply.kind == "tile":
            return reply
        return Reply(reply.kind, self._redacted(reply.reason), reply.transient, reply.wait_s)


def _origin(target: httpx.URL) -> tuple[str, int]:
    """Return host and port of an address, the port of its scheme where it names none."""
    host = plain_host(target.raw_host.decode("ascii").strip("[]"))
    return host, target.port or (80 if target.scheme == "http" else 443)


def _failed(reason: str, transient: bool = False, wait_s: float | None = None) -> Reply:
    return Reply("failed", reason, transient, wait_s)


def _status(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
