# SPDX-License-Identifier: Apache-2.0
"""The real node in a process of its own, over DDS on loopback."""

import gc
import math
import signal
import sys
import weakref
from functools import partial

import cv2
import numpy as np
import pytest
import rclpy
import yaml
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.lifecycle import TransitionCallbackReturn
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Imu, NavSatFix

from g2s_localizer.ros.node import LocalizerNode

pytestmark = pytest.mark.ros


def start(start_node, peer, wait, store, **changes):
    node = start_node(store | changes)
    wait(lambda: peer.diagnostics, 60)
    wait(lambda: peer.diagnosis()["state"] == "active")
    peer.wait_connected()
    return node


def ask(peer, sensors, t):
    """A second of driving around an image at t, and the image."""
    peer.publish(*sensors.drive(t - 0.5, t + 0.5))
    peer.publish(sensors.camera_info(t), sensors.image(t))


def test_one_image_gets_exactly_one_registration_with_its_stamp(
    start_node, peer, wait, store, sensors
):
    node = start(start_node, peer, wait, store)
    names = ("overlay", "score_map", "camera_overlay")
    overlay, score_map, camera_overlay = (peer.watch(name) for name in names)
    wait(lambda: all(peer.node.count_subscribers(f"/localizer/{name}") for name in names))
    ask(peer, sensors, 100.25)
    wait(lambda: peer.registrations and overlay and score_map and camera_overlay)
    peer_settles(peer, wait)
    (registration,), (pose,) = peer.registrations, peer.poses
    assert registration.header == pose.header == overlay[0].header
    assert (pose.header.stamp.sec, pose.header.stamp.nanosec) == (100, 250_000_000)
    assert registration.prior.pose.position.x == pytest.approx(2.5, abs=1e-3)
    assert registration.latency_from_arrival > registration.latency > 0.0
    assert registration.latency_from_stamp > registration.latency_from_arrival
    assert (overlay[0].encoding, score_map[0].encoding) == ("rgb8", "mono8")
    assert camera_overlay[0].header == sensors.image(100.25).header
    assert camera_overlay[0].encoding == "rgb8"
    assert node.stop() == 0


def peer_settles(peer, wait):
    """Two more diagnostics: whatever was under way has arrived."""
    seen = len(peer.diagnostics)
    wait(lambda: len(peer.diagnostics) > seen + 2)


def test_bad_messages_are_counted_by_name_and_the_next_good_image_is_answered(
    start_node, peer, wait, store, sensors
):
    start(start_node, peer, wait, store)
    peer.publish(sensors.camera_info(5.0), sensors.image(5.0))
    wait(lambda: [r.rejection for r in peer.registrations] == [1])
    nan_fix, depth, no_camera = sensors.fix(9.0), sensors.image(10.1), sensors.camera_info(10.2)
    nan_fix.latitude, depth.encoding, no_camera.k = math.nan, "32FC1", [0.0] * 9
    peer.publish(nan_fix, *sensors.drive(9.5, 10.5), sensors.camera_info(10.1), depth)
    wait(lambda: "dropped image" in peer.diagnosis())
    peer.publish(no_camera, sensors.image(10.2))
    wait(lambda: len(peer.registrations) == 2)
    peer.publish(sensors.camera_info(10.0), sensors.image(10.0))
    wait(lambda: len(peer.poses) == 1)
    wait(lambda: peer.diagnosis()["accepted"] == "1")
    values = peer.diagnosis()
    assert values["dropped fix"] == "1 (last: NavSatFix: LatLon must be finite, got (nan, 8.42))"
    assert values["dropped image"].startswith("1 (last: image encoding '32FC1'")
    assert "fx 0.0" in values["dropped camera_info"]
    assert values["rejected NO_PRIOR"] == values["rejected NO_CAMERA"] == "1"


def test_the_lifecycle_goes_round_its_states_alone_and_the_second_life_answers(
    start_node, peer, wait, store, sensors
):
    node = start_node(store | {"autostart": False})
    assert not peer.change_state(Transition.TRANSITION_ACTIVATE)
    assert peer.state() == "unconfigured"
    for _ in range(2):
        assert peer.change_state(Transition.TRANSITION_CONFIGURE)
        assert peer.change_state(Transition.TRANSITION_ACTIVATE)
        peer.wait_connected()
        peer.registrations.clear()
        ask(peer, sensors, 100.0)
        wait(lambda: peer.registrations)
        assert peer.change_state(Transition.TRANSITION_DEACTIVATE)
        assert peer.change_state(Transition.TRANSITION_CLEANUP)
    assert peer.state() == "unconfigured"
    assert node.stop(signal.SIGTERM) == 0


def set_text(peer, name, value):
    text = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=value)
    request = SetParameters.Request(parameters=[Parameter(name=name, value=text)])
    assert peer.call(SetParameters, "set_parameters", request).results[0].successful


