# SPDX-License-Identifier: Apache-2.0
"""Puts a vehicle on the map by matching its camera image to satellite imagery.

The public names are imported when they are first used: importing the package needs neither ROS
nor PyTorch.
"""

from importlib import import_module
from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

# A source tree first on the path still finds the messages, which colcon generates elsewhere.
__path__ = extend_path(__path__, __name__)

__version__ = "0.1.0"

if TYPE_CHECKING:
    from g2s_localizer.estimator.config import LocalizerConfig as LocalizerConfig
    from g2s_localizer.estimator.estimate import Estimate as Estimate
    from g2s_localizer.estimator.estimate import Observation as Observation
    from g2s_localizer.estimator.estimate import Prior as Prior
    from g2s_localizer.estimator.estimate import Rejection as Rejection
    from g2s_localizer.estimator.gate import GateConfig as GateConfig
    from g2s_localizer.estimator.localizer import Localizer as Localizer
    from g2s_localizer.estimator.prior import PriorBuffer as PriorBuffer
    from g2s_localizer.geometry import Camera as Camera
    from g2s_localizer.geometry import LatLon as LatLon
    from g2s_localizer.geometry import LocalFrame as LocalFrame
    from g2s_localizer.geometry import Pose2D as Pose2D
    from g2s_localizer.imagery.crop import SatelliteCrop as SatelliteCrop
    from g2s_localizer.imagery.open import open_imagery as open_imagery
    from g2s_localizer.imagery.source import MissingImagery as MissingImagery
    from g2s_localizer.kitti import KittiDrive as KittiDrive

_HOME = {
    "Camera": "geometry",
    "Estimate": "estimator.estimate",
    "GateConfig": "estimator.gate",
    "KittiDrive": "kitti",
    "LatLon": "geometry",
    "LocalFrame": "geometry",
    "Localizer": "estimator.localizer",
    "LocalizerConfig": "estimator.config",
    "MissingImagery": "imagery.source",
    "Observation": "estimator.estimate",
    "Pose2D": "geometry",
    "Prior": "estimator.estimate",
    "PriorBuffer": "estimator.prior",
    "Rejection": "estimator.estimate",
    "SatelliteCrop": "imagery.crop",
    "open_imagery": "imagery.open",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
