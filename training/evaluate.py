# SPDX-License-Identifier: Apache-2.0
r"""One command, one table: score checkpoints and baselines, as Markdown, JSON and plots.

python -m training.evaluate --dataset simulated --seeds 2001-2010 --frames 100 --json OUT.json
python -m training.evaluate --dataset kitti --root KITTI --imagery URI --split test2_files.txt
python -m training.evaluate --dataset kitti --root KITTI --imagery URI --drive DRIVE --span 46-109 \
  --seeds 0-4 --position-m 10 --yaw-deg 10
python -m training.evaluate --dataset vigor --root VIGOR --area cross --rotation 180
python -m training.evaluate --dataset pairs --root FOLDER --azimuths 0,180 --seeds 0-4
python -m training.evaluate --dataset bags --config training/configs/bags_lift.yaml
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from g2s_localizer.imagery import MissingImagery
from g2s_localizer.kitti import KittiDrive
from g2s_localizer.model import Network, load_checkpoint
from g2s_localizer.model.checkpoint import SHIPPED
from training.config import read_data_config
from training.data.config import HEADINGS, UNKNOWN
from training.data.kitti import SplitLine, drawn_lines
from training.data.pairs import pairs_dataset
from training.data.prior_fit import require_prior_fits
from training.data.sample import PairDataset, PriorNoise
from training.data.simulated import open_drives, simulated_dataset
from training.loop.devices import AUTO, chosen_device
from training.score.plots import draw_all
from training.score.scoring import NETWORK, Scores, score
from training.score.table import FILES, confidence_table, markdown, plain, require_room
from training.sizes import require_sizes
from training.sources import bag_dataset, kitti_dataset, vigor_dataset, vigor_noise

WORST = 10

_NEEDED = {
    "simulated": ("seeds",),
    "kitti": ("root", "imagery"),
    "vigor": ("root", "area"),
    "pairs": ("root",),
    "bags": ("config",),
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = _parser()
    arguments = parser.parse_args(argv)
    require_dataset(parser, arguments)
    try:
        return evaluate(arguments)
    except (OSError, ValueError, RuntimeError, MissingImagery) as error:
        print(f"evaluation: {error}", file=sys.stderr)
        return 1


def evaluate(arguments: argparse.Namespace) -> int:
    out = arguments.out or Path("out/evaluation") / arguments.dataset
    require_room(out, arguments.json)
    rows: dict[str, dict[str, float]] = {}
    confident: dict[str, tuple[dict[str, float], dict[str, tuple[float, float]]]] = {}
    first: Scores | None = None
    files = arguments.checkpoint or [SHIPPED]
    for file in files:
        network, identity = load_checkpoint(file)
        network = network.to(arguments.device)
        dataset, noise, described = open_dataset(arguments, network)
        scores = score(network, dataset, noise, worst=0 if first else WORST)
        for name, answers in scores.methods.items():
            if name in (NETWORK, "after the gate"):
                name = f"{identity}, {name}" if len(files) > 1 else name
            rows[name] = answers.figures
        confident[identity] = scores.figures(), scores.intervals()
        if first is None:
            first, report = scores, _report(arguments, identity, described, noise, scores)
            groups = [dataset.group(i) for i in range(len(dataset))]
    assert first is not None
    report["methods"] = rows
    text = markdown(report, rows) + "\n\n" + confidence_table(confident, first.places)
    print(text)
    out.mkdir(parents=True, exist_ok=True)
    (out / "table.md").write_text(text + "\n")
    for file in {out / "table.json", arguments.json or out / "table.json"}:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(plain(report), indent=2, allow_nan=False) + "\n")
    draw_all(out, first, groups, str(report["data"]))
    print(f"{out}/: {', '.join(FILES)}")
    return 0


def open_dataset(
    arguments: argparse.Namespace, network: Network
) -> tuple[PairDataset, PriorNoise, str]:
    """Return the pairs, the noise of their labels, and what they are in words. The network's crop
    is widened where that was asked for: its weights know of no crop.
    """
    if arguments.crop_m is not None:
        if not network.config.is_own:
            raise ValueError(f"the crop of the preset {network.config.preset} cannot be widened")
        network.config = replace(network.config, crop_m=arguments.crop_m)
        require_sizes(network.config)
    model = network.config
    noise = PriorNoise(arguments.position_m, arguments.yaw_deg)
    if arguments.dataset == "simulated":
        drives = open_drives(
            arguments.folder, arguments.difficulty, arguments.seeds, arguments.frames, rate=2.5
        )
        first, last = min(arguments.seeds), max(arguments.seeds)
        described = (
            f"synthetic: simulated drives {first} to {last} ({len(drives)} worlds), "
            f"preset {arguments.difficulty}, {arguments.frames} frames each"
        )
        return simulated_dataset(drives, model, noise), noise, described
    if arguments.dataset == "kitti":
        split, described = _kitti_lines(arguments)
        dataset = kitti_dataset(arguments.root, split, arguments.imagery, model, noise, seed=0)
        return dataset, noise, f"KITTI, {described}, imagery {arguments.imagery}"
    if arguments.dataset == "pairs":
        require_prior_fits(model, noise, along_heading=False, aligned=model.turned_crop)
        seeds = arguments.seeds or [0]
        pairs = pairs_dataset(arguments.root, arguments.azimuths, model, noise, seeds)
        described = (
            f"{len(pairs.drives)} pairs of {arguments.root.name}, views at "
            f"{', '.join(f'{azimuth:g}' for azimuth in arguments.azimuths)} degrees, each with "
            f"{len(seeds)} priors"
        )
        return pairs, noise, described
    if arguments.dataset == "bags":
        data = read_data_config(arguments.config)
        if data.bags is None:
            raise ValueError(f"{arguments.config} has no data.bags")
        held_out = bag_dataset(data.bags.held_out, data.bags, model)
        return held_out, data.noise, f"recorded bags {', '.join(data.bags.held_out)}"
    rolled = arguments.rotation, arguments.heading
    panoramas = vigor_dataset(arguments.root, arguments.area, "test", model, *rolled, 0)
    described = (
        f"VIGOR, {arguments.area} area, rolled by up to {arguments.rotation:g} degrees, "
        f"heading {arguments.heading}"
    )
    return panoramas, vigor_noise(model, *rolled), described


def _kitti_lines(arguments: argparse.Namespace) -> tuple[Path | list[SplitLine], str]:
    """Return the papers' list, or all frames of a drive once for each seed; and it in words."""
    if arguments.split is not None:
        return arguments.split, arguments.split.name
    seeds = arguments.seeds or [0]
    drive = KittiDrive(arguments.root, arguments.drive)
    first, last = arguments.span or (0, drive.frames[-1])
    frames = [frame for frame in drive.frames if first <= frame <= last]
    if not frames:
        raise ValueError(f"{drive.name} has no image of frames {first} to {last}")
    described = (
        f"{drive.name}, {len(frames)} frames {frames[0]} to {frames[-1]}, each with "
        f"{len(seeds)} priors of seeds {seeds[0]} to {seeds[-1]}"
    )
    return drawn_lines(drive.name, frames, seeds), described