def test_a_broken_set_up_fails_configure_by_name_and_can_be_mended(start_node, peer, wait, store):
    node = start_node(store | {"checkpoint": "absent.safetensors"})
    wait(lambda: "configure failed: absent" in node.output.read_text(), 60)
    set_text(peer, "checkpoint", store["checkpoint"])
    for name, value, said, good in (
        ("imagery.uri", "slippy:nowhere", "nowhere", store["imagery.uri"]),
        ("imagery.uri", "https://tiles", 'got "https://tiles"', store["imagery.uri"]),
        ("device", "tpu9", "tpu9", "cpu"),
        ("camera.extrinsic_source", "tf", "tf2_ros is not installed", "parameters"),
    ):
        set_text(peer, name, value)
        assert not peer.change_state(Transition.TRANSITION_CONFIGURE)
        assert said in node.output.read_text() and peer.state() == "unconfigured"
        peer.diagnostics.clear()
        wait(lambda: peer.diagnostics)
        assert peer.diagnosis()["message"].startswith("configure failed: ")
        set_text(peer, name, good)
    assert peer.change_state(Transition.TRANSITION_CONFIGURE)
    assert node.stop() == 0


TOO_LONG = "/" + "a" * 300
"""A name that ROS takes as a remap and refuses as a topic."""


def wait_for_fault(peer, wait, said):
    """The newest diagnosis is an error that says so."""
    peer.diagnostics.clear()
    wait(lambda: peer.diagnostics and said in peer.diagnosis()["message"], 60)
    assert peer.diagnosis()["level"] == str(DiagnosticStatus.ERROR[0])


@pytest.mark.parametrize("topic", ["fix", "~/pose", "~/overlay"])
def test_a_topic_that_cannot_be_fails_configure_and_leaves_the_node_unconfigured(
    start_node, peer, wait, store, topic
):
    node = start_node(store, f"{topic}:={TOO_LONG}")
    wait_for_fault(peer, wait, "configure failed: failed to resolve name: topic length")
    assert "configure failed: failed to resolve name" in node.output.read_text()
    assert not peer.change_state(Transition.TRANSITION_CONFIGURE)
    assert peer.state() == "unconfigured"
    assert node.stop() == 0


def test_a_topic_that_cannot_be_fails_activate_and_leaves_the_node_inactive(
    start_node, peer, wait, store
):
    node = start_node(store, f"image:={TOO_LONG}")
    wait_for_fault(peer, wait, "activate failed: failed to resolve name: topic length")
    assert "activate failed: failed to resolve name" in node.output.read_text()
    assert not peer.change_state(Transition.TRANSITION_ACTIVATE)
    assert peer.state() == "inactive"
    assert peer.change_state(Transition.TRANSITION_CLEANUP)
    assert peer.change_state(Transition.TRANSITION_CONFIGURE)


def test_an_unknown_name_in_the_yaml_fails_configure(start_node, peer, wait, store):
    node = start_node(store | {"gate.max_entropi": 0.5})
    wait(lambda: "gate.max_entropi = 0.5" in node.output.read_text(), 60)
    assert peer.state() == "unconfigured"


def test_sensors_may_be_slower_than_images_and_time_may_start_again(
    start_node, peer, wait, store, sensors
):
    start(start_node, peer, wait, store, **{"prior.max_wait_s": 0.01})
    for _ in range(3):
        peer.publish(*sensors.drive(49.5, 50.5))
        peer_settles(peer, wait)
        peer.publish(sensors.camera_info(50.0), sensors.image(50.0))
        wait(lambda: peer.poses)
        # Infos without their image, as images are lost, fill the queue that pairs them.
        for i in range(10):
            peer.publish(*sensors.drive(90.0 + i, 90.5 + i), sensors.camera_info(90.0 + i))
        peer_settles(peer, wait)
        assert len(peer.registrations) == len(peer.poses) == 1
        peer.registrations.clear()
        peer.poses.clear()


def test_two_receivers_of_two_clocks_are_named_in_log_and_diagnostics_and_give_no_pose(
    start_node, peer, wait, store, sensors
):
    node = start(start_node, peer, wait, store)
    for i in range(12):
        for frame, t in (("gps_roof", 100.0 + 0.1 * i), ("gps_hood", 95.0 + 0.1 * i)):
            fix = sensors.fix(t)
            fix.header.frame_id = frame
            peer.publish(fix, sensors.imu(100.0 + 0.1 * i + (0.05 if frame == "gps_hood" else 0.0)))
    wait(
        lambda: "different clocks? frame_id: 'gps_hood', 'gps_roof'" in peer.diagnosis()["message"]
    )
    peer.publish(sensors.camera_info(101.0), sensors.image(101.0))
    wait(lambda: [r.rejection for r in peer.registrations] == [1])
    wait(lambda: "'gps_roof'; published by /peer" in node.output.read_text())
    assert "different clocks?" in peer.registrations[0].rejection_reason


def test_with_simulated_time_the_node_answers_and_starts_again_with_the_clock(
    start_node, peer, wait, store, sensors
):
    node = start(start_node, peer, wait, store, use_sim_time=True)
    clock = peer.node.create_publisher(Clock, "/clock", 10)
    wait(clock.get_subscription_count)
    for t in (100.0, 20.0):
        clock.publish(Clock(clock=sensors.fix(t).header.stamp))
        wait(lambda: peer.diagnostics[-1].header.stamp == sensors.fix(t).header.stamp)  # noqa: B023
        ask(peer, sensors, t)
        wait(lambda: peer.poses and peer.poses[-1].header.stamp.sec == t)  # noqa: B023
    assert "time was set back" in node.output.read_text()
    assert node.stop() == 0


