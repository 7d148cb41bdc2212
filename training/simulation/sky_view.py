# SPDX-License-Identifier: Apache-2.0
"""The view from above: the world as a mosaic of Web-Mercator tiles."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from g2s_localizer.geometry import LocalFrame
from g2s_localizer.geometry.geodesy import (
    TILE_SIZE,
    ground_sample_distance,
    mercator_latlon,
    mercator_pixel,
)
from training.simulation.objects import Objects, footprint
from training.simulation.paint import CELL_M, GroundMap
from training.simulation.preset import Stream, stream
from training.simulation.shading import ground_tone, value_noise
from training.simulation.world import SHADOW_CELL_M, World

FloatArray = NDArray[np.float64]

ZOOM = 19
_MESH = 64
_CROWN = 100
_BEYOND_M = 40.0
"""Width (m) of grass that is drawn around the world: 250 m around any frame are whole."""
_AMBIENT = 0.5


def write_tiles(world: World, folder: Path) -> FloatArray:
    """Write folder/{z}/{x}/{y}.jpg over the whole world and grass around it.

    Returns the georeferencing error (2,): metres east and north by which the imagery shows things
    beside their place.
    """
    rng = stream(world.seed, Stream.IMAGERY)
    preset = world.preset
    offset = rng.normal(0.0, 1.0, 2) * preset.imagery_offset_m
    frame = LocalFrame(world.datum)
    origin = world.ground.origin
    x0, y0, x1, y1 = _tiles(world, frame, _BEYOND_M)
    width, height = (x1 - x0 + 1) * TILE_SIZE, (y1 - y0 + 1) * TILE_SIZE
    mesh_x, mesh_y = np.meshgrid(
        x0 * TILE_SIZE + 0.5 + np.arange(0, width + _MESH, _MESH),
        y0 * TILE_SIZE + 0.5 + np.arange(0, height + _MESH, _MESH),
    )
    mesh = np.stack(frame.to_xy_array(*mercator_latlon(mesh_x, mesh_y, ZOOM)), axis=-1) - offset
    gsd = ground_sample_distance(world.datum.lat, ZOOM)
    lean = rng.normal(0.0, 1.0, 2) * preset.lean
    top, table = _tops(world, lean)
    look = world.sky_look
    image = np.empty((height, width, 3), np.float32)
    _render(
        image, mesh, gsd, world.ground.classes, origin, look.palette, look.texture_seed,
        look.shadow, top, table, look.sun,
    )  # fmt: skip
    image *= math.exp(rng.normal(0.0, 0.12))
    image = cv2.GaussianBlur(image, (0, 0), max(preset.satellite_blur_m / gsd, 0.3))
    image += _noise(rng, world, frame, (x0, y0, x1, y1)) * preset.satellite_noise
    mosaic = np.clip(image, 0, 255).astype(np.uint8)[..., ::-1]
    quality = [cv2.IMWRITE_JPEG_QUALITY, preset.jpeg_quality]
    for x in range(x0, x1 + 1):
        column = folder / str(ZOOM) / str(x)
        column.mkdir(parents=True, exist_ok=True)
        for y in range(y0, y1 + 1):
            v, u = (y - y0) * TILE_SIZE, (x - x0) * TILE_SIZE
            tile = mosaic[v : v + TILE_SIZE, u : u + TILE_SIZE]
            if not cv2.imwrite(str(column / f"{y}.jpg"), tile, quality):
                raise OSError(f"cannot write {column / f'{y}.jpg'}")
    return offset


def _tiles(world: World, frame: LocalFrame, beyond_m: float) -> tuple[int, int, int, int]:
    """Return columns and rows (x0, y0, x1, y1) of the tiles over and around the world."""
    low = world.ground.origin - beyond_m
    high = low + np.array(world.ground.classes.shape[::-1]) * CELL_M + 2 * beyond_m
    lat, lon = frame.to_latlon_array([low[0], high[0], low[0], high[0]],
                                     [low[1], low[1], high[1], high[1]])  # fmt: skip
    px, py = np.array(mercator_pixel(lat, lon, ZOOM)) // TILE_SIZE
    return int(px.min()), int(py.min()), int(px.max()), int(py.max())


def _noise(
    rng: np.random.Generator, world: World, frame: LocalFrame, tiles: tuple[int, int, int, int]
) -> NDArray[np.float32]:
    """Draw the noise of all tiles, that over the world first, independent of the others."""
    inner = np.array(_tiles(world, frame, 0.0))
    columns, rows = (inner[2:] - inner[:2] + 1) * TILE_SIZE
    own = rng.standard_normal((rows, columns, 3), dtype=np.float32)
    x0, y0, x1, y1 = tiles
    size = ((y1 - y0 + 1) * TILE_SIZE, (x1 - x0 + 1) * TILE_SIZE, 3)
    noise = rng.standard_normal(size, dtype=np.float32)
    u, v = (inner[:2] - (x0, y0)) * TILE_SIZE
    noise[v : v + rows, u : u + columns] = own
    return noise


def _tops(world: World, lean: FloatArray) -> tuple[NDArray[np.uint16], FloatArray]:
    """Return index (H, W) into the table of what is highest at each cell, 0 for open ground; the
    table (N, 9) holds kind, RGB, id, x, y, yaw, radius.
    """
    objects: Objects = world.objects.plus(world.sky_look.cars)
    raster = GroundMap(np.zeros(world.ground.classes.shape, np.uint16), world.ground.origin)
    entries: list[tuple[float, FloatArray, list[float]]] = []
    for x, y, _, z1, half_l, half_w, yaw, kind, *colour in objects.boxes:
        shift = lean * z1
        entry = [kind, *colour, x + shift[0], y + shift[1], yaw, half_w]
        entries.append((z1, footprint(x, y, half_l, half_w, yaw) + shift, entry))
    circle = np.linspace(0, 2 * math.pi, 25)[:-1]
    for x, y, z, radius, half, *colour in objects.crowns:
        shift = lean * z
        wobble = radius * (1 + 0.12 * np.sin(3 * circle + colour[-1]))
        ring = np.stack([np.cos(circle), np.sin(circle)], 1) * wobble[:, None] + (x, y) + shift
        entries.append((z + half, ring, [_CROWN, *colour, x + shift[0], y + shift[1], 0.0, radius]))
    entries.sort(key=lambda entry: entry[0])
    for index, (_, polygon, _) in enumerate(entries):
        raster.fill(polygon, index + 1)
    table = np.array([[0.0] * 9] + [entry for _, _, entry in entries])
    return raster.classes, table


@numba.njit(cache=True)
def _render(image, mesh, gsd, classes, origin, palette, seed, shadow, top, table, sun):  # type: ignore[no-untyped-def]
    rows, columns = classes.shape
    shadow_rows, shadow_columns = shadow.shape
    for v in range(image.shape[0]):
        my, ty = v // 64, (v % 64) / 64.0
        for u in range(image.shape[1]):
            mx, tx = u // 64, (u % 64) / 64.0
            px = (mesh[my, mx, 0] * (1 - tx) + mesh[my, mx + 1, 0] * tx) * (1 - ty) + (
                mesh[my + 1, mx, 0] * (1 - tx) + mesh[my + 1, mx + 1, 0] * tx
            ) * ty
            py = (mesh[my, mx, 1] * (1 - tx) + mesh[my, mx + 1, 1] * tx) * (1 - ty) + (
                mesh[my + 1, mx, 1] * (1 - tx) + mesh[my + 1, mx + 1, 1] * tx
            ) * ty
            r = g = b = 0.0
            for i in range(4):
                x = px + ((i % 2) - 0.5) * 0.5 * gsd
                y = py + ((i // 2) - 0.5) * 0.5 * gsd
                column = math.floor((x - origin[0]) / CELL_M)
                row = math.floor((y - origin[1]) / CELL_M)
                index = 0
                kind = 0
                light = 1.0
                if 0 <= row < rows and 0 <= column < columns:
                    kind = classes[row, column]
                    index = top[row, column]
                    sr = min(int((y - origin[1]) / SHADOW_CELL_M), shadow_rows - 1)
                    sc = min(int((x - origin[0]) / SHADOW_CELL_M), shadow_columns - 1)
                    light = 1.0 - (1.0 - _AMBIENT) * shadow[sr, sc] / 255.0
                if index == 0:
                    tone = ground_tone(kind, x, y, seed, palette[kind, 3], False) * light
                    r += palette[kind, 0] * tone
                    g += palette[kind, 1] * tone
                    b += palette[kind, 2] * tone
                    continue
                what = table[index]
                code, identity = int(what[0]), int(what[4])
                c, s = math.cos(what[7]), math.sin(what[7])
                ax, ay = x - what[5], y - what[6]
                lx, ly = c * ax + s * ay, -s * ax + c * ay
                tone = 1.0
                if code == 100:
                    leaf = value_noise(x * 2.2, y * 2.2, identity)
                    bulge = (ax * sun[0] + ay * sun[1]) / max(what[8], 0.1)
                    tone = (0.75 + 0.3 * bulge) * (0.55 + 0.9 * leaf)
                elif code == 1:
                    side = 1.0 if ly > 0 else -1.0
                    facing = side * (-s * sun[0] + c * sun[1])
                    tone = (
                        0.85 + 0.3 * facing + 0.12 * (value_noise(lx * 4, ly * 4, identity) - 0.5)
                    )
                elif code == 2:
                    tone = 0.6 + 0.7 * value_noise(x * 4, y * 4, identity)
                elif code == 5:
                    tone = 1.0 if abs(lx) < 0.6 else 0.5
                r += what[1] * tone
                g += what[2] * tone
                b += what[3] * tone
            image[v, u, 0] = r / 4.0
            image[v, u, 1] = g / 4.0
            image[v, u, 2] = b / 4.0
