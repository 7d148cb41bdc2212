# SPDX-License-Identifier: Apache-2.0
"""Satellite crops as training takes them: from any process, north-up or turned."""

from __future__ import annotations

import math
import os
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from g2s_localizer.geometry import LatLon
from g2s_localizer.geometry.pose import rotation
from g2s_localizer.imagery import Imagery, open_imagery

_FINER = 2
"""A turned crop is cut from one of pixels so many times smaller, which loses nothing, and
averages them down in its one lossy resampling."""


class ProcessImagery:
    """The imagery of a URI, opened anew in each process: workers share no file handle.

    Raises what `open_imagery` raises, at once.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._process, self._opened = os.getpid(), open_imagery(uri)

    def __getattr__(self, name: str) -> Any:
        """Everything else that Imagery has."""
        if name.startswith("_"):
            raise AttributeError(name)
        if self._process != os.getpid():
            self._process, self._opened = os.getpid(), open_imagery(self.uri)
        return getattr(self._opened, name)

    def __reduce__(self) -> tuple[type[ProcessImagery], tuple[str]]:
        return ProcessImagery, (self.uri,)


def crop_pixels(
    imagery: Imagery, centre: LatLon, size_m: float, gsd: float, yaw: float = 0.0
) -> NDArray[np.uint8]:
    """(S, S, 3) RGB around `centre`, S = round(size_m / gsd), its u axis along `yaw` (rad).

    Raises MissingImagery where the imagery does not cover it.
    """
    if yaw == 0.0:
        return imagery.crop(centre, size_m, gsd).image
    pixels = round(size_m / gsd)
    fine = gsd / _FINER
    spanned = abs(math.cos(yaw)) + abs(math.sin(yaw))
    north_up = imagery.crop(centre, (spanned * pixels + 2) * gsd, fine)
    along = (np.arange(pixels * _FINER) - (pixels * _FINER - 1) / 2.0) * fine
    right, up = np.meshgrid(along, -along)
    xy = np.stack([right.ravel(), up.ravel()], axis=1) @ rotation(yaw).T
    uv = north_up.uv_from_xy(xy).astype(np.float32).reshape(*right.shape, 2)
    turned = cv2.remap(
        north_up.image,
        uv,
        None,  # type: ignore[call-overload]  # no second map: the first has two channels
        cv2.INTER_LINEAR,
    )
    return np.asarray(
        cv2.resize(turned, (pixels, pixels), interpolation=cv2.INTER_AREA), dtype=np.uint8
    )