def test_imagery_that_does_not_cover_the_planned_area_warns_and_hinders_nothing(
    start_node, peer, wait, store, sensors
):
    place = sensors.place
    area = [place.lon - 0.002, place.lat - 0.0005, place.lon, place.lat + 0.0005]
    start(start_node, peer, wait, store, **{"imagery.area": area})
    ask(peer, sensors, 100.0)
    wait(lambda: peer.poses)
    wait(lambda: peer.diagnosis()["message"].startswith("the imagery covers "))
    values = peer.diagnosis()
    assert values["level"] == str(DiagnosticStatus.WARN[0])
    assert "missing at 49.0" in values["coverage of the planned area"]


def test_a_node_without_images_says_why_in_the_log_and_where_map_begins(
    start_node, peer, wait, store, sensors
):
    node = start(start_node, peer, wait, store)
    peer.publish(sensors.image(7.0), sensors.camera_info(6.9))
    wait(lambda: "no image answered for " in node.output.read_text())
    log = node.output.read_text()
    assert "no two of them with one stamp" in log and "0.100 s after the newest CameraInfo" in log
    assert "datum, the origin of map: 49.01000000, 8.42000000" in log
    values = peer.diagnosis()
    assert (values["received image"], values["received camera_info"]) == ("1", "1")
    assert values["images with their camera_info"] == "0"


def test_two_nodes_in_two_namespaces_have_two_names(start_node, peer, wait, store):
    for name in ("front", "rear"):
        start_node(store | {"autostart": False}, f"__ns:=/{name}")
    full = {f"/{name}/localizer: registration" for name in ("front", "rear")}
    wait(lambda: {array.status[0].name for array in peer.diagnostics} == full, 60)


def test_compressed_images_of_a_remapped_topic_are_answered_and_damaged_ones_named(
    start_node, peer, wait, store, sensors
):
    start_node(store | {"image.transport": "compressed"}, "image:=/front/image_raw")
    publisher = peer.node.create_publisher(CompressedImage, "/front/image_raw/compressed", 5)
    others = [peer.publishers[kind] for kind in (NavSatFix, Imu, CameraInfo)]
    wait(lambda: all(p.get_subscription_count() for p in (publisher, *others)), 60)
    wait(lambda: peer.node.count_publishers("/localizer/registration"))
    wait(lambda: peer.diagnostics)
    pixels = np.frombuffer(sensors.image(0.0).data, np.uint8).reshape(96, 128, 3)
    whole = cv2.imencode(".jpg", pixels)[1].tobytes()
    peer.publish(*sensors.drive(9.5, 10.5))
    for t, data in ((10.0, whole[:6000] + whole[7000:]), (10.1, whole)):
        info = sensors.camera_info(t)
        peer.publish(info)
        publisher.publish(CompressedImage(header=info.header, format="jpeg", data=data))
        wait(lambda: peer.registrations or "dropped image" in peer.diagnosis())
    wait(lambda: [r.header.stamp.nanosec for r in peer.registrations] == [100_000_000])
    assert "damaged, bytes are missing" in peer.diagnosis()["dropped image"]


@pytest.fixture
def node_here(store, tmp_path):
    """A node in this process, with nobody to spin it."""
    file = tmp_path / "parameters.yaml"
    given = store | {"autostart": False, "camera.translation": [1.0, 0.0, 1.5]}
    file.write_text(yaml.safe_dump({"/**": {"ros__parameters": given}}))
    rclpy.init(args=["--ros-args", "--params-file", str(file)])
    node = LocalizerNode()
    yield node
    node.close()
    node.destroy_node()
    rclpy.try_shutdown()


def test_without_the_generated_message_configure_fails_and_says_how_to_make_it(
    node_here, peer, wait, monkeypatch, capfd
):
    monkeypatch.setitem(sys.modules, "g2s_localizer.msg", None)
    assert node_here.trigger_configure() == TransitionCallbackReturn.FAILURE
    said = "configure failed: g2s_localizer/Registration is not generated"
    assert said in "".join(capfd.readouterr())
    spin = partial(rclpy.spin_once, node_here, timeout_sec=0.1)
    wait(lambda: spin() or (peer.diagnostics and said in peer.diagnosis()["message"]), 20)
    found = peer.diagnosis()
    assert (found["level"], found["state"]) == (str(DiagnosticStatus.ERROR[0]), "unconfigured")


def test_what_a_configured_node_held_is_free_after_cleanup(node_here, registration_type):
    node_here.trigger_configure()
    node_here.trigger_activate()
    held = weakref.ref(node_here._bridge), weakref.ref(node_here._bridge._localizer)
    gc.disable()  # a cycle would wait for the collector
    try:
        node_here.trigger_deactivate()
        node_here.trigger_cleanup()
        assert [reference() for reference in held] == [None, None]
    finally:
        gc.enable()
