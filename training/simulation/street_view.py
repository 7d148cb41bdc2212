# SPDX-License-Identifier: Apache-2.0
"""The camera's view: ground by ray casting, boxes and crowns against a depth buffer."""

from __future__ import annotations

import math

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from g2s_localizer.geometry import Camera
from training.simulation.objects import Objects
from training.simulation.paint import CELL_M
from training.simulation.shading import ground_tone, hash_unit, value_noise
from training.simulation.world import SHADOW_CELL_M, World

FloatArray = NDArray[np.float64]

_FAR_M = 160.0
_AMBIENT = 0.55


def render_street(
    world: World, camera: Camera, T_world_base: FloatArray, moving: Objects
) -> NDArray[np.float32]:
    """Return image (H, W, 3) RGB of 255, linear, before the camera's exposure and noise.

    T_world_base (4, 4): base_link in the world's metres, z above its datum; `moving` are
    vehicles of this instant.
    """
    look = world.street_look
    T = T_world_base @ camera.T_base_camera
    terrain = world.terrain
    heights = _Heights(world, T[:2, 3])
    image = np.empty((camera.height, camera.width, 3), np.float32)
    depth = np.empty((camera.height, camera.width), np.float32)
    rays = T[:3, :3] @ np.linalg.inv(camera.K)
    _ground(
        image, depth, rays, T[:3, 3], heights.grid, heights.origin, world.ground.classes,
        world.ground.origin, look.palette, look.texture_seed, look.shadow, camera.K[1, 1],
    )  # fmt: skip
    objects = world.objects.plus(look.cars).plus(moving)
    boxes, crowns = _near(objects.boxes, T[:2, 3]), _near(objects.crowns, T[:2, 3])
    for row in boxes:
        base = float(terrain.height(row[0], row[1]))
        window = _window(camera, T, _box_corners(row, base))
        if window is not None:
            _box(image, depth, rays, T[:3, 3], row, base, window, look.sun)
    for row in crowns:
        base = float(terrain.height(row[0], row[1]))
        window = _window(camera, T, _crown_corners(row, base))
        if window is not None:
            _crown(image, depth, rays, T[:3, 3], row, base, window, look.sun)
    return image


def expose(
    image: NDArray[np.float32], rng: np.random.Generator, gain: float, noise: float
) -> NDArray[np.uint8]:
    """Expose as the camera does: gain, vignetting, a little blur, noise, 8 bits."""
    height, width = image.shape[:2]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None]
    vignette = (gain * (1.0 - 0.12 * (x * x + 0.3 * y * y)))[..., None]
    value = cv2.GaussianBlur(image * vignette, (3, 3), 0.6)
    grain = rng.standard_normal((height, width), dtype=np.float32)[..., None] * noise
    return np.clip(value + grain, 0, 255).astype(np.uint8)


class _Heights:
    """The terrain around the camera on a grid of 4 m, for the ray caster."""

    def __init__(self, world: World, centre: FloatArray) -> None:
        offsets = np.arange(-_FAR_M - 8, _FAR_M + 8.1, 4.0)
        self.origin = np.asarray(centre + offsets[0])
        x, y = np.meshgrid(centre[0] + offsets, centre[1] + offsets)
        self.grid = world.terrain.height(x, y)


def _near(rows: FloatArray, xy: FloatArray) -> FloatArray:
    return rows[np.hypot(rows[:, 0] - xy[0], rows[:, 1] - xy[1]) < _FAR_M - 20.0]


def _box_corners(row: FloatArray, base: float) -> FloatArray:
    x, y, z0, z1, half_l, half_w, yaw = row[:7]
    c, s = math.cos(yaw), math.sin(yaw)
    signs = np.array([[a, b] for a in (-1, 1) for b in (-1, 1)], float) * (half_l, half_w)
    flat = signs @ np.array([[c, s], [-s, c]]) + (x, y)
    return np.concatenate([np.column_stack([flat, np.full(4, base + z)]) for z in (z0, z1)])


