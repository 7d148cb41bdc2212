# SPDX-License-Identifier: Apache-2.0
"""Time of one registration, stage by stage, and the memory that it needs.

g2s-benchmark --preset paper-kitti --runs 20 --json OUT.json
Images are noise and weights random unless --checkpoint names a file: neither changes the time.
The last rows are the node's: from an image's bytes as DDS delivers them to those of the answer,
its crop cached, and the processor time of it; the network's share is the row "total, crop cached".
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from g2s_localizer.estimator.config import PRECISIONS, LocalizerConfig
from g2s_localizer.geometry import Camera, Panorama
from g2s_localizer.geometry.mounting import extrinsic_from_parameters
from g2s_localizer.model import (
    CameraInput,
    ModelConfig,
    Network,
    build_network,
    load_checkpoint,
    model_config,
    prepare_ground,
    prepare_satellite,
)
from g2s_localizer.model.folding import fold_batch_norm
from g2s_localizer.model.presets import PRESETS

STAGES = (
    "preprocess",
    "satellite features",
    "ground features",
    "rotation",
    "projection",
    "correlation",
    "score map",
    "refinement",
)
_STEPS = {
    "encode_satellite": "satellite features",
    "encode_ground": "ground features",
    "residual_yaw": "rotation",
    "volume": "rotation",
    "overhead": "projection",
    "scores": "correlation",
    "peaks": "score map",
    "refined": "refinement",
    "registration": "refinement",
}
"""Stage of each step of the networks."""

_WARM_UP = 3
_CAMERA_HEIGHT_M = 1.65
_PANORAMA = (1024, 2048)
# KITTI's colour camera.
_K = np.array([[721.5377, 0.0, 609.5593], [0.0, 721.5377, 172.854], [0.0, 0.0, 1.0]])
_IMAGE = (375, 1242)


@dataclass(frozen=True)
class Scene:
    """One pair as it comes from camera and imagery: noise."""

    ground: NDArray[np.uint8]
    satellite: NDArray[np.uint8]
    camera: Camera | Panorama


def make_scene(config: ModelConfig) -> Scene:
    rng = np.random.default_rng(0)
    T = extrinsic_from_parameters((0.0, 0.0, _CAMERA_HEIGHT_M), (0.0, 0.0, 0.0))
    height, width = _PANORAMA if config.panorama else _IMAGE
    pinhole = Camera(_K, width, height, np.zeros(5), T)
    side = round(config.crop_m / config.gsd)
    return Scene(
        rng.integers(0, 256, (height, width, 3), np.uint8),
        rng.integers(0, 256, (side, side, 3), np.uint8),
        Panorama(width, height, T) if config.panorama else pinhole,
    )


class Stopwatch:
    """Milliseconds of the stages of one run; waits for the device at each border."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.stages = dict.fromkeys(STAGES, 0.0)

    def __call__(self, name: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = work()
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self.stages[name] += (time.perf_counter() - start) * 1e3
        return result

    @contextmanager
    def on(self, network: Network) -> Iterator[None]:
        """Time the steps of a network by their stages, as long as this lasts."""
        steps = {name: stage for name, stage in _STEPS.items() if hasattr(network, name)}
        for name, stage in steps.items():
            setattr(network, name, self._timed(stage, getattr(network, name)))
        try:
            yield
        finally:
            for name in steps:
                delattr(network, name)

    def _timed(self, stage: str, step: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *given: self(stage, lambda: step(*given))


def register_once(
    network: Network, scene: Scene, device: torch.device, satellite: Any
) -> tuple[dict[str, float], Any]:
    """Time one registration; features of the crop are made when `satellite` is None. Returns
    milliseconds by stage, with their `total`, and the features. The preset lift searches heading
    and position together: all of it is its rotation stage.
    """
    config, watch = network.config, Stopwatch(device)
    start = time.perf_counter()
    ground, camera = watch("preprocess", lambda: _prepare(scene, config, device))
    with watch.on(network):
        if satellite is None:
            image = watch("preprocess", lambda: prepare_satellite(scene.satellite)[None].to(device))
            satellite = network.encode_satellite(image)
        network.register(ground, camera.K, camera.T_base_camera, 0.0, satellite)
    return {**watch.stages, "total": (time.perf_counter() - start) * 1e3}, satellite


def _prepare(scene: Scene, config: ModelConfig, device: torch.device) -> tuple[Tensor, CameraInput]:
    size = (config.ground_height, config.ground_width)
    image, camera = prepare_ground(scene.ground, scene.camera, size, config.whole_image)
    T = torch.tensor(camera.T_base_camera, dtype=torch.float32, device=device)[None]
    K = (
        None
        if camera.K is None
        else torch.tensor(camera.K, dtype=torch.float32, device=device)[None]
    )
    return image[None].to(device), CameraInput(K, T)


def summary(values: Sequence[float]) -> dict[str, float]:
    return {"p50": float(np.median(values)), "p99": float(np.quantile(values, 0.99))}


def benchmark(network: Network, device: torch.device, runs: int) -> dict[str, Any]:
    """Measure median and p99 of every stage, of a whole registration, and of one whose crop's
    features are cached (ms), and the peak memory (MB): of the process, or of PyTorch on the GPU.
    """
    scene = make_scene(network.config)
    with torch.inference_mode():
        for _ in range(_WARM_UP):
            _, satellite = register_once(network, scene, device, None)
        whole = [register_once(network, scene, device, None)[0] for _ in range(runs)]
        cached = [register_once(network, scene, device, satellite)[0] for _ in range(runs)]
    if device.type == "cuda":
        peak_mb = torch.cuda.max_memory_allocated(device) / 2**20
    else:
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return {
        "stages_ms": {name: summary([run[name] for run in whole]) for name in STAGES},
        "total_ms": summary([run["total"] for run in whole]),
        "total_cached_ms": summary([run["total"] for run in cached]),
        "peak_mb": peak_mb,
        "runs": runs,
    }


def benchmark_node(
    network: Network, device: torch.device, precision: str, runs: int
) -> dict[str, Any]:
    """Return median and p99 of the node's work on an image and of its processor time (ms), or
    `absent`: why they could not be measured.
    """
    try:
        # Needs ROS's message types, without which the network can still be measured.
        from g2s_localizer.tools.benchmark_node import node_cost

        scene = make_scene(network.config)
        config = LocalizerConfig("", device=str(device), precision=precision)
        taken = node_cost(network, scene.ground, scene.satellite, scene.camera, config, runs)
    except (ImportError, ValueError) as error:
        return {"absent": str(error)}
    return {"total_ms": summary(taken["total"]), "processor_ms": summary(taken["processor"])}


def print_table(report: dict[str, Any]) -> None:
    for name in ("preset", "device", "precision", "compile", "threads", "torch", "runs"):
        print(f"{name:20} {report[name]}")
    print(f"{'':20} {'p50 ms':>9} {'p99 ms':>9}")
    rows = [
        *report["stages_ms"].items(),
        ("total", report["total_ms"]),
        ("total, crop cached", report["total_cached_ms"]),
    ]
    node = report["node"]
    if "absent" not in node:
        rows += [("node, crop cached", node["total_ms"])]
        rows += [("  processor time", node["processor_ms"])]
    for name, value in rows:
        print(f"{name:20} {value['p50']:9.1f} {value['p99']:9.1f}")
    print(f"{'peak memory':20} {report['peak_mb']:9.0f} MB")
    if "absent" in node:
        print(f"node                 not measured: {node['absent']}")


def _load(arguments: argparse.Namespace) -> Network:
    if arguments.checkpoint is not None:
        return load_checkpoint(arguments.checkpoint)[0]
    torch.manual_seed(0)
    return build_network(model_config(arguments.preset)).eval()


def _count(text: str) -> int:
    if int(text) < 0:
        raise argparse.ArgumentTypeError(f"must not be negative, got {text}")
    return int(text)


def _positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return int(text)


def _require_report(file: Path) -> None:
    """Raise FileExistsError for a file that is no former report: it is not replaced."""
    try:
        former = json.loads(file.read_text())
    except ValueError:
        former = None
    if not isinstance(former, dict) or "preset" not in former:
        raise FileExistsError(f"{file} is there and no report of g2s-benchmark: it stays")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="g2s-benchmark", description=__doc__)
    parser.add_argument("--preset", choices=PRESETS, default=PRESETS[0])
    parser.add_argument("--checkpoint", type=Path, help="its network, in place of a preset's")
    parser.add_argument("--precision", choices=list(PRECISIONS), default="fp32")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument(
        "--threads", type=_count, default=1, metavar="N",
        help="that compute on the CPU, as the node's parameter of this name; 0: as PyTorch chooses",
    )  # fmt: skip
    parser.add_argument(
        "--compile", action="store_true",
        help="compile the extractors (on a GPU with CUDA graphs); needs a C++ compiler",
    )  # fmt: skip
    parser.add_argument("--runs", type=_positive, default=20)
    parser.add_argument("--json", type=Path, metavar="OUT")
    arguments = parser.parse_args(argv)
    try:
        if arguments.json is not None and arguments.json.exists():
            _require_report(arguments.json)
        device = torch.device(arguments.device)
        if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
            raise ValueError(f"there is no device {device}: {torch.cuda.device_count()} GPUs")
        if arguments.threads:
            torch.set_num_threads(arguments.threads)
            cv2.setNumThreads(arguments.threads)
        network = _load(arguments).to(device)
        fold_batch_norm(network)  # as the localizer does
        network.precision = PRECISIONS[arguments.precision]
        if arguments.compile:
            network.compile_extractors()
        report = benchmark(network, device, arguments.runs)
        report["node"] = benchmark_node(network, device, arguments.precision, arguments.runs)
    except (OSError, ValueError, RuntimeError) as error:
        print(f"g2s-benchmark: error: {error}", file=sys.stderr)
        return 1
    report = {
        "preset": network.config.preset,
        "device": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else platform.machine(),
        "precision": arguments.precision,
        "compile": arguments.compile,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        **report,
    }
    print_table(report)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
