# SPDX-License-Identifier: Apache-2.0
"""Coverage of the standard error of g2s-tiles offset: the table of docs/map_offset.md.

python -m benchmarks.map_offset_coverage     (about two minutes; synthetic drives)
"""

import sys
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "test" / "estimator"))

import test_map_offset as laws

from g2s_localizer.estimator.map_offset import SIGNIFICANCE, estimate_map_offset

DRIVES = 200


def line(seconds, outliers, wander_s):
    laws.SECONDS, laws.SAMPLES, laws.WANDER_S = seconds, round(2.5 * seconds), wander_s
    found = [estimate_map_offset(laws.drive(seed, outliers=outliers)) for seed in range(DRIVES)]
    none = [
        estimate_map_offset(laws.drive(seed, offset=(0.0, 0.0), outliers=outliers))
        for seed in range(DRIVES)
    ]
    inside = np.mean([laws.squared_distance(one) < 5.99 for one in found])
    errors = [np.hypot(one.east - laws.OFFSET[0], one.north - laws.OFFSET[1]) for one in found]
    return (
        f"| {seconds:.0f} | {outliers:.0%} | {wander_s:g} | {np.median(errors):.2f} | "
        f"{np.median([np.hypot(*one.sigma) for one in found]):.2f} | {inside:.1%} | "
        f"{np.mean([one.chance() < SIGNIFICANCE for one in found]):.1%} | "
        f"{np.mean([one.chance() < SIGNIFICANCE for one in none]):.1%} |"
    )


if __name__ == "__main__":
    heads = (
        "drive (s)", "outliers", "GNSS wanders (s)", "error, median (m)", "claimed, median (m)",
        "inside 95 % ellipse", "written", "written where there is none",
    )  # fmt: skip
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for case in ((120.0, 0.3, 5.0), (600.0, 0.0, 5.0), (600.0, 0.3, 5.0), (600.0, 0.3, 30.0)):
        print(line(*case), flush=True)