def _crown_corners(row: FloatArray, base: float) -> FloatArray:
    x, y, z, radius, half = row[:5]
    signs = np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)], float)
    return signs * (radius, radius, half) + (x, y, base + z)


def _window(camera: Camera, T: FloatArray, corners: FloatArray) -> tuple[int, int, int, int] | None:
    """Return columns and rows (from, to) that corners span; all if some lie behind."""
    points = (corners - T[:3, 3]) @ T[:3, :3]
    front = points[:, 2] > 0.3
    if not front.any():
        return None
    if not front.all():
        return 0, camera.width, 0, camera.height
    uv = points[:, :2] / points[:, 2:] @ camera.K[:2, :2].T + camera.K[:2, 2]
    low, high = np.floor(uv.min(axis=0)).astype(int), np.ceil(uv.max(axis=0)).astype(int) + 1
    u0, u1 = max(low[0], 0), min(high[0], camera.width)
    v0, v1 = max(low[1], 0), min(high[1], camera.height)
    return (u0, u1, v0, v1) if u0 < u1 and v0 < v1 else None


@numba.njit(cache=True)
def _height(grid: FloatArray, origin: FloatArray, x: float, y: float) -> float:
    fx, fy = (x - origin[0]) / 4.0, (y - origin[1]) / 4.0
    rows, columns = grid.shape
    fx = min(max(fx, 0.0), columns - 1.001)
    fy = min(max(fy, 0.0), rows - 1.001)
    ix, iy = int(fx), int(fy)
    tx, ty = fx - ix, fy - iy
    return (grid[iy, ix] * (1 - tx) + grid[iy, ix + 1] * tx) * (1 - ty) + (
        grid[iy + 1, ix] * (1 - tx) + grid[iy + 1, ix + 1] * tx
    ) * ty


@numba.njit(cache=True)
def _ground(
    image, depth, rays, eye, heights, heights_origin, classes, origin, palette, seed, shadow, focal
):  # type: ignore[no-untyped-def]
    rows, columns = classes.shape
    shadow_rows, shadow_columns = shadow.shape
    above = eye[2] - _height(heights, heights_origin, eye[0], eye[1])
    for v in range(image.shape[0]):
        for u in range(image.shape[1]):
            dx = rays[0, 0] * u + rays[0, 1] * v + rays[0, 2]
            dy = rays[1, 0] * u + rays[1, 1] * v + rays[1, 2]
            dz = rays[2, 0] * u + rays[2, 1] * v + rays[2, 2]
            flat = math.sqrt(dx * dx + dy * dy)
            t = above / max(-dz, 1e-9)
            met = False  # grazing rays may not find the ground: they see the woods
            if dz < 0 and t * flat < _FAR_M * 1.5:
                for _ in range(4):
                    fall = eye[2] - _height(
                        heights, heights_origin, eye[0] + t * dx, eye[1] + t * dy
                    )
                    # beyond a rise that stands above the camera: look nearer
                    t = fall / -dz if fall > 0 else 0.5 * t
                here = _height(heights, heights_origin, eye[0] + t * dx, eye[1] + t * dy)
                met = abs(eye[2] + t * dz - here) < 0.1
            if not met or t * flat > _FAR_M:
                depth[v, u] = 1e9
                rise = dz / flat
                cloud = value_noise(dx / flat * 6.0 + rise * 14.0, dy / flat * 6.0, seed + 5)
                for k in range(3):
                    top = 150.0 + 42.0 * k
                    sky = top + (225.0 - top) * math.exp(-4.0 * max(rise, 0.0))
                    sky += 40.0 * max(cloud - 0.55, 0.0)
                    # a line of woods closes the horizon
                    wood = 0.035 + 0.025 * value_noise(dx / flat * 25.0, dy / flat * 25.0, seed + 9)
                    if rise < wood:
                        sky = (96.0, 110.0, 100.0)[k]
                    image[v, u, k] = sky
                continue
            depth[v, u] = t
            footprint = t * t * math.sqrt(dx * dx + dy * dy + dz * dz) / (above * focal)
            samples = int(min(max(footprint / 0.12, 1.0), 6.0))
            r = g = b = 0.0
            for i in range(samples):
                shift = ((i + 0.5) / samples - 0.5) * footprint / flat
                x = eye[0] + (t + shift) * dx
                y = eye[1] + (t + shift) * dy
                if t < 25.0:  # frayed edges in place of the map's steps
                    x += 0.05 * (hash_unit(int(x * 70.0), int(y * 70.0), seed) - 0.5)
                    y += 0.05 * (hash_unit(int(x * 70.0), int(y * 70.0), seed + 1) - 0.5)
                column = int((x - origin[0]) / CELL_M)
                row = int((y - origin[1]) / CELL_M)
                kind = 0
                light = 1.0
                if 0 <= row < rows and 0 <= column < columns:
                    kind = classes[row, column]
                    sr = min(int((y - origin[1]) / SHADOW_CELL_M), shadow_rows - 1)
                    sc = min(int((x - origin[0]) / SHADOW_CELL_M), shadow_columns - 1)
                    light = 1.0 - (1.0 - _AMBIENT) * shadow[sr, sc] / 255.0
                tone = ground_tone(kind, x, y, seed, palette[kind, 3], t < 20.0) * light
                r += palette[kind, 0] * tone
                g += palette[kind, 1] * tone
                b += palette[kind, 2] * tone
            haze = 1.0 - math.exp(-t / 350.0)
            image[v, u, 0] = (1 - haze) * r / samples + haze * 196.0
            image[v, u, 1] = (1 - haze) * g / samples + haze * 204.0
            image[v, u, 2] = (1 - haze) * b / samples + haze * 212.0


