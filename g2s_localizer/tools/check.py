# SPDX-License-Identifier: Apache-2.0
"""g2s-check: whether a set-up can work, before the drive. Nothing is started, nothing is sent.

Reads the node's parameters as the node does, opens imagery and network, and plays a recording of
the vehicle through what the node does with its sensors. Exit status 1 when anything is wrong.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rclpy
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from g2s_localizer.bag_reader import BagReader
from g2s_localizer.estimator.localizer import SNAP_M
from g2s_localizer.imagery import Imagery, open_imagery
from g2s_localizer.imagery.coverage import measure_coverage
from g2s_localizer.model import load_checkpoint
from g2s_localizer.model.checkpoint import SHIPPED
from g2s_localizer.ros.parameters import NodeConfig, Parameters, UnusableParameters
from g2s_localizer.ros.sensor_input import SensorInput
from g2s_localizer.ros.topics import image_topic
from g2s_localizer.tools.check_bag import BagCheck, Wanted
from g2s_localizer.tools.check_pictures import draw_pictures
from g2s_localizer.tools.check_report import Report
from g2s_localizer.tools.check_transforms import StaticTransforms


@dataclass(frozen=True)
class Setup:
    """Parameters, and the topics under the remappings given."""

    config: NodeConfig
    wanted: list[Wanted]


def check(
    arguments: Sequence[str], bag: Path | None, seconds: float, pictures: Path | None = None
) -> Report:
    """Check a set-up, given by arguments of ROS, and a recording of it if there is one.

    pictures: folder for some of its images as they are localized; None: none is.
    """
    report = Report()
    setup = _check_parameters(arguments, report)
    if setup is None:
        report.unseen("all else", "it depends on the parameters")
        return report
    imagery = _check_imagery(setup.config, report)
    model = _check_network(setup.config, report)
    if imagery is not None and model is not None:
        _check_area(setup.config, imagery, model, report, bag is not None)
    if bag is None:
        report.unseen("sensors", "no recording was given (--bag)")
        return report
    try:
        with BagReader(bag) as reader:
            recording = BagCheck(setup.config, setup.wanted, report)
            recording.read(reader, seconds)
            recording.judge(imagery, model)
            if pictures is not None and imagery is not None and model is not None:
                _draw(setup, reader, seconds, recording.transforms, pictures, report)
    except (OSError, ValueError) as error:
        report.fault("bag", str(error))
    return report


def _check_parameters(arguments: Sequence[str], report: Report) -> Setup | None:
    try:
        with _unheard_node(arguments) as node:
            config = Parameters(node, arguments).read()
            wanted = _wanted(node, config)
    except UnusableParameters as error:
        for fault in error.faults:
            report.fault("parameters", fault)
        return None
    except RuntimeError as error:  # what rcl cannot parse
        report.fault("parameters", str(error))
        return None
    report.right("parameters", "complete and in range")
    return Setup(config, wanted)


def _draw(
    setup: Setup,
    reader: BagReader,
    seconds: float,
    transforms: StaticTransforms,
    folder: Path,
    report: Report,
) -> None:
    try:
        draw_pictures(setup.config, setup.wanted, reader, seconds, transforms, folder, report)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        report.fault("pictures", str(error))


@contextmanager
def _unheard_node(arguments: Sequence[str]) -> Iterator[Node]:
    """Yield a node that has ROS's parameters and remappings, and that no other one discovers."""
    range_name = "ROS_AUTOMATIC_DISCOVERY_RANGE"
    before = os.environ.get(range_name)
    os.environ[range_name] = "OFF"
    context = rclpy.Context()
    try:
        rclpy.init(args=["g2s-check", *arguments], context=context)
        node = Node(
            "localizer",
            context=context,
            automatically_declare_parameters_from_overrides=True,
            start_parameter_services=False,
            enable_rosout=False,
        )
        yield node
        node.destroy_node()
    finally:
        context.try_shutdown()
        if before is None:
            del os.environ[range_name]
        else:
            os.environ[range_name] = before


def _wanted(node: Node, config: NodeConfig) -> list[Wanted]:
    compressed = config.image_transport == "compressed"
    kind: type[Any] = CompressedImage if compressed else Image
    sensors = SensorInput(config.bridge).topics()
    return [
        Wanted("image", image_topic(node, config.image_transport), kind),
        Wanted("camera_info", node.resolve_topic_name("camera_info"), CameraInfo),
        *(Wanted(t.name, node.resolve_topic_name(t.name), t.kind, t.needed) for t in sensors),
    ]


