# SPDX-License-Identifier: Apache-2.0
"""The golden pair: one simulated ground image on simulated imagery, its pose known exactly."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from g2s_localizer import Camera, LatLon, Localizer, LocalizerConfig, Observation, Pose2D, Prior
from g2s_localizer.geometry import LocalFrame
from g2s_localizer.geometry.geodesy import TILE_SIZE, mercator_latlon
from g2s_localizer.imagery.level import tile_box
from g2s_localizer.imagery.sidecar import Sidecar
from g2s_localizer.imagery.tiles.writer import Contents, new_store

PAIR = Path(__file__).with_name("pair")
STAMP_NS = 1_700_000_000_000_000_000
_MERCATOR_M = 2 * math.pi * 6378137.0
"""Circumference of Web Mercator's sphere (m)."""


@dataclass(frozen=True)
class World:
    """The imagery around the vehicle, and where both lie.

    mosaic       (768, 768, 3) RGB, whose top left corner is that of the tile `corner` at `zoom`
    uv           the vehicle in pixels of the mosaic, continuous from its top left corner
    yaw          its heading (rad)
    datum        origin of map
    """

    mosaic: NDArray[np.uint8]
    zoom: int
    corner: tuple[int, int]
    uv: tuple[float, float]
    yaw: float
    datum: LatLon

    @property
    def pose(self) -> Pose2D:
        """The truth in map."""
        column, row = self.corner
        pixel = column * TILE_SIZE + self.uv[0], row * TILE_SIZE + self.uv[1]
        lat, lon = mercator_latlon(*pixel, self.zoom)
        return Pose2D(*LocalFrame(self.datum).to_xy(LatLon(float(lat), float(lon))), self.yaw)

    def resized(self, steps: int) -> "World":
        """The same ground `steps` zooms finer (coarser: negative)."""
        factor = 2.0**steps
        side = round(len(self.mosaic) * factor)
        how = cv2.INTER_LINEAR if steps > 0 else cv2.INTER_AREA
        mosaic = cv2.resize(self.mosaic, (side, side), interpolation=how)
        rest = -side % TILE_SIZE  # to whole tiles; no crop gets there
        mosaic = np.asarray(cv2.copyMakeBorder(mosaic, 0, rest, 0, rest, cv2.BORDER_REFLECT))
        corner = round(self.corner[0] * factor), round(self.corner[1] * factor)
        uv = self.uv[0] * factor, self.uv[1] * factor
        return replace(self, mosaic=mosaic, zoom=self.zoom + steps, corner=corner, uv=uv)

    def moved(self, right: int, down: int) -> "World":
        """The ground, and the vehicle with it, by whole pixels."""
        matrix = np.array([[1.0, 0.0, right], [0.0, 1.0, down]])
        return replace(
            self, mosaic=self._warped(matrix), uv=(self.uv[0] + right, self.uv[1] + down)
        )

    def turned(self, angle: float) -> "World":
        """The ground, and the vehicle with it, turned about the vehicle, counter-clockwise."""
        centre = self.uv[0] - 0.5, self.uv[1] - 0.5
        matrix = cv2.getRotationMatrix2D(centre, math.degrees(angle), 1.0)
        return replace(self, mosaic=self._warped(matrix), yaw=self.yaw + angle)

    def _warped(self, matrix: NDArray[np.float64]) -> NDArray[np.uint8]:
        size = self.mosaic.shape[1], self.mosaic.shape[0]
        warped = cv2.warpAffine(
            self.mosaic, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
        )
        return np.asarray(warped, np.uint8)

    def write(self, out: Path, scheme: str = "slippy") -> str:
        """Write the mosaic as a store of tiles, without loss; returns its URI."""
        count = len(self.mosaic) // TILE_SIZE
        column, row = self.corner
        box = tile_box(self.zoom, (column, column + count - 1), (row, row + count - 1))
        contents = Contents(Sidecar(attribution="simulated"), (self.zoom,), box, "golden")
        with new_store(scheme, out, contents) as put:
            for i, j in np.ndindex(count, count):
                top, left = TILE_SIZE * j, TILE_SIZE * i
                tile = self.mosaic[top : top + TILE_SIZE, left : left + TILE_SIZE, ::-1]
                put(self.zoom, column + i, row + j, cv2.imencode(".png", tile)[1].tobytes())
        return f"{scheme}:{out}"

    def write_geotiff(self, out: Path) -> str:
        """Write the mosaic as a GeoTIFF in Web Mercator; returns its URI."""
        import rasterio
        from rasterio.transform import from_origin

        pixel = _MERCATOR_M / (TILE_SIZE * 2**self.zoom)
        column, row = (number * TILE_SIZE * pixel for number in self.corner)
        height, width = self.mosaic.shape[:2]
        with rasterio.open(
            out, "w", driver="GTiff", width=width, height=height, count=3, dtype="uint8",
            crs="EPSG:3857", photometric="RGB",
            transform=from_origin(column - _MERCATOR_M / 2, _MERCATOR_M / 2 - row, pixel, pixel),
        ) as raster:  # fmt: skip
            raster.write(self.mosaic.transpose(2, 0, 1))
        return f"geotiff:{out}"


