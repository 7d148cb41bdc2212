# SPDX-License-Identifier: Apache-2.0
import math
from types import SimpleNamespace

import numpy as np
import pytest
from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3

from g2s_localizer.tools.check_transforms import StaticTransforms


def link(parent, child, x=0.0, z=0.0, yaw=0.0):
    turned = Quaternion(z=math.sin(yaw / 2), w=math.cos(yaw / 2))
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    message.transform = Transform(translation=Vector3(x=x, z=z), rotation=turned)
    return message


def tree(*links):
    transforms = StaticTransforms()
    transforms.add(SimpleNamespace(transforms=list(links)))
    return transforms


def test_links_are_chained_in_either_direction():
    transforms = tree(
        link("base_footprint", "base_link", z=0.3),
        link("base_link", "roof", x=1.0, z=1.2, yaw=math.pi / 2),
        link("roof", "camera", x=0.5),
    )
    from_base = transforms.lookup("base_link", "camera")
    np.testing.assert_allclose(from_base[:3, 3], [1.0, 0.5, 1.2], atol=1e-12)
    from_ground = transforms.lookup("base_footprint", "camera")
    np.testing.assert_allclose(from_ground[:3, 3], [1.0, 0.5, 1.5], atol=1e-12)


def test_frames_that_are_not_joined_are_named():
    with pytest.raises(ValueError, match="no transform base <- camera.*its frames: camera"):
        tree(link("roof", "camera")).lookup("base", "camera")


def test_a_loop_of_frames_ends():
    loop = tree(link("a", "b"), link("b", "a"))
    with pytest.raises(ValueError, match="no transform base <- a"):
        loop.lookup("base", "a")
