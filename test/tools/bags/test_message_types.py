# SPDX-License-Identifier: Apache-2.0
import pytest
from rosbags.typesys import Stores, get_typestore

from g2s_localizer.tools.bags.message_types import message_class, register_type


@pytest.mark.parametrize("msgtype", ["no_such_msgs/msg/Thing", "std_msgs/msg/NoSuchName"])
def test_a_type_that_is_not_installed_is_named(msgtype):
    with pytest.raises(ImportError, match=f"{msgtype} is not installed here"):
        message_class(msgtype)


def test_a_generated_type_is_registered_with_what_it_is_made_of():
    messages = pytest.importorskip("g2s_localizer.msg", reason="messages are not built")
    typestore = get_typestore(Stores.EMPTY)
    register_type(typestore, "g2s_localizer/msg/Registration")
    names = {name for name, _ in typestore.fielddefs["g2s_localizer/msg/Registration"][1]}
    assert names == set(messages.Registration.get_fields_and_field_types())
    assert "geometry_msgs/msg/PoseWithCovariance" in typestore.fielddefs


def test_a_known_type_needs_no_installation():
    register_type(get_typestore(Stores.ROS2_JAZZY), "tf2_msgs/msg/TFMessage")
