# SPDX-License-Identifier: Apache-2.0
"""The camera's place on the vehicle, as the static transforms of a recording have it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from g2s_localizer.ros.conversions import matrix_from_transform

FloatArray = NDArray[np.float64]

MAX_LINKS = 50
"""From the camera to base_link; more are a loop."""


class StaticTransforms:
    """A tree of frames, child by child."""

    def __init__(self) -> None:
        self._parents: dict[str, tuple[str, FloatArray]] = {}

    def add(self, message: Any) -> None:
        """Take a tf2_msgs/TFMessage. Raises ValueError for a rotation that is none."""
        for one in message.transforms:
            T = matrix_from_transform(one.transform)
            self._parents[one.child_frame_id] = one.header.frame_id, T

    def lookup(self, base: str, camera: str) -> FloatArray:
        """Return T_base_camera (4, 4). Raises ValueError naming the frames that are not joined."""
        (above_camera, T_camera), (above_base, T_base) = self._up(camera), self._up(base)
        if above_camera != above_base:
            known = ", ".join(sorted(self._parents)) or "none"
            raise ValueError(
                f"no transform {base} <- {camera} on /tf_static; its frames: {known}. Is the "
                "robot_state_publisher recorded, and are base_frame and the frame_id of "
                "CameraInfo spelled so?"
            )
        T: FloatArray = np.linalg.inv(T_base) @ T_camera
        return T

    def _up(self, frame: str) -> tuple[str, FloatArray]:
        """Return the root above a frame, and the frame's pose in it."""
        T = np.eye(4)
        for _ in range(MAX_LINKS):
            if frame not in self._parents:
                break
            frame, T_parent = self._parents[frame]
            T = T_parent @ T
        return frame, T
