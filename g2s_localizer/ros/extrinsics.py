# SPDX-License-Identifier: Apache-2.0
"""Camera extrinsics from TF, where tf2_ros is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.time import Time

from g2s_localizer.ros import compat, conversions


class TfExtrinsics:
    """Listens to /tf and /tf_static. Raises ValueError where tf2_ros is not installed."""

    def __init__(self, node: Node, base_frame: str) -> None:
        if compat.tf2_ros is None:
            raise ValueError(
                "camera.extrinsic_source is tf, but tf2_ros is not installed: "
                "use parameters, or install it"
            )
        self._base_frame = base_frame
        self._buffer: Any = compat.tf2_ros.Buffer()
        self._listener: Any = compat.tf2_ros.TransformListener(self._buffer, node)

    def lookup(self, camera_frame: str) -> NDArray[np.float64]:
        """Return T_base_camera (4, 4) of the optical frame; ValueError naming the frames."""
        try:
            transform = self._buffer.lookup_transform(self._base_frame, camera_frame, Time())
        except compat.tf2_ros.TransformException as error:
            raise ValueError(
                f"no transform {self._base_frame} <- {camera_frame}: {error}"
            ) from None
        return conversions.matrix_from_transform(transform.transform)

    def close(self) -> None:
        self._listener.unregister()
