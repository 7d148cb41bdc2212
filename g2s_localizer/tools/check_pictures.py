# SPDX-License-Identifier: Apache-2.0
"""Pictures of a recording: images localized as the node does, and what a person can judge of them.

Each shows the overlay from above beside the camera image with the satellite crop on its ground.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from g2s_localizer.bag_reader import BagReader
from g2s_localizer.estimator.localizer import Localizer
from g2s_localizer.messages import stamp_ns
from g2s_localizer.ros.bridge import LocalizerBridge, Outgoing
from g2s_localizer.ros.camera_overlay import draw_camera_overlay
from g2s_localizer.ros.drawing import draw_overlay
from g2s_localizer.ros.parameters import NodeConfig
from g2s_localizer.ros.publishers import type_name
from g2s_localizer.tools.check_bag import Wanted
from g2s_localizer.tools.check_report import Report
from g2s_localizer.tools.check_transforms import StaticTransforms

PICTURES = 20
"""Images that are localized, evenly over the recording."""

_MAX_INFOS = 100


def draw_pictures(
    config: NodeConfig,
    wanted: list[Wanted],
    reader: BagReader,
    seconds: float,
    transforms: StaticTransforms,
    folder: Path,
    report: Report,
) -> None:
    """Write a JPEG for each of some images of the first so many seconds into `folder`, by stamp.

    An image that has no pose has no picture; how many, and why, is said in the report. Raises
    OSError where `folder` cannot be written, and what makes no localizer, as `from_config` does.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def look_up(frame: str) -> NDArray[np.float64]:
        return transforms.lookup(config.base_frame, frame)

    bridge = LocalizerBridge(
        Localizer.from_config(config.localizer),
        config.bridge,
        look_up if config.extrinsic_source == "tf" else None,
    )
    written, accepted, without = 0, 0, Counter[str]()
    for answer in _answers(bridge, wanted, reader, seconds):
        picture = answer if isinstance(answer, str) else _picture(answer)
        if isinstance(answer, str) or isinstance(picture, str):
            without[str(picture)] += 1
            continue
        written += 1
        accepted += answer.estimate.accepted
        _, jpeg = cv2.imencode(".jpg", np.ascontiguousarray(picture[..., ::-1]))
        (folder / f"{answer.estimate.stamp_ns}.jpg").write_bytes(jpeg.tobytes())
    reasons = "".join(f"; {n} without a pose: {why}" for why, n in without.most_common(3))
    fault = "" if written else f"none: no image has a pose{reasons}"
    report.judge("pictures", fault, f"{written} in {folder}, {accepted} of accepted poses{reasons}")


def _answers(
    bridge: LocalizerBridge, wanted: list[Wanted], reader: BagReader, seconds: float
) -> Iterator[Outgoing | str]:
    """Play the recording through the bridge; yield its answers to PICTURES images, or why none."""
    names = {(one.topic, type_name(one.kind)): one.name for one in wanted}
    takes = {topic.name: topic.take for topic in bridge.topics()}
    connections = [c for c in reader.connections if (c.topic, c.msgtype) in names]
    start_ns = reader.start_time
    end_ns = min(reader.end_time, start_ns + round(seconds * 1e9))
    step_ns = (end_ns - start_ns) // PICTURES + 1
    taken = 0  # the middles of the steps are
    images: dict[int, Any] = {}
    infos: dict[int, Any] = {}
    pairs: dict[int, tuple[Any, Any]] = {}
    for connection, logged_ns, data in reader.messages(connections):
        if logged_ns > end_ns:
            break
        name = names[connection.topic, connection.msgtype]
        step = (logged_ns - start_ns + step_ns // 2) // step_ns
        if name == "image" and step <= taken:
            continue
        try:
            message = reader.deserialize(data, connection)
        except ValueError:
            continue  # the check of the recording has said it
        stamp = stamp_ns(message.header)
        if name == "image":
            taken, images[stamp] = step, message
        elif name == "camera_info":
            infos[stamp] = message
            while len(infos) > _MAX_INFOS:
                del infos[next(iter(infos))]
        else:
            takes[name](message)
        if stamp in images and stamp in infos:
            pairs[stamp] = images.pop(stamp), infos.pop(stamp)
        for ready in [pair for pair in pairs if bridge.is_ready(pair)]:
            yield _answer(bridge, *pairs.pop(ready))
    for pair in pairs.values():
        yield _answer(bridge, *pair)
    yield from ["no CameraInfo of its stamp"] * len(images)


def _answer(bridge: LocalizerBridge, image: Any, info: Any) -> Outgoing | str:
    return bridge.on_image(image, info) or bridge.drop_reason["image"]


def _picture(answer: Outgoing) -> NDArray[np.uint8] | str:
    """Return both pictures of an answer beside each other, (H, W, 3) RGB, or why there are none."""
    estimate, camera = answer.estimate, answer.camera
    if estimate.pose is None or estimate.crop is None or camera is None:
        return estimate.reason
    pictures = (
        draw_overlay(estimate, estimate.crop),
        draw_camera_overlay(estimate, answer.image, camera),
    )
    rows = max(len(picture) for picture in pictures)
    padded = [np.pad(each, ((0, rows - len(each)), (0, 0), (0, 0))) for each in pictures]
    return np.hstack(padded)
