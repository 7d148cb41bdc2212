# SPDX-License-Identifier: Apache-2.0
"""The Earth: WGS 84 degrees, a local ENU tangent plane, and Web-Mercator tiles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pyproj import Proj

FloatArray = NDArray[np.float64]

TILE_SIZE = 256
"""Side of a Web-Mercator tile in pixels: zoom z spans 256 * 2^z of them."""

MERCATOR_MAX_LATITUDE = math.degrees(2.0 * math.atan(math.exp(math.pi)) - math.pi / 2.0)
"""Latitude (degrees) where the square of Web-Mercator tiles ends, about 85.05."""

_MEAN_RADIUS = 6371008.8
_SEMI_MAJOR_AXIS = 6378137.0
_ECCENTRICITY_SQUARED = (2.0 - 1.0 / 298.257223563) / 298.257223563


@dataclass(frozen=True)
class LatLon:
    """A place on the WGS 84 ellipsoid in degrees; lon is kept in [-180, 180).

    Raises ValueError for a latitude outside [-90, 90] or anything not finite.
    """

    lat: float
    lon: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.lat) and math.isfinite(self.lon)):
            raise ValueError(f"LatLon must be finite, got ({self.lat}, {self.lon})")
        if not -90.0 <= self.lat <= 90.0:
            raise ValueError(f"LatLon.lat must lie in [-90, 90] degrees, got {self.lat}")
        object.__setattr__(self, "lat", float(self.lat))
        object.__setattr__(self, "lon", float(wrap_longitude(self.lon)))


def wrap_longitude(lon: float) -> float:
    """Return same longitude (degrees) in [-180, 180); unchanged, to the bit, when it lies there."""
    return lon if -180.0 <= lon < 180.0 else (lon + 180.0) % 360.0 - 180.0


def great_circle(a: LatLon, b: LatLon) -> float:
    """Return the distance over the ground (m) on a sphere, right to half a percent."""
    lat_a, lat_b = math.radians(a.lat), math.radians(b.lat)
    lon = math.radians(b.lon - a.lon)
    h = math.sin((lat_b - lat_a) / 2) ** 2
    h += math.cos(lat_a) * math.cos(lat_b) * math.sin(lon / 2) ** 2
    return 2.0 * _MEAN_RADIUS * math.asin(math.sqrt(min(h, 1.0)))


class LocalFrame:
    """ENU tangent plane at `datum`: x east, y north (m) of points of the ellipsoid's surface.

    The ellipsoidal orthographic projection of PROJ is that plane exactly; good to some
    hundred kilometres. A metre of the ground at distance d lies foreshortened by d^2 / 2 R^2.
    Raises ValueError for a point on the other side of the Earth.
    """

    def __init__(self, datum: LatLon) -> None:
        self.datum = datum
        self._projection = Proj(proj="ortho", ellps="WGS84", lat_0=datum.lat, lon_0=datum.lon)

    def __repr__(self) -> str:
        return f"LocalFrame({self.datum})"

    def to_xy(self, place: LatLon) -> tuple[float, float]:
        x, y = self.to_xy_array(place.lat, place.lon)
        return float(x), float(y)

    def to_latlon(self, x: float, y: float) -> LatLon:
        lat, lon = self.to_latlon_array(x, y)
        return LatLon(float(lat), float(lon))

    def convergence(self, place: LatLon) -> float:
        """Return the angle (rad) that turns a yaw from true east at `place` into one in this frame,
        by adding.

        True north at a place beside the datum's meridian is not the plane's y: it leans by about
        the difference in longitude times the sine of the latitude, counter-clockwise east of the
        datum in the northern hemisphere. 0.2 degrees at 20 km, at 50 degrees of latitude.
        """
        lat, lat_0 = math.radians(place.lat), math.radians(self.datum.lat)
        lon = math.radians(wrap_longitude(place.lon - self.datum.lon))
        # The unit vector to the north at `place`, on the datum's axes to the west and north.
        west = math.sin(lat) * math.sin(lon)
        north = math.sin(lat) * math.sin(lat_0) * math.cos(lon) + math.cos(lat) * math.cos(lat_0)
        return math.atan2(west, north)

    def to_xy_array(self, lat: ArrayLike, lon: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Convert degrees of any shape to metres east and north of the datum, of the same shape."""
        x, y = self._projection(np.asarray(lon, np.float64), np.asarray(lat, np.float64))
        return self._finite(x, y, "latitude and longitude", lat, lon)

    def to_latlon_array(self, x: ArrayLike, y: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Convert metres east and north of the datum, any shape, to latitude, longitude (deg)."""
        lon, lat = self._projection(
            np.asarray(x, np.float64), np.asarray(y, np.float64), inverse=True
        )
        return self._finite(lat, lon, "position", x, y)

    def _finite(
        self, first: ArrayLike, second: ArrayLike, what: str, *given: ArrayLike
    ) -> tuple[FloatArray, FloatArray]:
        result = np.asarray(first, np.float64), np.asarray(second, np.float64)
        if not (np.isfinite(result[0]).all() and np.isfinite(result[1]).all()):
            raise ValueError(f"{what} {given} cannot be seen from the datum {self.datum}")
        return result


def mercator_pixel(lat: ArrayLike, lon: ArrayLike, zoom: int) -> tuple[FloatArray, FloatArray]:
    """Convert degrees to global Web-Mercator pixel coordinates (px right, py down) at `zoom`.

    Continuous: tile x = floor(px / 256), and the centre of a pixel lies at its index + 0.5.
    Raises ValueError beyond the latitude where the tiles end.
    """
    lat, lon = np.asarray(lat, np.float64), np.asarray(lon, np.float64)
    if np.any(np.abs(lat) > MERCATOR_MAX_LATITUDE):
        raise ValueError(f"latitude {np.abs(lat).max()} lies beyond Web-Mercator's tiles")
    world = TILE_SIZE * 2.0**zoom
    px = (lon / 360.0 + 0.5) * world
    py = (0.5 - np.arctanh(np.sin(np.radians(lat))) / (2.0 * math.pi)) * world
    return cast(FloatArray, px), cast(FloatArray, py)


def mercator_latlon(px: ArrayLike, py: ArrayLike, zoom: int) -> tuple[FloatArray, FloatArray]:
    """Convert Web-Mercator pixels at `zoom` to latitude and longitude in degrees."""
    world = TILE_SIZE * 2.0**zoom
    lon = (np.asarray(px, np.float64) / world - 0.5) * 360.0
    lat = np.degrees(np.arcsin(np.tanh((0.5 - np.asarray(py, np.float64) / world) * 2.0 * math.pi)))
    return cast(FloatArray, lat), lon


def ground_sample_distance(lat: float, zoom: int) -> float:
    """Return metres of ground a Web-Mercator pixel spans at latitude `lat` (degrees).

    The geometric mean of its two sides: on the ellipsoid a pixel is taller (curvature M of the
    meridian) than wide (N of the prime vertical) by up to 0.7 %.
    """
    sin2 = math.sin(math.radians(lat)) ** 2
    w2 = 1.0 - _ECCENTRICITY_SQUARED * sin2
    north_radius = _SEMI_MAJOR_AXIS * (1.0 - _ECCENTRICITY_SQUARED) / w2**1.5
    east_radius = _SEMI_MAJOR_AXIS / math.sqrt(w2)
    radians_per_pixel = 2.0 * math.pi / (TILE_SIZE * 2.0**zoom)
    return math.sqrt(north_radius * east_radius) * math.cos(math.radians(lat)) * radians_per_pixel
