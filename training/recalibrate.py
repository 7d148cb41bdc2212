# SPDX-License-Identifier: Apache-2.0
"""Set a checkpoint's temperature, covariance scales and evidence anew, from pairs of known poses.

python -m training.recalibrate --checkpoint IN --out OUT --dataset simulated --seeds 901-903
Other imagery and other cameras make other errors: take drives like those that the node will see,
and none that is scored afterwards. No weight changes. --evidence-only leaves temperature and scales
as they are and learns only which images belong to their crops: poses and covariances stay the same.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from g2s_localizer.imagery import MissingImagery
from g2s_localizer.model import load_checkpoint, save_checkpoint
from g2s_localizer.model.checkpoint import SHIPPED, read_provenance
from training.evaluate import add_dataset_arguments, open_dataset, require_dataset
from training.score.belonging import learn_belonging
from training.score.calibration import calibrate


def recalibrate(arguments: argparse.Namespace) -> None:
    if arguments.out.exists():
        raise FileExistsError(f"{arguments.out} exists already; give a new name")
    network, _ = load_checkpoint(arguments.checkpoint)
    network = network.to(arguments.device)
    dataset, _, described = open_dataset(arguments, network)
    if arguments.evidence_only:
        learn_belonging(network, dataset)
    else:
        calibrate(network, dataset)
    position, yaw = network.covariance_scale.tolist()
    found = {
        "data": described,
        "temperature": round(network.temperature.item(), 3),
        "covariance_scale": [round(position, 3), round(yaw, 3)],
        "correlation_floor": round(network.correlation_floor.item(), 4),
        "evidence_weights": [round(weight, 3) for weight in network.evidence_weights.tolist()],
    }
    what = "evidence" if arguments.evidence_only else "recalibrated"
    provenance = {**read_provenance(arguments.checkpoint), what: found}
    save_checkpoint(arguments.out, network.to("cpu"), provenance)
    print(f"{arguments.out}: {found}")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, default=SHIPPED)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--evidence-only", action="store_true", help="temperature and scales stay as they are"
    )
    add_dataset_arguments(parser)
    arguments = parser.parse_args(argv)
    require_dataset(parser, arguments)
    try:
        recalibrate(arguments)
    except (OSError, ValueError, RuntimeError, MissingImagery) as error:
        print(f"recalibration: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
