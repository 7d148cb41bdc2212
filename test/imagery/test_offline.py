# SPDX-License-Identifier: Apache-2.0
"""Localizing opens no socket: every attempt would be seen by the interpreter's audit hook."""

import subprocess
import sys
from pathlib import Path

import pytest

from g2s_localizer.geometry import LatLon
from g2s_localizer.model import G2SNet, model_config, save_checkpoint

KARLSRUHE = LatLon(49.011212, 8.422885)
TINY = model_config(
    width=4, levels=3, features=4, crop_m=48.0, reach_m=12.0, gsd=0.5, ground_height=64,
    ground_width=128,
)  # fmt: skip

BLOCKED = """
import sys
def refuse(event, args):
    if event.startswith("socket.") and event != "socket.__new__":
        raise SystemExit(f"{event} {args}")
sys.addaudithook(refuse)
"""

LOCALIZE = """
import numpy as np
from g2s_localizer import Camera, LatLon, Localizer, LocalizerConfig, LocalFrame, Observation
from g2s_localizer import Pose2D, Prior
from g2s_localizer.imagery.coverage import box_around

place = LatLon(49.011212, 8.422885)
T = np.array([[0, 0, 1, 1.0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1.0]])
camera = Camera(np.array([[80.0, 0, 63.5], [0, 80, 30], [0, 0, 1]]), 128, 96, np.zeros(5), T)
image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
for uri in sys.argv[2:]:
    localizer = Localizer.from_config(LocalizerConfig(uri, sys.argv[1]))
    localizer.coverage(box_around(place, 300.0))
    for second, x in enumerate((0.0, 10.0, 20.0, 30.0, 9000.0)):
        pose, covariance = Pose2D(x, 0, 0.0), np.diag([1.0, 1.0, 0.01])
        prior = Prior(second * 10**9, pose, covariance, LocalFrame(place))
        estimate = localizer.localize(Observation(prior.stamp_ns, image, camera, prior))
        print(estimate.crop is not None)
"""


def run(code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", BLOCKED + code, *arguments],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_localizing_opens_no_socket(tile_writer, tmp_path):
    writer = tile_writer(suffix="jpg")
    uris = [
        writer.slippy(tmp_path / "tiles", KARLSRUHE, reach=2),
        writer.mbtiles(tmp_path / "tiles.mbtiles", KARLSRUHE, reach=2),
    ]
    save_checkpoint(tmp_path / "tiny.safetensors", G2SNet(TINY), {})
    done = run(LOCALIZE, str(tmp_path / "tiny.safetensors"), *uris)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == (["True"] * 4 + ["False"]) * 2


@pytest.mark.parametrize(
    "call", ["socket.getaddrinfo('localhost', 80)", "socket.create_connection(('127.0.0.1', 9))"]
)
def test_a_socket_would_have_been_seen(call):
    done = run(f"import socket; {call}")
    assert done.returncode == 1 and done.stderr.startswith("socket.")
