# SPDX-License-Identifier: Apache-2.0
"""Every offset that the prior allows, and the view around it, lies within the crop."""

import math

import pytest
import torch

from g2s_localizer.model import model_config
from training.data.prior_fit import require_prior_fits
from training.data.sample import PriorNoise
from training.paper.targets import offset_cells

MODEL = model_config(crop_m=96.0, reach_m=24.0)  # 24 m are left on each side


@pytest.mark.parametrize("direction", [(1, 0), (-1, 0), (0, 1), (0, -1)])
def test_what_fits_has_a_cell_in_every_direction_and_what_is_further_has_not(direction):
    require_prior_fits(MODEL, PriorNoise(24.0), along_heading=False, aligned=False)
    cells = MODEL.score_cells
    for metres, inside in ((24.0, True), (24.5, False)):
        offset = torch.tensor([direction]) * metres
        cell = offset_cells(offset, cells, MODEL.cell_m)
        assert bool(((cell >= 0) & (cell <= cells - 1)).all()) is inside


def test_what_does_not_fit_is_refused_with_its_numbers():
    message = "offsets of 24.5 m .* reaches 24.0 m beyond, .* crop of 96.0 m ends 48.0 m from"
    with pytest.raises(ValueError, match=message):
        require_prior_fits(MODEL, PriorNoise(24.5), along_heading=False, aligned=False)


@pytest.mark.parametrize(
    ("along_heading", "aligned", "turn_deg"),
    [(True, False, 45.0), (False, True, 45.0), (True, True, 10.0)],
)
def test_noise_along_other_axes_reaches_further_along_those_of_the_crop(
    along_heading, aligned, turn_deg
):
    turn = math.radians(turn_deg)
    limit = 24.0 / (math.cos(turn) + math.sin(turn))
    axes = {"along_heading": along_heading, "aligned": aligned}
    require_prior_fits(MODEL, PriorNoise(limit - 0.01), **axes)
    with pytest.raises(ValueError, match="enlarge crop_m"):
        require_prior_fits(MODEL, PriorNoise(limit + 0.01), **axes)


@pytest.mark.parametrize(("preset", "paper"), [("paper-kitti", True), ("compact", False)])
def test_the_presets_hold_the_prior_of_the_papers(preset, paper):
    model = model_config(preset=preset)
    require_prior_fits(model, PriorNoise(), along_heading=paper, aligned=paper)
