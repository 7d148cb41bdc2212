# SPDX-License-Identifier: Apache-2.0
"""The main job, end to end, on a simulated drive that no checkpoint was trained on.

python -m training.demo --out out/demo
Simulate a drive, convert it to a rosbag2, start the node as its own process, replay the bag into
it over DDS, record what it publishes, and score that against the truth.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from training.score.report import draw_report, print_table, score_recording

DIFFICULTY = "easy"
SEED = 7305
FRAMES = 300
GNSS_NOISE_M = 10.0
HEADING_NOISE_DEG = 3.0
REPLAY_RATE = 1.0
"""Factor of real time."""

_ROOT = Path(__file__).resolve().parent.parent
_BIN = Path(sys.executable).parent
_NODE_STOPS_S = 20.0
_MARK = "made_by_training_demo"
_MADE = {_MARK, "drive", "drive_bag", "recording", "node.log", "report.json", "report.png"}


def run(command: Sequence[str], timeout_s: float) -> None:
    """Run a step; raises CalledProcessError or TimeoutExpired."""
    print(f"$ {' '.join(command)}", flush=True)
    subprocess.run(command, check=True, timeout=timeout_s)


@contextmanager
def running(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Yield the process while it is needed; interrupt it, and if need be kill it, at the end."""
    print(f"$ {' '.join(command)} > {log} &", flush=True)
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(_NODE_STOPS_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def make_room(out: Path) -> None:
    """Make the folder `out`, empty but for a mark; what a former demo left in it is deleted.

    Raises FileExistsError when it holds anything else, and deletes nothing then.
    """
    held = {entry.name for entry in out.iterdir()} if out.is_dir() else set()
    foreign = sorted(held - _MADE)
    if held and (foreign or not (_MARK in held or _is_former(out))):
        raise FileExistsError(
            f"{out} is not empty and no former demo ({', '.join((foreign or sorted(held))[:3])}): "
            "its files would be deleted; give another --out, or empty it yourself"
        )
    out.mkdir(parents=True, exist_ok=True)
    # The mark goes last: until then the folder can be told from any other.
    for name in sorted(held - {_MARK}):
        entry = out / name
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    (out / _MARK).write_text("python -m training.demo empties this folder when it is run again.\n")


def _is_former(out: Path) -> bool:
    """Return whether a demo from before there was a mark simulated the drive in `out`."""
    try:
        world = json.loads((out / "drive" / "world.json").read_text())
    except (OSError, ValueError):
        return False
    return isinstance(world, dict) and (world.get("synthetic"), world.get("seed")) == (True, SEED)


def demo(out: Path, frames: int = FRAMES) -> int:
    """Return the exit code: 0 when the node published and stopped cleanly. Raises as make_room."""
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.setdefault("FASTRTPS_DEFAULT_PROFILES_FILE", str(_ROOT / "config" / "fastdds.xml"))
    make_room(out)
    drive, bag, recording = out / "drive", out / "drive_bag", out / "recording"

    run(
        [
            *(sys.executable, "-m", "training.simulate", "--out", str(drive)),
            *("--seed", str(SEED), "--frames", str(frames), "--difficulty", DIFFICULTY),
        ],
        timeout_s=240,
    )
    name = json.loads((drive / "world.json").read_text())["drive"]
    run(
        [
            *(str(_BIN / "g2s-kitti-to-rosbag2"), "--root", str(drive), "--drive", name),
            *("--out", str(bag), "--gnss-noise", str(GNSS_NOISE_M)),
            *("--heading-noise", str(HEADING_NOISE_DEG), "--seed", str(SEED)),
        ],
        timeout_s=120,
    )

    node = [str(_BIN / "g2s-node"), "--ros-args", "--params-file"]
    node += [str(_ROOT / "config" / "kitti.yaml"), "-p", "use_sim_time:=true"]
    node += ["-p", f"imagery.uri:=slippy:{drive / 'imagery'}"]
    for topic, source in (
        ("image", "/camera/image_raw"),
        ("camera_info", "/camera/camera_info"),
        ("fix", "/gnss/fix"),
        ("imu", "/imu/data"),
    ):
        node += ["-r", f"{topic}:={source}"]
    with running(node, out / "node.log") as process:
        run(
            [
                *(str(_BIN / "g2s-replay"), str(bag), "--record", str(recording)),
                *("--rate", str(REPLAY_RATE)),
                *("--record-topics", "/localizer/pose", "/localizer/registration"),
            ],
            timeout_s=240,
        )
        if process.poll() is not None:
            print(f"the node ended early; {out / 'node.log'} says why", file=sys.stderr)
            return 1
    if process.returncode != 0:
        print(f"the node ended with {process.returncode}: {out / 'node.log'}", file=sys.stderr)
        return 1

    report, scene = score_recording(bag, recording, _ROOT / "msg" / "Registration.msg")
    description = {
        "data": "synthetic: one simulated drive that no checkpoint was trained on",
        "difficulty": DIFFICULTY,
        "seed": SEED,
        "gnss_noise_m": GNSS_NOISE_M,
        "heading_noise_deg": HEADING_NOISE_DEG,
        "frames": frames,
        "replay_rate": REPLAY_RATE,
    }
    (out / "report.json").write_text(json.dumps({**description, **report}, indent=2) + "\n")
    draw_report(out / "report.png", scene, drive / "imagery", {**description, **report})
    print_table({**description, **report})
    print(f"{out / 'report.json'}  {out / 'report.png'}")
    return 0 if report["published"] else 1


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/demo"))
    try:
        return demo(parser.parse_args(argv).out)
    except (OSError, ValueError, subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