def parse_span(text: str) -> tuple[int, int]:
    """Read a span of frames, '46-109' as (46, 109)."""
    first, _, last = text.partition("-")
    return int(first), int(last or first)


def parse_azimuths(text: str) -> list[float]:
    """Read a list of angles, '0,90' as [0.0, 90.0]."""
    return [float(part) for part in text.split(",")]


def parse_seeds(text: str) -> list[int]:
    """'3,5,10-12' -> [3, 5, 10, 11, 12]."""
    seeds: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        seeds += range(int(first), int(last or first) + 1)
    return seeds


def add_dataset_arguments(parser: argparse.ArgumentParser) -> None:
    """Which pairs; `require_dataset` sees that they are whole, `open_dataset` opens them."""
    parser.add_argument("--dataset", choices=sorted(_NEEDED), default="simulated")
    parser.add_argument(
        "--device",
        type=_device,
        default=AUTO,
        help="cpu, cuda:1; auto: a GPU if there is one",
    )
    parser.add_argument("--position-m", type=float, default=20.0, help="range of the prior")
    parser.add_argument("--yaw-deg", type=float, default=10.0, help="range of the prior")
    parser.add_argument("--crop-m", type=float, help="wider crops, for a wider prior")
    simulated = parser.add_argument_group("simulated")
    simulated.add_argument(
        "--seeds", type=parse_seeds, help="as 3,5,10-12; kitti, pairs: of the priors"
    )
    simulated.add_argument("--frames", type=int, default=100)
    simulated.add_argument("--difficulty", default="kitti")
    simulated.add_argument(
        "--folder", type=Path, default=Path("out/training/drives"), help="drives are kept here"
    )
    real = parser.add_argument_group("kitti, vigor and pairs")
    real.add_argument("--root", type=Path)
    real.add_argument("--imagery", help="kitti: as slippy:DIR or mbtiles:FILE")
    real.add_argument("--split", type=Path, help="kitti: a list of the papers, test1_files.txt")
    real.add_argument("--drive", help="kitti: in place of --split, as 2011_09_26_drive_0005_sync")
    real.add_argument("--span", type=parse_span, help="kitti: frames of the drive, as 46-109")
    real.add_argument("--area", choices=["same", "cross"], help="vigor")
    real.add_argument("--rotation", type=float, default=0.0, help="vigor: degrees")
    real.add_argument(
        "--heading",
        choices=HEADINGS,
        default=UNKNOWN,
        help="vigor: whether the prior knows by how much a panorama is rolled",
    )
    real.add_argument(
        "--azimuths",
        type=parse_azimuths,
        default=[0.0],
        help="pairs: views, degrees clockwise of the panorama's middle column, as 0,90,180,270",
    )
    bags = parser.add_argument_group("bags")
    bags.add_argument("--config", type=Path, help="of a training: its data.bags.held_out")


def require_dataset(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Exit with what is lacking for the dataset that was asked for."""
    needed = _NEEDED[arguments.dataset]
    lacking = [f"--{name}" for name in needed if getattr(arguments, name) is None]
    if arguments.dataset == "kitti" and (arguments.split is None) == (arguments.drive is None):
        lacking.append("one of --split and --drive")
    if lacking:
        parser.error(f"--dataset {arguments.dataset} needs {', '.join(lacking)}")


def _device(name: str) -> torch.device:
    try:
        return chosen_device(name)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, nargs="+", action="extend")
    parser.add_argument("--mode", choices=["single_frame"], default="single_frame")
    parser.add_argument("--json", type=Path, help="the figures, in a file of this name too")
    parser.add_argument("--out", type=Path, help="folder of table and plots")
    add_dataset_arguments(parser)
    return parser


def _report(
    arguments: argparse.Namespace,
    identity: str,
    described: str,
    noise: PriorNoise,
    scores: Scores,
) -> dict[str, object]:
    return {
        **scores.figures(),
        "data": described,
        "checkpoint": identity,
        "mode": arguments.mode,
        "prior": asdict(noise),
        "places": len(np.unique(scores.places)),
        "intervals": scores.intervals(),
        "worst": [{"name": each.name, "error_m": each.error_m} for each in scores.worst],
        "unreadable": [f"{left.name}: {left.reason}" for left in scores.unreadable],
    }


if __name__ == "__main__":
    sys.exit(main())
