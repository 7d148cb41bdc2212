# SPDX-License-Identifier: Apache-2.0
"""Poses, cameras and the Earth: NumPy only; no torch, no files, no ROS."""

from g2s_localizer.geometry.camera import Camera
from g2s_localizer.geometry.geodesy import LatLon, LocalFrame
from g2s_localizer.geometry.panorama import Panorama
from g2s_localizer.geometry.pose import Pose2D

__all__ = ["Camera", "LatLon", "LocalFrame", "Panorama", "Pose2D"]
