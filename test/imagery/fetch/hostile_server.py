# SPDX-License-Identifier: Apache-2.0
"""A tile server on loopback that misbehaves: the first part of a tile's path says how."""

import os
import socket
import struct
import threading
import time
import zlib
from collections import Counter
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import cv2
import numpy as np

MEGABYTE = bytes(1024 * 1024)


def tile_image(x, y, size=(256, 256), suffix="png"):
    """The encoded picture of a place: no two are alike."""
    rng = np.random.default_rng([x, y])
    height, width = size
    coarse = rng.integers(0, 256, (max(height // 32, 1), max(width // 32, 1), 3), np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return cv2.imencode(f".{suffix}", image)[1].tobytes()


def png(width, height, data):
    """A PNG whose header says width x height and whose compressed pixels are `data`."""

    def chunk(kind, body):
        checksum = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def zeros_compressed(megabytes):
    packer = zlib.compressobj(9)
    return b"".join([packer.compress(MEGABYTE) for _ in range(megabytes)] + [packer.flush()])


BOMB = zeros_compressed(128)


class HostileServer(ThreadingHTTPServer):
    """Counts requests by path, and does as the path says; `with` starts and stops it.

    latency    seconds before each answer
    secret     what `leaks` give away
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, latency=0.0, secret=""):
        super().__init__(("127.0.0.1", 0), Handler)
        self.latency, self.secret = latency, secret
        self.seen = Counter()
        self.requests = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        """Clients that hang up are what these tests are about."""

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.seen[self.path] += 1
        self.server.requests.append((time.monotonic(), self.path, dict(self.headers)))
        time.sleep(self.server.latency)
        way, _, rest = self.path.partition("?")[0].lstrip("/").partition("/")
        numbers = [int(part) for part in rest.split("/") if part.isdecimal()]
        zoom, x, y = numbers if len(numbers) == 3 else (0, 0, 0)
        try:
            getattr(self, way)(zoom, x, y)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def answer(self, status=200, body=b"", content_type="image/png", **headers):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def first_time(self):
        return self.server.seen[self.path] == 1

    def good(self, zoom, x, y):
        if self.headers.get("If-None-Match") == f'"{x}-{y}"':
            self.answer(304)
        else:
            self.answer(body=tile_image(x, y), ETag=f'"{x}-{y}"', Last_Modified=formatdate(0))

    def jpeg(self, zoom, x, y):
        self.answer(body=tile_image(x, y, suffix="jpg"), content_type="image/jpeg")

    def wms(self, zoom, x, y):
        """The tile whose box is asked for."""
        query = parse_qs(urlsplit(self.path).query)
        west, _, east, north = map(float, query["BBOX"][0].split(","))
        side, half = east - west, 20037508.342789244
        self.answer(body=tile_image(round((west + half) / side), round((half - north) / side)))

    def redirect_loop(self, zoom, x, y):
        self.answer(302, Location=self.path)

    def redirect_within(self, zoom, x, y):
        self.answer(302, Location=f"/good/{zoom}/{x}/{y}")

    def redirect_elsewhere(self, zoom, x, y):
        self.answer(302, Location=f"http://127.0.0.2:9/good/{zoom}/{x}/{y}")

    def redirect_port(self, zoom, x, y):
        self.answer(302, Location=f"http://127.0.0.1:9/good/{zoom}/{x}/{y}")

    def redirect_other_service(self, zoom, x, y):
        self.answer(302, Location=f"https://tiles.example:8443/good/{zoom}/{x}/{y}")

    def redirect_unsafe(self, zoom, x, y):
        self.answer(302, Location=f"http://tiles.example/good/{zoom}/{x}/{y}")

    def redirect_broken(self, zoom, x, y):
        self.answer(302, Location=f"http://127.0.0.1:port/{self.server.secret}")

    def gigabyte(self, zoom, x, y):
        self.send_response(200)
        self.send_header("Content-Length", str(1024 * len(MEGABYTE)))
        self.end_headers()
        for _ in range(1024):
            self.wfile.write(MEGABYTE)

    def gigabyte_undeclared(self, zoom, x, y):
        self.send_response(200)
        self.send_header("Content-Type", "image/png")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for _ in range(1024):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(MEGABYTE), MEGABYTE))

    def endless_headers(self, zoom, x, y):
        self.send_response(200)
        for _ in range(100_000):
            self.wfile.write(b"X-More: " + bytes(1000).replace(b"\0", b"a") + b"\r\n")

    def drip(self, zoom, x, y):
        self.send_response(200)
        self.send_header("Content-Length", "5000")
        self.end_headers()
        for _ in range(100):
            self.wfile.write(b"\x89")
            time.sleep(0.05)

    def silent(self, zoom, x, y):
        time.sleep(2.5)
        self.close_connection = True

    def html(self, zoom, x, y):
        self.answer(body=b"<!DOCTYPE html><html><title>Please log in</title></html>")

    def service_exception(self, zoom, x, y):
        body = b"<?xml version='1.0'?><ServiceException>no such layer</ServiceException>"
        self.answer(body=body, content_type="text/xml")

    def bomb(self, zoom, x, y):
        self.answer(body=png(60000, 60000, zeros_compressed(1)))

    def bomb_inside(self, zoom, x, y):
        self.answer(body=png(256, 256, BOMB))

    def bomb_outside(self, zoom, x, y):
        self.answer(body=BOMB, Content_Encoding="deflate")

    def wrong_size(self, zoom, x, y):
        self.answer(body=tile_image(x, y, (200, 300)))

    def wrong_type(self, zoom, x, y):
        self.answer(body=tile_image(x, y), content_type="image/jpeg")

    def constant(self, zoom, x, y):
        image = np.full((256, 256, 3), x % 256, np.uint8)
        self.answer(body=cv2.imencode(".png", image)[1].tobytes())

    def collar(self, zoom, x, y):
        """Imagery that ends within the tile; beyond it there is exactly one colour."""
        image = np.random.default_rng([x, y]).integers(0, 256, (256, 256, 3), np.uint8)
        image[:, : 100 + x % 100] = (x % 256, 9, 9)
        self.answer(body=cv2.imencode(".png", image)[1].tobytes())

    def see_through(self, zoom, x, y):
        """Imagery that ends within the tile; beyond it the tile is transparent."""
        image = np.random.default_rng([x, y]).integers(0, 256, (256, 256, 4), np.uint8)
        image[:, :, 3] = 255
        image[: 100 + x % 100, :, 3] = 0
        self.answer(body=cv2.imencode(".png", image)[1].tobytes())

    def repeated(self, zoom, x, y):
        self.answer(body=tile_image(1, 1))

    def forbidden(self, zoom, x, y):
        body = f"<p>Keep off\x1b[31m, <b>you</b> {self.path}</p>".encode()
        self.answer(403, body, "text/html")

    def missing(self, zoom, x, y):
        self.answer(404, b"gone", "text/plain")

    def busy(self, zoom, x, y):
        if self.first_time():
            self.answer(429, Retry_After="1")
        else:
            self.good(zoom, x, y)

    def busy_until(self, zoom, x, y):
        if self.first_time():
            # A date has whole seconds.
            self.answer(503, Retry_After=formatdate(time.time() + 2.0, usegmt=True))
        else:
            self.good(zoom, x, y)

    def busy_for_long(self, zoom, x, y):
        self.answer(429, Retry_After="86400")

    def failing_once(self, zoom, x, y):
        if self.first_time():
            self.answer(500, b"oops", "text/plain")
        else:
            self.good(zoom, x, y)

    def failing(self, zoom, x, y):
        self.answer(500)

    def reset(self, zoom, x, y):
        # Linger 0: close() sends a reset instead of an orderly end.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.send_response(200)
        self.send_header("Content-Length", "5000")
        self.end_headers()
        self.wfile.write(b"\x89PNG")
        os.close(self.connection.detach())
        self.close_connection = True

    def truncated(self, zoom, x, y):
        self.send_response(200)
        self.send_header("Content-Length", "5000")
        self.end_headers()
        self.wfile.write(tile_image(x, y)[:900])
        self.close_connection = True

    def truncated_undeclared(self, zoom, x, y):
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(tile_image(x, y)[:900])
        self.close_connection = True

    def leaks(self, zoom, x, y):
        body = f"Your key {self.server.secret} is over its quota".encode()
        self.answer(403, body, "text/plain", ETag=self.server.secret)

    def leaks_in_picture(self, zoom, x, y):
        self.answer(body=tile_image(x, y) + self.server.secret.encode())

    def leaks_in_headers(self, zoom, x, y):
        self.answer(body=tile_image(x, y), ETag=f'"{self.server.secret}"')

    def leaks_in_redirect(self, zoom, x, y):
        self.answer(302, Location=f"http://{self.server.secret}.example/?k={self.server.secret}")
