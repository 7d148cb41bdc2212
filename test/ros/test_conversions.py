# SPDX-License-Identifier: Apache-2.0
import math
from types import SimpleNamespace

import numpy as np
import pytest
from geometry_msgs.msg import Quaternion, Transform, Vector3
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from g2s_localizer.estimator.estimate import Estimate, Prior, Rejection
from g2s_localizer.geometry import Camera, LatLon, LocalFrame, Pose2D
from g2s_localizer.geometry.mounting import extrinsic_from_parameters
from g2s_localizer.ros import conversions as c

PIXELS = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
T = extrinsic_from_parameters((1.0, 0.0, 1.5), (0.0, 0.0, 0.0))
PRIOR = Prior(7, Pose2D(3, 4, 1.0), np.diag([4.0, 9.0, 0.01]), LocalFrame(LatLon(49.0, 8.4)))
COVARIANCE = np.array([[2.0, 0.5, 0.01], [0.5, 1.0, 0.02], [0.01, 0.02, 0.03]])


def test_a_transform_message_and_the_parameters_mean_the_same_extrinsic():
    rotation = Quaternion(x=-0.5, y=0.5, z=-0.5, w=0.5)
    message = Transform(translation=Vector3(x=1.0, z=1.5), rotation=rotation)
    np.testing.assert_allclose(c.matrix_from_transform(message), T, atol=1e-12)


def test_a_pose_message_never_says_zero_of_what_it_does_not_know():
    message = c.pose_message(Pose2D(1, 2, 0.5), COVARIANCE)
    full = np.reshape(message.covariance, (6, 6))
    np.testing.assert_array_equal(full[np.ix_([0, 1, 5], [0, 1, 5])], COVARIANCE)
    assert [full[i, i] for i in (2, 3, 4)] == [1e6] * 3
    assert 2 * math.atan2(message.pose.orientation.z, message.pose.orientation.w) == pytest.approx(
        0.5
    )


def test_the_stamp_is_kept_to_the_nanosecond():
    stamp = 1_317_046_245_123_456_789
    assert c.stamp_ns(SimpleNamespace(stamp=c.time_message(stamp))) == stamp


def test_a_pose_is_published_in_map_at_the_images_stamp():
    message = c.pose_stamped_message(Estimate(7, PRIOR, PRIOR.pose, COVARIANCE), "map")
    assert (message.header.frame_id, c.stamp_ns(message.header)) == ("map", 7)


def test_a_rejected_estimate_is_never_made_a_pose():
    estimate = Estimate(7, PRIOR, PRIOR.pose, COVARIANCE, Rejection.WIDE_ELLIPSE)
    with pytest.raises(ValueError, match="error ellipse is too long"):
        c.pose_stamped_message(estimate, "map")


def registration(estimate, camera=None):
    return c.registration_message(
        estimate, camera, PRIOR.frame, image_size=(128, 96), frame_id="map",
        map_offset_m=(1.5, -0.7), attribution="city", checkpoint="net@1",
    )  # fmt: skip


def test_a_registration_says_all_of_an_estimate(registration_type):
    K = np.array([[80.0, 0.0, 63.5], [0.0, 81.0, 30.0], [0.0, 0.0, 1.0]])
    camera = Camera(K, 128, 96, np.zeros(5), T)
    estimate = Estimate(7, PRIOR, Pose2D(5, 6, 1), COVARIANCE, innovation=1.5, latency_s=0.2)
    message = registration(estimate, camera)
    assert (message.accepted, message.rejection, message.rejection_reason) == (True, 0, "")
    assert (message.datum_latitude, message.datum_longitude) == (49.0, 8.4)
    assert (message.image_width, message.image_height) == (128, 96)
    np.testing.assert_array_equal(message.camera_matrix, K.ravel())
    assert message.has_prior and message.prior.pose.position.y == 4.0
    assert message.has_pose and message.pose.pose.position.x == 5.0
    assert message.innovation == 1.5 and math.isnan(message.entropy)
    assert (message.map_offset_east, message.map_offset_north) == (1.5, -0.7)
    assert (message.attribution, message.checkpoint) == ("city", "net@1")


@pytest.mark.parametrize("rejection", list(Rejection))
def test_every_rejection_has_its_constant(registration_type, rejection):
    message = registration(Estimate(7, rejection=rejection, detail="seen 3, limit 2"))
    assert message.rejection == getattr(registration_type, rejection.name)
    assert message.rejection_reason == f"{rejection.value} (seen 3, limit 2)"
    assert not (message.accepted or message.has_pose or message.has_prior)


def test_image_messages_are_filled_without_a_copy_per_value():
    message = c.image_message(PIXELS, Header(frame_id="map"), "rgb8", 3)
    assert isinstance(message, Image) and message.step == 9
    assert bytes(message.data) == PIXELS.tobytes()
