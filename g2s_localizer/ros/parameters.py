# SPDX-License-Identifier: Apache-2.0
"""The node's parameters, declared, checked and read into the configurations they fill.

They take effect at the configure transition. Whatever is wrong with them (an unknown name, a
value of another type or out of range) is collected while the node is made and refused when it is
configured, so that the process stays manageable and the value can be set again.
"""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from g2s_localizer.estimator.config import LocalizerConfig
from g2s_localizer.estimator.gate import GateConfig
from g2s_localizer.geometry import LatLon
from g2s_localizer.geometry.mounting import check_mounting, extrinsic_from_parameters
from g2s_localizer.imagery.coverage import box_around
from g2s_localizer.imagery.level import Box
from g2s_localizer.ros.parameter_files import for_other_nodes
from g2s_localizer.ros.parameter_table import SPECIFICATIONS, Specification, Value
from g2s_localizer.ros.sensor_input import BridgeConfig

AROUND_DATUM_M = 500.0
"""To each side of the datum, where no area is given, the imagery's coverage is checked."""


@dataclass(frozen=True)
class NodeConfig:
    """Values of the parameters, as the parts of the node take them.

    area  whose coverage by the imagery is checked; None: it is not
    """

    localizer: LocalizerConfig
    area: Box | None
    bridge: BridgeConfig
    image_transport: str
    extrinsic_source: str
    base_frame: str
    max_wait_s: float


class UnusableParameters(ValueError):
    """Parameters that no node can be configured with: `faults` has a sentence for each."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)


class Parameters:
    """Declares the table on a node made with automatically_declare_parameters_from_overrides.

    That is rclpy's public way to see every override, declared or not: they are undeclared again,
    and declared with their descriptors.

    arguments  of ROS, that name the parameter files; None: those of the process
    """

    def __init__(self, node: Node, arguments: Sequence[str] | None = None) -> None:
        self._node = node
        self._elsewhere = for_other_nodes(
            sys.argv if arguments is None else arguments, node.get_fully_qualified_name()
        )
        if self._elsewhere:
            node.get_logger().warning(self._elsewhere)
        self._by_name = {spec.name: spec for spec in SPECIFICATIONS}
        self._faults: dict[str, str] = {}
        # rclpy's hint says values; its objects are parameters.
        given: dict[str, Any] = node.get_parameters_by_prefix("")
        overrides = {
            name: parameter.value
            for name, parameter in given.items()
            if not _belongs_to_rclpy(name)
        }
        for name in overrides:
            node.undeclare_parameter(name)
            if name not in self._by_name:
                self._faults[name] = f"unknown parameter {name} = {overrides[name]!r}"
        for spec in SPECIFICATIONS:
            self._declare(spec, overrides.get(spec.name))

    def read(self) -> NodeConfig:
        """Return configuration. Raises UnusableParameters naming all that is missing or wrong."""
        values = {spec.name: self[spec.name] for spec in SPECIFICATIONS}
        faults = [*self._faults.values(), *self._missing(values)]
        if not values["imagery.offline"]:
            faults.append(
                "imagery.offline is false: this node never fetches imagery; run g2s-tiles fetch "
                "before the drive"
            )
        datum, area = None, None
        try:
            datum = _datum(values["map.datum_latitude"], values["map.datum_longitude"])
            area = _area(values["imagery.area"], datum)
        except ValueError as error:
            faults.append(str(error))
        if values["prior.source"] == "pose" and datum is None:
            faults.append(
                "prior.source is pose, but map.datum_latitude and map.datum_longitude are not "
                "given: nobody knows where the poses are"
            )
        if values["camera.extrinsic_source"] == "parameters":
            try:
                _check_camera(values)
            except ValueError as error:
                faults.append(str(error))
        if faults:
            raise UnusableParameters(faults)
        return NodeConfig(
            localizer=LocalizerConfig(
                imagery=values["imagery.uri"],
                checkpoint=values["checkpoint"],
                checkpoint_sha256=values["checkpoint_sha256"],
                device=values["device"],
                precision=values["precision"],
                threads=values["threads"],
                cache_mb=values["cache_mb"],
                map_sigma_m=values["map.sigma_m"],
                gate=GateConfig(
                    max_ellipse_m=values["gate.max_ellipse_m"],
                    max_innovation=values["gate.max_innovation"],
                    max_entropy=values["gate.max_entropy"],
                    max_peak_ratio=values["gate.max_peak_ratio"],
                    min_correlation=values["gate.min_correlation"],
                    min_presence=values["gate.min_presence"],
                ),
            ),
            area=area,
            bridge=BridgeConfig(
                map_frame=values["map.frame_id"],
                datum=datum,
                camera_translation=_numbers(values["camera.translation"]),
                camera_rpy=_numbers(values["camera.rotation_rpy"]),
                base_link_height=values["camera.base_link_height"],
                rectified=values["camera.rectified"],
                antenna_offset=_numbers(values["gnss.antenna_offset"]),
                gnss_default_sigma_m=values["gnss.default_sigma_m"],
                heading_source=values["heading.source"],
                imu_convention=values["heading.convention"],
                heading_offset=values["heading.offset"],
                imu_rpy=_numbers(values["heading.imu_rotation_rpy"]),
                heading_default_sigma=values["heading.default_sigma"],
                max_gap_s=values["prior.max_gap_s"],
                max_extrapolation_s=values["prior.max_extrapolation_s"],
                prior_source=values["prior.source"],
                motion_source=values["prior.motion"],
            ),
            image_transport=values["image.transport"],
            extrinsic_source=values["camera.extrinsic_source"],
            base_frame=values["base_frame"],
            max_wait_s=values["prior.max_wait_s"],
        )

    def _missing(self, values: Mapping[str, Any]) -> Iterator[str]:
        """Yield a sentence for each parameter that has no default and was not given."""
        missing = []
        if not values["imagery.uri"].strip() and "imagery.uri" not in self._faults:
            missing.append("imagery.uri is empty: give a folder or file of imagery")
        for spec in SPECIFICATIONS:
            from_tf = spec.name.startswith("camera.") and values["camera.extrinsic_source"] == "tf"
            optional = from_tf or spec.name == "imagery.area"
            if isinstance(spec.default, list) and not optional and spec.name not in self._faults:
                value = list(values[spec.name])
                if not all(math.isfinite(number) for number in value):
                    missing.append(f"{spec.name} must be given and finite, got {value}")
        yield from missing
        if missing and self._elsewhere:
            yield self._elsewhere

    def __getitem__(self, name: str) -> Any:
        return self._node.get_parameter(name).value

    def check(self, parameters: Sequence[Parameter], configured: bool) -> SetParametersResult:
        """Return the node's on-set callback; a value set anew clears the fault of the old one."""
        for parameter in parameters:
            spec = self._by_name.get(parameter.name)
            if spec is None:
                continue
            fault = spec.fault(parameter.value)
            if configured:
                fault = f"{spec.name} takes effect at configure: deactivate and clean up first"
            if fault:
                return SetParametersResult(successful=False, reason=fault)
        for parameter in parameters:
            self._faults.pop(parameter.name, None)
        return SetParametersResult(successful=True)

    def _declare(self, spec: Specification, override: Value | None) -> None:
        value: Any = spec.default if override is None else override
        if isinstance(spec.default, float) and type(value) is int:
            value = float(value)
        if isinstance(spec.default, list) and _are_integers(value):
            value = [float(number) for number in value]
        fault = None
        try:
            _require_type(spec, value)
            self._node.declare_parameter(spec.name, value, spec.descriptor(), ignore_override=True)
            fault = spec.fault(value)
        except (InvalidParameterValueException, InvalidParameterTypeException, TypeError) as error:
            fault = str(error)
            self._node.declare_parameter(
                spec.name, spec.default, spec.descriptor(), ignore_override=True
            )
        if fault:
            self._faults[spec.name] = fault