@numba.njit(cache=True)
def _box(image, depth, rays, eye, row, base, window, sun):  # type: ignore[no-untyped-def]
    cx, cy, z0, z1, half_l, half_w, yaw = row[:7]
    kind, identity = int(row[7]), int(row[11])
    c, s = math.cos(yaw), math.sin(yaw)
    ox, oy = c * (eye[0] - cx) + s * (eye[1] - cy), -s * (eye[0] - cx) + c * (eye[1] - cy)
    oz = eye[2] - base
    for v in range(window[2], window[3]):
        for u in range(window[0], window[1]):
            wx = rays[0, 0] * u + rays[0, 1] * v + rays[0, 2]
            wy = rays[1, 0] * u + rays[1, 1] * v + rays[1, 2]
            dz = rays[2, 0] * u + rays[2, 1] * v + rays[2, 2]
            dx, dy = c * wx + s * wy, -s * wx + c * wy
            near, far, axis = -1e9, 1e9, 0
            for k in range(3):
                o, d = (ox, dx) if k == 0 else ((oy, dy) if k == 1 else (oz, dz))
                lo = -half_l if k == 0 else (-half_w if k == 1 else z0)
                hi = half_l if k == 0 else (half_w if k == 1 else z1)
                if abs(d) < 1e-12:
                    if o < lo or o > hi:
                        near = 1e9
                    continue
                t0, t1 = (lo - o) / d, (hi - o) / d
                if t0 > t1:
                    t0, t1 = t1, t0
                if t0 > near:
                    near, axis = t0, k
                far = min(far, t1)
            if near > far or near < 0.3 or near >= depth[v, u]:
                continue
            depth[v, u] = near
            x, y, z = ox + near * dx, oy + near * dy, oz + near * dz
            along = x if axis == 1 else y
            if axis == 0:
                sign = 1.0 if dx < 0 else -1.0
                facing = sign * (c * sun[0] + s * sun[1])
            elif axis == 1:
                sign = 1.0 if dy < 0 else -1.0
                facing = sign * (-s * sun[0] + c * sun[1])
            else:
                facing = sun[2]
            light = 0.62 + 0.45 * max(facing, 0.0)
            r, g, b = row[8], row[9], row[10]
            grain = value_noise((x + 3 * y) * 4.0, z * 4.0, identity)
            if kind == 0 and axis != 2:
                wide, floor = along / 2.6 + 50.0, z / 3.0
                iu, iz = math.floor(wide), math.floor(floor)
                fu, fz = wide - iu, floor - iz
                if 0.28 < fu < 0.72 and 0.3 < fz < 0.78 and hash_unit(iu, iz, identity) > 0.15:
                    glass = 40.0 + 60.0 * hash_unit(iu, iz, identity + 1)
                    r, g, b = glass, glass * 1.08, glass * 1.18
                light *= 0.93 + 0.12 * grain
            elif kind == 1:
                light *= 0.85 + 0.25 * value_noise(along * 3.0, z * 5.0, identity)
            elif kind == 2:
                light *= 0.55 + 0.8 * value_noise(along * 6.0, z * 6.0, identity)
            elif kind == 4:
                if z < 0.62 and axis == 1 and abs(abs(x) - 0.62 * half_l) < 0.36:
                    r, g, b = 26.0, 26.0, 28.0
                elif axis == 0 and 0.5 < z < 0.75 and abs(y) > 0.55 * half_w:
                    r, g, b = (190.0, 40.0, 36.0) if dx > 0 else (230.0, 230.0, 220.0)
            elif kind == 5 and axis != 2 and z < z1 - 0.12:
                r, g, b = 52.0, 60.0, 68.0
            haze = 1.0 - math.exp(-near / 350.0)
            image[v, u, 0] = (1 - haze) * r * light + haze * 196.0
            image[v, u, 1] = (1 - haze) * g * light + haze * 204.0
            image[v, u, 2] = (1 - haze) * b * light + haze * 212.0


