# SPDX-License-Identifier: Apache-2.0
"""The lifecycle node `localizer`: topics, transitions and a worker around LocalizerBridge."""

from __future__ import annotations

if __name__ == "__main__":
    # Before the imports below, which take seconds, and which a signal must not interrupt.
    from g2s_localizer.ros.main import main

    raise SystemExit(main())

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.srv import ChangeState
from rclpy.clock import Clock, ClockType, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from g2s_localizer.estimator.localizer import Localizer
from g2s_localizer.geometry import LatLon
from g2s_localizer.ros import compat, conversions
from g2s_localizer.ros.bridge import LocalizerBridge
from g2s_localizer.ros.diagnostics import Diagnostics
from g2s_localizer.ros.extrinsics import TfExtrinsics
from g2s_localizer.ros.image_input import ImageInput
from g2s_localizer.ros.outputs import OUTPUT_QOS, Outputs
from g2s_localizer.ros.parameters import NodeConfig, Parameters
from g2s_localizer.ros.publishers import unpublished, with_publishers
from g2s_localizer.ros.worker import NewestWorker

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE

SENSOR_QOS = QoSProfile(depth=200, reliability=QoSReliabilityPolicy.BEST_EFFORT)

LOG_PERIOD_S = 5.0

Arrival = tuple[Image | CompressedImage, CameraInfo, float]
"""An image, its CameraInfo, and when the image arrived (s, of time.monotonic)."""


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
        self._worker: NewestWorker[Arrival] | None = None
        self._images: ImageInput | None = None
        self._sensor_subscriptions: list[Any] = []
        self._needed_subscriptions: list[Any] = []
        self._outputs: Outputs | None = None
        self._extrinsics: TfExtrinsics | None = None
        self._resets_seen = 0
        self._datum_said: LatLon | None = None
        self._diagnostics = Diagnostics(f"{self.get_fully_qualified_name()}: registration")
        self._diagnostics_publisher = self.create_publisher(
            DiagnosticArray, "/diagnostics", OUTPUT_QOS
        )
        # Steady, so that a node that waits for /clock still says how it is.
        self.create_timer(
            self._settings["diagnostics.period_s"],
            self._publish_diagnostics,
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )
        for service in self.services:
            if service.srv_type is ChangeState:
                service.callback = partial(self._change_state, service.callback)
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
        if not self._attempt("configure", self._configure, self._release):
            return FAILURE
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        if not self._attempt("activate", self._activate, self._stop_worker):
            return FAILURE
        return super().on_activate(state)

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

    def _change_state(
        self,
        serve: Callable[[ChangeState.Request, ChangeState.Response], ChangeState.Response],
        request: ChangeState.Request,
        response: ChangeState.Response,
    ) -> ChangeState.Response:
        """Refuse a transition that the state does not have, which rclpy ends the process for."""
        try:
            return serve(request, response)
        except RuntimeError as error:
            self.get_logger().warning(f"transition {request.transition.id} refused: {error}")
            response.success = False
            return response

    def _attempt(
        self, transition: str, steps: Callable[[], None], undo: Callable[[], None]
    ) -> bool:
        """Run the steps of a transition.

        Whatever they raise fails it in words and is undone: the process stays manageable, and the
        transition can be asked for again.
        """
        try:
            steps()
        except Exception as error:
            undo()
            self._diagnostics.fault = f"{transition} failed: {str(error) or type(error).__name__}"
            self.get_logger().error(self._diagnostics.fault)
            return False
        self._diagnostics.fault = ""
        return True

    def _configure(self) -> None:
        config = self._settings.read()
        localizer = Localizer.from_config(config.localizer)
        localizer.warm_up()
        coverage = localizer.coverage(config.area) if config.area else None
        if config.extrinsic_source == "tf":
            self._extrinsics = TfExtrinsics(self, config.base_frame)
        lookup = self._extrinsics.lookup if self._extrinsics else None
        bridge = LocalizerBridge(localizer, config.bridge, lookup)
        self._outputs = Outputs(self)
        self._create_sensor_subscriptions(bridge)
        self._bridge, self._config = bridge, config
        self._resets_seen = 0
        self._datum_said = None
        self._diagnostics.coverage = coverage
        self._diagnostics.facts = self._facts(bridge, config)
        self._diagnostics.state = "inactive"
        self.get_logger().info(
            f"configured: {config.localizer.imagery}, checkpoint {localizer.checkpoint_id}"
        )

    def _activate(self) -> None:
        assert self._bridge is not None and self._config is not None
        bridge = self._bridge
        worker = self._worker = NewestWorker(
            partial(self._answer, bridge),
            is_ready=lambda item: bridge.is_ready(conversions.stamp_ns(item[0].header)),
            max_wait_s=self._config.max_wait_s,
            on_replaced=self._diagnostics.record_replaced,
            on_error=self._report_failure,
            on_idle=bridge.encode_ahead,
        )
        self._images = ImageInput(
            self, self._config.image_transport, lambda *arrival: worker.submit(arrival)
        )
        self._diagnostics.start(time.monotonic())
        self._diagnostics.state = "active"

    def _facts(self, bridge: LocalizerBridge, config: NodeConfig) -> dict[str, str]:
        east, north = bridge.map_offset_m
        return {
            "imagery": config.localizer.imagery,
            "attribution": bridge.attribution,
            "offset of the imagery (m)": f"{east:g} east, {north:g} north",
            "checkpoint": bridge.checkpoint_id,
        }

    def _create_sensor_subscriptions(self, bridge: LocalizerBridge) -> None:
        for topic in bridge.topics():
            hear = partial(self._on_sensor, topic.take)
            subscription = self.create_subscription(topic.kind, topic.name, hear, SENSOR_QOS)
            self._sensor_subscriptions.append(subscription)
            if topic.needed:
                self._needed_subscriptions.append(subscription)

    def _on_sensor(self, take: Callable[[Any], None], msg: Any) -> None:
        take(msg)
        bridge = self._bridge
        if bridge is not None and bridge.resets != self._resets_seen:
            self._after_backward_jump(bridge, bridge.newest_ns)
        if self._worker is not None:
            self._worker.wake()

    def _on_backward_jump(self, jump: TimeJump) -> None:
        if self._bridge is not None:
            self._bridge.reset()
            self._after_backward_jump(self._bridge, self.get_clock().now().nanoseconds)

    def _after_backward_jump(self, bridge: LocalizerBridge, now_ns: int) -> None:
        self._resets_seen = bridge.resets
        self.get_logger().warning(
            "time was set back: starting again with new fixes and headings",
            throttle_duration_sec=LOG_PERIOD_S,
        )
        if self._images is not None:
            self._images.clear(now_ns)

    def _answer(self, bridge: LocalizerBridge, item: Arrival) -> None:
        """Localize one image and publish the answer, in the worker's thread."""
        image, info, arrived_s = item
        outgoing = bridge.on_image(image, info)
        if outgoing is None:
            return
        stamp_ns, now_s = outgoing.estimate.stamp_ns, time.monotonic()
        from_arrival_s = now_s - arrived_s
        from_stamp_s = (self.get_clock().now().nanoseconds - stamp_ns) * 1e-9
        outgoing.registration.latency_from_arrival = from_arrival_s
        outgoing.registration.latency_from_stamp = from_stamp_s
        age_s = bridge.prior_age(stamp_ns)
        self._diagnostics.record(outgoing.estimate, age_s, now_s, from_arrival_s, from_stamp_s)
        if self._outputs is not None:
            self._outputs.publish(outgoing)

    def _report_failure(self, error: Exception) -> None:
        # The context may be shut down under a worker that still publishes: that is no failure.
        if self.context.ok():
            self._diagnostics.record_failure(error)
            self.get_logger().error(
                f"an image was lost to {type(error).__name__}: {error}",
                throttle_duration_sec=LOG_PERIOD_S,
            )

    def _publish_diagnostics(self) -> None:
        bridge, images = self._bridge, self._images
        needed = [*(images.subscriptions if images else []), *self._needed_subscriptions]
        status = self._diagnostics.status(
            time.monotonic(),
            {**(bridge.received if bridge else {}), **(images.received if images else {})},
            bridge.dropped if bridge else {},
            bridge.drop_reason if bridge else {},
            bridge.frame if bridge else None,
            bridge.read_ahead if bridge else None,
            unpublished=unpublished(self, needed),
            why_silent=images.silence() if images else "",
            pairing=images.values() if images else {},
        )
        array = DiagnosticArray(status=[status])
        array.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics_publisher.publish(array)
        silent = status.level == DiagnosticStatus.STALE and self._diagnostics.state == "active"
        if silent or status.level in (DiagnosticStatus.WARN, DiagnosticStatus.ERROR):
            self.get_logger().warning(status.message, throttle_duration_sec=LOG_PERIOD_S)
        if bridge is not None:
            self._say_datum(bridge)
            for said in with_publishers(self, bridge.conflicts, images):
                self.get_logger().warning(said, throttle_duration_sec=LOG_PERIOD_S)

    def _say_datum(self, bridge: LocalizerBridge) -> None:
        for note in bridge.take_notes():
            self.get_logger().warning(note)
        datum = bridge.frame.datum if bridge.frame else None
        if datum is not None and datum != self._datum_said:
            self._datum_said = datum
            self.get_logger().info(f"datum, the origin of map: {datum.lat:.8f}, {datum.lon:.8f}")

    def _stop_worker(self) -> None:
        if self._images is not None:
            self._images.close()
        if self._worker is not None:
            self._worker.stop()
        self._images = self._worker = None

    def _release(self) -> None:
        """Release everything that configuring has made, from wherever a transition has come to."""
        self._stop_worker()
        for subscription in self._sensor_subscriptions:
            self.destroy_subscription(subscription)
        self._sensor_subscriptions, self._needed_subscriptions = [], []
        for part in (self._outputs, self._extrinsics):
            if part is not None:
                part.close()
        self._bridge = self._config = self._outputs = self._extrinsics = None
        self._diagnostics.state = "unconfigured"