def _check_imagery(config: NodeConfig, report: Report) -> Imagery | None:
    uri = config.localizer.imagery
    try:
        imagery = open_imagery(uri)
        levels = imagery.levels()
    except (OSError, ValueError, ImportError) as error:
        report.fault("imagery", str(error))
        return None
    finest = min(levels, key=lambda level: level.gsd, default=None)
    if finest is None:
        report.fault("imagery", f"{uri} holds no imagery")
        return None
    report.right("imagery", f"{uri}, {finest.gsd:.2f} m per pixel, {finest.parts} part(s)")
    if not imagery.attribution:
        report.unseen("imagery", "nobody says whose it is: the sidecar has no attribution")
    return imagery


def _check_network(config: NodeConfig, report: Report) -> Any:
    """Return the network's ModelConfig."""
    file = Path(config.localizer.checkpoint or SHIPPED)
    try:
        network, name = load_checkpoint(file, config.localizer.checkpoint_sha256)
    except (OSError, ValueError, RuntimeError) as error:
        report.fault("checkpoint", str(error))
        return None
    model = network.config
    report.right(
        "checkpoint",
        f"{name}, finds within {model.search_m:.3g} m of the prior"
        + (", takes panoramas" if model.panorama else "")
        + (", takes crops turned to the heading, a new one every degree" * model.turned_crop),
    )
    return model


def _check_area(
    config: NodeConfig, imagery: Imagery, model: Any, report: Report, with_bag: bool
) -> None:
    if config.area is None:
        if not with_bag:
            report.unseen("coverage", "there is no imagery.area, no map.datum and no bag")
        return
    coverage = measure_coverage(imagery, config.area, model.imagery_m + SNAP_M, model.gsd)
    named = f"the imagery covers {coverage}"
    fault = f"{named}: g2s-tiles fetch gets what is missing" if coverage.missing else ""
    report.judge("coverage", fault, named)


def _remap(text: str) -> str:
    """Return NAME=TOPIC as ROS has it."""
    name, equals, topic = text.partition("=")
    if not (name and equals and topic):
        raise argparse.ArgumentTypeError(f"must be NAME=TOPIC, got {text}")
    return f"{name.removesuffix(':')}:={topic}"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="g2s-check", description=__doc__)
    parser.add_argument(
        "--params-file", type=Path, action="append", required=True, metavar="YAML",
        help="as the node takes it; may be given several times",
    )  # fmt: skip
    parser.add_argument("--bag", type=Path, help="a recording of the vehicle's sensors")
    parser.add_argument(
        "-p", "--param", action="append", default=[], metavar="NAME:=VALUE", help="as for the node"
    )
    parser.add_argument(
        "-r", "--remap", action="append", default=[], metavar="NAME:=TOPIC", help="as for the node"
    )
    parser.add_argument(
        "--topics", nargs="+", type=_remap, default=[], metavar="NAME=TOPIC",
        help="the same in other words: --topics image=/front/image_raw fix=/gnss/fix",
    )  # fmt: skip
    parser.add_argument(
        "--seconds", type=float, default=600.0, help="of the recording, from its beginning"
    )
    parser.add_argument(
        "--pictures", type=Path, metavar="DIR",
        help="localize some images of the recording and write them as JPEG: the pose on the "
        "imagery, and the imagery on the ground of the camera image",
    )  # fmt: skip
    args = parser.parse_args(argv)
    if args.pictures is not None and args.bag is None:
        parser.error("--pictures needs --bag")
    arguments = ["--ros-args"]
    for file in args.params_file:
        if not file.is_file():
            parser.error(f"--params-file {file}: no such file")
        arguments += ["--params-file", str(file)]
    for flag, values in (("-p", args.param), ("-r", [*args.remap, *args.topics])):
        for value in values:
            arguments += [flag, value]
    try:
        wrong = check(arguments, args.bag, args.seconds, args.pictures).wrong
    except KeyboardInterrupt:
        print("g2s-check: interrupted", file=sys.stderr)
        return 130
    print(f"{wrong} wrong." if wrong else "Nothing is wrong.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
