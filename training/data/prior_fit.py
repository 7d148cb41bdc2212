# SPDX-License-Identifier: Apache-2.0
"""Checks that every offset which the prior allows can be scored.

With an overhead view that reaches out of the crop at some true offsets, the weak loss is lowered
by moving the features away from that side: training then runs into a growing constant error
while its loss keeps falling. So the sum is checked before the first step.
"""

from __future__ import annotations

import math

from g2s_localizer.model import ModelConfig
from training.data.sample import PriorNoise


def require_prior_fits(
    model: ModelConfig, noise: PriorNoise, *, along_heading: bool, aligned: bool
) -> None:
    """Raise ValueError naming the numbers when an offset plus the reach leaves the crop.

    along_heading  whether the noise is along the vehicle's axes (as in the KITTI lists) or the
                   map's
    aligned        whether the crop's u axis follows the label's heading, or north is up

    The crop's axes differ from those of the offset by an angle: none where both are the map's,
    up to the heading's noise where both follow the heading, any where only one does. At an angle
    t the square of offsets spans (cos t + sin t) times its half side along the crop's axes.
    """
    if along_heading and aligned:
        turn = math.radians(min(noise.yaw_deg, 45.0))
    else:
        turn = math.radians(45.0) if along_heading or aligned else 0.0
    offset = noise.position_m * (math.cos(turn) + math.sin(turn))
    if offset > model.search_m + 1e-9:
        raise ValueError(
            f"the prior allows offsets of {offset:.1f} m along the axes of the crop, and the "
            f"overhead view reaches {model.reach_m:.1f} m beyond, but the crop of "
            f"{model.crop_m:.1f} m ends {model.crop_m / 2:.1f} m from its centre on each side: "
            f"enlarge crop_m, or reduce reach_m or the noise of the prior"
        )
