# SPDX-License-Identifier: Apache-2.0
"""Satellite imagery, offline by construction: NumPy and OpenCV; no torch, no ROS."""

from g2s_localizer.imagery.crop import SatelliteCrop
from g2s_localizer.imagery.open import open_imagery
from g2s_localizer.imagery.source import Imagery, MissingImagery

__all__ = ["Imagery", "MissingImagery", "SatelliteCrop", "open_imagery"]
