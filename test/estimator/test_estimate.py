# SPDX-License-Identifier: Apache-2.0
import re
from pathlib import Path

import numpy as np
import pytest

from g2s_localizer.estimator.estimate import Estimate, Observation, Prior, Rejection
from g2s_localizer.geometry import Camera, LatLon, LocalFrame, Pose2D

PRIOR = Prior(5, Pose2D(1, 2, 0), np.eye(3), LocalFrame(LatLon(49.0, 8.4)))


def test_the_constants_of_the_message_are_the_rejections_in_order():
    text = (Path(__file__).parents[2] / "msg" / "Registration.msg").read_text()
    constants = re.findall(r"^uint8 (\w+)=(\d+)$", text, flags=re.MULTILINE)
    names = ["NONE", *(member.name for member in Rejection)]
    assert constants == [(name, str(i)) for i, name in enumerate(names)]


def test_every_rejection_is_a_sentence_of_its_own():
    sentences = [member.value for member in Rejection]
    assert len(set(sentences)) == len(Rejection.__members__)


def test_an_estimate_without_a_pose_cannot_be_accepted():
    with pytest.raises(ValueError, match="accepted Estimate needs a pose"):
        Estimate(5, PRIOR)


def test_a_rejected_estimate_may_keep_its_pose_and_says_why():
    estimate = Estimate(5, PRIOR, PRIOR.pose, np.eye(3), Rejection.WIDE_ELLIPSE, "sigma 3 m")
    assert not estimate.accepted
    assert estimate.reason == f"{Rejection.WIDE_ELLIPSE.value} (sigma 3 m)"


@pytest.mark.parametrize("image", [np.zeros((4, 6), np.uint8), np.zeros((4, 6, 3), np.float32)])
def test_an_image_that_its_camera_did_not_take_is_refused(image):
    camera = Camera([[5, 0, 3], [0, 5, 2], [0, 0, 1]], 6, 4, np.zeros(5), np.eye(4))
    with pytest.raises(ValueError, match=r"\(4, 6, 3\)"):
        Observation(5, image, camera, PRIOR)
