# SPDX-License-Identifier: Apache-2.0
"""From WGS 84 degrees to the coordinates of a raster, whatever its coordinate system."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.aoi import AreaOfInterest
from pyproj.exceptions import CRSError, ProjError
from pyproj.network import set_network_enabled  # type: ignore[attr-defined]
from pyproj.transformer import TransformerGroup

from g2s_localizer.geometry.geodesy import wrap_longitude
from g2s_localizer.imagery.resample import wrapped

FloatArray = NDArray[np.float64]

_EARTH_RADIUS = 6378137.0
_WGS84 = 4326

SAME_M = 1.0
"""Up to this stated accuracy (m) a system counts as WGS 84, as those of Europe's plate do."""


class Coordinates:
    """One coordinate operation, chosen for the middle of a raster and kept for all of it.

    wkt     the raster's coordinate system, in well-known text
    middle  a place in it (easting or longitude, northing or latitude)
    name    of the raster, for messages

    `accuracy_m` is what PROJ states for the operation where it lacks the grid for a better one, and
    where that is more than SAME_M; None otherwise. PROJ's own network access is
    switched off for the whole process: grids are those installed here.
    Raises ValueError naming the raster for a system that nothing ties to WGS 84.
    """

    def __init__(self, wkt: str, middle: tuple[float, float], name: str) -> None:
        set_network_enabled(active=False)
        try:
            system = _horizontal(CRS.from_wkt(wkt))
            rough = Transformer.from_crs(system, _WGS84, always_xy=True)
            lon, lat = rough.transform(*middle)
            if not (math.isfinite(lon) and math.isfinite(lat)):
                raise ValueError(f"{name}: {middle} is no place in {system.name}")
            west, east = wrap_longitude(lon - 0.01), wrap_longitude(lon + 0.01)
            here: Any = AreaOfInterest(west, lat - 0.01, east, lat + 0.01)
            with warnings.catch_warnings():
                # That the best operation needs a grid is told by accuracy_m.
                warnings.simplefilter("ignore", UserWarning)
                group = TransformerGroup(_WGS84, system, always_xy=True, area_of_interest=here)
        except (CRSError, ProjError) as error:
            raise ValueError(f"{name}: its coordinate system is not usable: {error}") from error
        self._transformer = group.transformers[0]
        ellipsoid = system.ellipsoid
        if self._transformer.accuracy < 0 and (
            ellipsoid is None or abs(ellipsoid.semi_major_metre - _EARTH_RADIUS) > 1.0
        ):
            raise ValueError(
                f"{name}: nothing ties its coordinate system, {system.name}, to WGS 84"
            )
        stated = float(self._transformer.accuracy)
        self.accuracy_m = None if group.best_available and stated <= SAME_M else stated
        self._middle, self._period = middle[0], _period(system)

    def from_latlon(self, lat: FloatArray, lon: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Convert degrees to easting or longitude, northing or latitude; inf without one."""
        east, north = self._transformer.transform(lon, lat)
        if self._period is not None:
            east = wrapped(east, self._middle, self._period)
        return np.asarray(east, np.float64), np.asarray(north, np.float64)

    def to_latlon(self, east: FloatArray, north: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Convert easting or longitude, northing or latitude to degrees."""
        lon, lat = self._transformer.transform(east, north, direction="INVERSE")
        return np.asarray(lat, np.float64), np.asarray(lon, np.float64)


def _horizontal(system: CRS) -> CRS:
    """Return the part that is a map: heights play no role."""
    if system.is_compound:
        system = system.sub_crs_list[0]
    if not (system.is_projected or system.is_geographic):
        raise CRSError(f"{system.name} is neither projected nor geographic")
    return system


def _period(system: CRS) -> float | None:
    """Return the first coordinate's increase in a turn around the Earth, None where it has none."""
    operation = system.coordinate_operation
    method = operation.method_name if operation is not None else ""
    if system.is_geographic:
        turn = 2.0 * math.pi
    elif "Mercator" in method and "Transverse" not in method and "Oblique" not in method:
        turn = 2.0 * math.pi * _EARTH_RADIUS
    else:
        return None
    return turn / float(system.axis_info[0].unit_conversion_factor)