@numba.njit(cache=True)
def _crown(image, depth, rays, eye, row, base, window, sun):  # type: ignore[no-untyped-def]
    cx, cy, cz, radius, half = row[:5]
    identity = int(row[8])
    ox, oy, oz = (eye[0] - cx) / radius, (eye[1] - cy) / radius, (eye[2] - base - cz) / half
    for v in range(window[2], window[3]):
        for u in range(window[0], window[1]):
            dx = (rays[0, 0] * u + rays[0, 1] * v + rays[0, 2]) / radius
            dy = (rays[1, 0] * u + rays[1, 1] * v + rays[1, 2]) / radius
            dz = (rays[2, 0] * u + rays[2, 1] * v + rays[2, 2]) / half
            a = dx * dx + dy * dy + dz * dz
            h = ox * dx + oy * dy + oz * dz
            q = h * h - a * (ox * ox + oy * oy + oz * oz - 1.0)
            if q < 0:
                continue
            t = (-h - math.sqrt(q)) / a
            if t < 0.3 or t >= depth[v, u]:
                continue
            x, y, z = ox + t * dx, oy + t * dy, oz + t * dz
            round_about = math.atan2(y, x) * radius
            leaf = value_noise(round_about * 3.0, z * half * 3.0, identity)
            clump = value_noise(round_about * 0.9, z * half * 0.9, identity + 3)
            rim = q / a
            if 0.6 * leaf + 0.4 * clump < 0.34 - 0.25 * min(rim * 1.5, 1.0) + 0.12:
                continue
            depth[v, u] = t
            facing = x * sun[0] + y * sun[1] + z * sun[2]
            light = (0.62 + 0.3 * facing) * (0.6 + 0.5 * leaf + 0.3 * clump)
            haze = 1.0 - math.exp(-t / 350.0)
            image[v, u, 0] = (1 - haze) * row[5] * light + haze * 196.0
            image[v, u, 1] = (1 - haze) * row[6] * light + haze * 204.0
            image[v, u, 2] = (1 - haze) * row[7] * light + haze * 212.0
