# SPDX-License-Identifier: Apache-2.0
"""The lifecycle node `localizer`: topics, transitions and a worker around LocalizerBridge."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import Odometry
from numpy.typing import NDArray
from rclpy.clock import Clock, ClockType, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.executors import ExternalShutdownException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSHistoryPolicy, QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, Imu, NavSatFix
from std_msgs.msg import Header

from g2s_localizer.estimator.localizer import Localizer
from g2s_localizer.ros import compat, conversions, drawing
from g2s_localizer.ros.bridge import LocalizerBridge, Outgoing
from g2s_localizer.ros.diagnostics import Diagnostics
from g2s_localizer.ros.extrinsics import TfExtrinsics
from g2s_localizer.ros.parameters import NodeConfig, Parameters
from g2s_localizer.ros.topics import image_topic
from g2s_localizer.ros.worker import NewestWorker

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE

IMAGE_QOS = QoSProfile(
    depth=1,
    history=QoSHistoryPolicy.KEEP_LAST,
    reliability=QoSReliabilityPolicy.BEST_EFFORT,
)
SENSOR_QOS = QoSProfile(depth=200, reliability=QoSReliabilityPolicy.BEST_EFFORT)
OUTPUT_QOS = QoSProfile(depth=10, reliability=QoSReliabilityPolicy.RELIABLE)

PAIRS_KEPT = 5
"""Images and CameraInfos that wait for their partner of the same stamp."""

LOG_PERIOD_S = 5.0


class LocalizerNode(LifecycleNode):
    """Sensors are heard from configure on, images from activate on.

    Callbacks only convert and store; a worker thread answers the newest image.
    """

    def __init__(self) -> None:
        super().__init__("localizer", automatically_declare_parameters_from_overrides=True)
        for missing in compat.MISSING.values():
            self.get_logger().info(missing)
        self._settings = Parameters(self)
        self.add_on_set_parameters_callback(
            lambda changed: self._settings.check(changed, configured=self._bridge is not None)
        )
        self._bridge: LocalizerBridge | None = None
        self._config: NodeConfig | None = None
        self._worker: NewestWorker[tuple[Image | CompressedImage, CameraInfo]] | None = None
        self._pairs: Any = None
        self._extrinsics: TfExtrinsics | None = None
        self._resets_seen = 0
        self._diagnostics = Diagnostics(f"{self.get_name()}: registration")
        self._diagnostics_publisher = self.create_publisher(
            DiagnosticArray, "/diagnostics", OUTPUT_QOS
        )
        # Steady, so that a node that waits for /clock still says how it is.
        self.create_timer(
            self._settings["diagnostics.period_s"],
            self._publish_diagnostics,
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )
        self._jump_handler = self.get_clock().create_jump_callback(
            JumpThreshold(
                min_forward=None, min_backward=Duration(seconds=-0.5), on_clock_change=False
            ),
            post_callback=self._on_backward_jump,
        )

    def autostart(self) -> None:
        """Configure and activate, unless the parameter says that somebody else does."""
        if self._settings["autostart"] and self.trigger_configure() == SUCCESS:
            self.trigger_activate()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            config = self._settings.read()
            localizer = Localizer.from_config(config.localizer)
            localizer.warm_up()
            coverage = localizer.coverage(config.area) if config.area else None
            if config.extrinsic_source == "tf":
                self._extrinsics = TfExtrinsics(self, self._settings["base_frame"])
            lookup = self._extrinsics.lookup if self._extrinsics else None
            self._bridge = LocalizerBridge(localizer, config.bridge, lookup)
        # Whatever the set-up raises, the process stays manageable and can be configured again.
        except Exception as error:
            self._release()
            self._diagnostics.fault = f"configure failed: {error or type(error).__name__}"
            self.get_logger().error(self._diagnostics.fault)
            return FAILURE
        self._config = config
        self._resets_seen = 0
        self._create_publishers()
        self._create_sensor_subscriptions(self._bridge, config)
        self._diagnostics.fault = ""
        self._diagnostics.coverage = coverage
        self._diagnostics.facts = self._facts(self._bridge, config)
        self._diagnostics.state = "inactive"
        self.get_logger().info(
            f"configured: {config.localizer.imagery}, checkpoint {localizer.checkpoint_id}"
        )
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        assert self._bridge is not None and self._config is not None
        result = super().on_activate(state)
        self._diagnostics.start(time.monotonic())
        self._worker = NewestWorker(
            partial(self._answer, self._bridge),
            is_ready=partial(_is_ready, self._bridge),
            max_wait_s=self._config.max_wait_s,
            on_replaced=self._diagnostics.record_replaced,
            on_error=self._report_failure,
            on_idle=self._bridge.encode_ahead,
        )
        self._create_image_subscriptions(self._config.image_transport, self._worker)
        self._diagnostics.state = "active"
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop_worker()
        self._diagnostics.state = "inactive"
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._release()
        return SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._release()
        self._diagnostics.state = "finalized"
        return SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._release()
        return SUCCESS

    def close(self) -> None:
        """End the worker's thread, also when the context is already shut down."""
        self._stop_worker()

    def _facts(self, bridge: LocalizerBridge, config: NodeConfig) -> dict[str, str]:
        east, north = bridge.map_offset_m
        return {
            "imagery": config.localizer.imagery,
            "attribution": bridge.attribution,
            "offset of the imagery (m)": f"{east:g} east, {north:g} north",
            "checkpoint": bridge.checkpoint_id,
        }

    def _create_publishers(self) -> None:
        # The message is generated by the build: imported here, the module loads without it.
        from g2s_localizer.msg import Registration

        create = self.create_lifecycle_publisher
        self._pose_publisher = create(PoseWithCovarianceStamped, "~/pose", OUTPUT_QOS)
        self._registration_publisher = create(Registration, "~/registration", OUTPUT_QOS)
        self._score_map_publisher = create(Image, "~/score_map", OUTPUT_QOS)
        self._overlay_publisher = create(Image, "~/overlay", OUTPUT_QOS)
        self._publishers_made = [
            self._pose_publisher,
            self._registration_publisher,
            self._score_map_publisher,
            self._overlay_publisher,
        ]

    def _create_sensor_subscriptions(self, bridge: LocalizerBridge, config: NodeConfig) -> None:
        if config.bridge.heading_source == "imu":
            heading = (Imu, "imu", bridge.on_imu)
        else:
            heading = (Odometry, "odometry", bridge.on_odometry)
        self._sensor_subscriptions = [
            self.create_subscription(kind, topic, partial(self._on_sensor, take), SENSOR_QOS)
            for kind, topic, take in ((NavSatFix, "fix", bridge.on_fix), heading)
        ]

    def _create_image_subscriptions(self, transport: str, worker: NewestWorker[Any]) -> None:
        kind = CompressedImage if transport == "compressed" else Image
        topic = image_topic(self, transport)
        info_qos = QoSProfile(depth=PAIRS_KEPT, reliability=QoSReliabilityPolicy.BEST_EFFORT)
        self._image_filters = [
            compat.message_filters.Subscriber(self, kind, topic, qos_profile=IMAGE_QOS),
            compat.message_filters.Subscriber(
                self, CameraInfo, "camera_info", qos_profile=info_qos
            ),
        ]
        self._pairs = compat.message_filters.TimeSynchronizer(self._image_filters, PAIRS_KEPT)
        self._pairs.registerCallback(lambda image, info: worker.submit((image, info)))

    def _on_sensor(self, take: Callable[[Any], None], msg: Any) -> None:
        take(msg)
        if self._bridge is not None and self._bridge.resets != self._resets_seen:
            self._after_backward_jump(self._bridge)
        if self._worker is not None:
            self._worker.wake()

    def _on_backward_jump(self, jump: TimeJump) -> None:
        if self._bridge is not None:
            self._bridge.reset()
            self._after_backward_jump(self._bridge)

    def _after_backward_jump(self, bridge: LocalizerBridge) -> None:
        self._resets_seen = bridge.resets
        self.get_logger().warning("time was set back: starting again with new fixes and headings")
        if self._pairs is not None:
            # A full queue of later stamps would throw out every new, earlier one.
            for queue in self._pairs.queues:
                queue.clear()

    def _answer(
        self, bridge: LocalizerBridge, pair: tuple[Image | CompressedImage, CameraInfo]
    ) -> None:
        """What the worker does with an image."""
        outgoing = bridge.on_image(*pair)
        if outgoing is None:
            return
        age_s = bridge.prior_age(outgoing.estimate.stamp_ns)
        self._diagnostics.record(outgoing.estimate, age_s, time.monotonic())
        if outgoing.pose is not None:
            self._pose_publisher.publish(outgoing.pose)
        self._registration_publisher.publish(outgoing.registration)
        self._publish_pictures(outgoing)

    def _publish_pictures(self, outgoing: Outgoing) -> None:
        estimate, header = outgoing.estimate, outgoing.registration.header
        if estimate.score_grid is not None and self._score_map_publisher.get_subscription_count():
            picture = drawing.draw_score_map(estimate.score_grid)
            self._publish_picture(self._score_map_publisher, picture, header, "mono8")
        if estimate.crop is not None and self._overlay_publisher.get_subscription_count():
            picture = drawing.draw_overlay(estimate, estimate.crop)
            self._publish_picture(self._overlay_publisher, picture, header, "rgb8")

    def _publish_picture(
        self, publisher: Any, picture: NDArray[np.uint8], header: Header, encoding: str
    ) -> None:
        publisher.publish(conversions.image_message(picture, header, encoding, picture.shape[1]))

    def _report_failure(self, error: Exception) -> None:
        # The context may be shut down under a worker that still publishes: that is no failure.
        if self.context.ok():
            self._diagnostics.record_failure(error)
            self.get_logger().error(f"an image was lost to {type(error).__name__}: {error}")

    def _publish_diagnostics(self) -> None:
        bridge = self._bridge
        status = self._diagnostics.status(
            time.monotonic(),
            bridge.received if bridge else {},
            bridge.dropped if bridge else {},
            bridge.drop_reason if bridge else {},
            bridge.frame if bridge else None,
            bridge.read_ahead if bridge else None,
        )
        array = DiagnosticArray(status=[status])
        array.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics_publisher.publish(array)
        if status.level in (DiagnosticStatus.WARN, DiagnosticStatus.ERROR):
            self.get_logger().warning(status.message, throttle_duration_sec=LOG_PERIOD_S)

    def _stop_worker(self) -> None:
        if self._worker is not None:
            for image_filter in self._image_filters:
                self.destroy_subscription(image_filter.sub)
            self._worker.stop()
            self._worker = self._pairs = None

    def _release(self) -> None:
        """Back to unconfigured."""
        self._stop_worker()
        if self._config is not None:
            for subscription in self._sensor_subscriptions:
                self.destroy_subscription(subscription)
            for publisher in self._publishers_made:
                self.destroy_lifecycle_publisher(publisher)
        if self._extrinsics is not None:
            self._extrinsics.close()
        self._bridge = self._config = self._extrinsics = None
        self._diagnostics.state = "unconfigured"


def _is_ready(bridge: LocalizerBridge, pair: tuple[Image | CompressedImage, CameraInfo]) -> bool:
    return bridge.is_ready(conversions.stamp_ns(pair[0].header))


def main() -> None:
    """Console script g2s-node and executable localizer_node: run until SIGINT or SIGTERM."""
    rclpy.init()
    node = None
    try:
        node = LocalizerNode()
        node.autostart()
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except Exception:
        # A signal ends the context under whatever is being sent; that complaint is no failure.
        if rclpy.ok():
            raise
    finally:
        if node is not None:
            node.close()
            node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