def _belongs_to_rclpy(name: str) -> bool:
    return name in ("use_sim_time", "start_type_description_service") or name.startswith(
        "qos_overrides."
    )


def _are_integers(value: Any) -> bool:
    """Return whether YAML has [0, 0, 0] where [0.0, 0.0, 0.0] is meant."""
    return isinstance(value, (list, array)) and all(type(number) is int for number in value)


def _require_type(spec: Specification, value: Any) -> None:
    expected = Parameter.Type.from_parameter_value(spec.default)
    seen = Parameter.Type.from_parameter_value(value)
    if seen is not expected:
        raise TypeError(
            f"{spec.name} must be {expected.name.lower()}, got {seen.name.lower()} {value!r}"
        )


def _check_camera(values: dict[str, Any]) -> None:
    """Refuse a place of the camera that cannot be true, before any image comes."""
    names = ("camera.translation", "camera.rotation_rpy", "camera.base_link_height")
    translation, rpy, height = (values[name] for name in names)
    if not all(math.isfinite(value) for value in (*translation, *rpy)):
        return  # that they must be given has been said
    if max(abs(angle) for angle in rpy) > 2.0 * math.pi:
        raise ValueError(f"camera.rotation_rpy is in radians, got {list(rpy)}: are they degrees?")
    try:
        check_mounting(extrinsic_from_parameters(translation, rpy, height))
    except ValueError as error:
        raise ValueError(f"{', '.join(names)}: {error}") from None


def _datum(latitude: float, longitude: float) -> LatLon | None:
    if math.isnan(latitude) and math.isnan(longitude):
        return None
    try:
        return LatLon(latitude, longitude)
    except ValueError as error:
        raise ValueError(f"map.datum_latitude, map.datum_longitude: {error}") from None


def _area(corners: Sequence[float], datum: LatLon | None) -> Box | None:
    if all(math.isnan(corner) for corner in corners):
        return box_around(datum, AROUND_DATUM_M) if datum else None
    try:
        return Box(*corners)
    except ValueError as error:
        raise ValueError(f"imagery.area: {error}") from None


def _numbers(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