@dataclass(frozen=True)
class GoldenPair:
    """The ground image (188, 621, 3) RGB with its camera, the world, and the prior's error."""

    image: NDArray[np.uint8]
    camera: Camera
    world: World
    prior_error: Pose2D
    prior_covariance: NDArray[np.float64]

    def observation(self, world: World) -> Observation:
        """What the vehicle sees in this world, with a prior that is wrong by `prior_error`."""
        truth, error = world.pose, self.prior_error
        guess = Pose2D(truth.x + error.x, truth.y + error.y, truth.yaw + error.yaw)
        prior = Prior(STAMP_NS, guess, self.prior_covariance, LocalFrame(world.datum))
        return Observation(STAMP_NS, self.image, self.camera, prior)


@pytest.fixture(scope="session")
def description() -> dict:
    return json.loads((PAIR / "pair.json").read_text())


@pytest.fixture(scope="session")
def pair(description) -> GoldenPair:
    camera, prior = description["camera"], description["prior"]
    vehicle, imagery = description["vehicle"], description["imagery"]
    K = [[camera["fx"], 0, camera["cx"]], [0, camera["fy"], camera["cy"]], [0, 0, 1]]
    sigmas = [prior["sigma_xy"], prior["sigma_xy"], math.radians(prior["sigma_yaw_deg"])]
    return GoldenPair(
        image=read("ground.jpg"),
        camera=Camera(
            np.array(K), camera["width"], camera["height"], np.zeros(5),
            np.array(camera["T_base_camera"]),
        ),
        world=World(
            mosaic=read("satellite.jpg"),
            zoom=imagery["zoom"],
            corner=(imagery["column"], imagery["row"]),
            uv=(vehicle["u"], vehicle["v"]),
            yaw=math.radians(vehicle["yaw_deg"]),
            datum=LatLon(description["datum"]["latitude"], description["datum"]["longitude"]),
        ),
        prior_error=Pose2D(
            prior["error_x"], prior["error_y"], math.radians(prior["error_yaw_deg"])
        ),
        prior_covariance=np.diag(np.square(sigmas)),
    )  # fmt: skip


def read(name: str) -> NDArray[np.uint8]:
    return np.ascontiguousarray(cv2.imread(str(PAIR / name))[..., ::-1])


@pytest.fixture(scope="session")
def uri(pair, tmp_path_factory) -> str:
    """URI of the imagery as it is."""
    return pair.world.write(tmp_path_factory.mktemp("golden") / "tiles")


@pytest.fixture
def localize(pair, tmp_path) -> Callable:
    """localize(world) -> the Estimate of the shipped method in a world written for it."""

    def answer(world: World, scheme: str = "slippy"):
        imagery = world.write(tmp_path / f"{len(list(tmp_path.iterdir()))}", scheme)
        localizer = Localizer.from_config(LocalizerConfig(imagery))
        return localizer.localize(pair.observation(world))

    return answer
