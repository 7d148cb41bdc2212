# SPDX-License-Identifier: Apache-2.0
"""Scores beside the baselines, and the table they make."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from flat_world import MODEL, NOISE, FlatWorld

from g2s_localizer.estimator.gate import GateConfig
from g2s_localizer.model import G2SNet, Registration
from training.data.selection import Part
from training.score.calibration import calibrate
from training.score.plots import draw_all
from training.score.predict import Prediction, predict
from training.score.scoring import CENTRE, GATED, NETWORK, PRIOR, score
from training.score.table import confidence_table, markdown, plain

WORLD = FlatWorld(12, 9, broken=(4,))
ANY = GateConfig(max_ellipse_m=1e6, max_innovation=1e6, max_entropy=1.0, max_peak_ratio=1.0)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return G2SNet(MODEL).eval()


@pytest.fixture(scope="module")
def scores(network):
    return score(network, WORLD, NOISE, worst=3, limits=ANY)


def test_the_prior_is_as_wrong_as_its_noise(scores):
    kept = [i for i in range(12) if i != 4]
    errors = scores.methods[PRIOR].errors
    distance = [math.dist((WORLD.labels[i].x, WORLD.labels[i].y),
                          (WORLD.truths[i].x, WORLD.truths[i].y)) for i in kept]  # fmt: skip
    np.testing.assert_allclose(np.hypot(errors[:, 0], errors[:, 1]), distance)
    assert scores.methods[CENTRE].figures == scores.methods[PRIOR].figures


def test_a_pair_that_cannot_be_read_is_in_no_row(scores):
    assert scores.figures()["frames"] == 11
    assert [left.index for left in scores.unreadable] == [4]


def test_the_gate_publishes_what_is_not_at_the_border(network, scores):
    nothing = score(network, WORLD, NOISE, limits=GateConfig(max_entropy=1e-9))
    assert nothing.figures()["published_share"] == 0.0
    assert math.isnan(nothing.methods[GATED].figures["median_m"])
    inside = {
        found.index
        for found in predict(network, WORLD)
        if isinstance(found, Prediction) and found.border_cells > 0
    }
    assert set(scores.methods[GATED].indices) == inside
    assert 0 < scores.figures()["published_share"] == len(inside) / 11 < 1


def test_the_worst_are_the_worst_and_come_first(scores):
    errors = scores.methods[NETWORK].errors
    distance = np.sort(np.hypot(errors[:, 0], errors[:, 1]))[::-1]
    np.testing.assert_allclose([p.error_m for p in scores.worst], distance[:3], rtol=1e-6)


def test_the_table_has_a_line_for_each_method_and_shares_in_percent(scores):
    rows = {name: answers.figures for name, answers in scores.methods.items()}
    report = {
        "data": "a flat world", "prior": {"position_m": 5.0, "yaw_deg": 5.0}, "checkpoint": "none",
        "published_share": 0.5, "unreadable": ["one"],
    }  # fmt: skip
    lines = markdown(report, rows).splitlines()
    assert "publishes 50.0 %; 1 pairs could not be read" in lines[0]
    within = rows[PRIOR]["lateral_within_5m"]
    (prior,) = (line for line in lines if line.startswith(f"| {PRIOR} |"))
    assert f"/ {100 * within:.1f} |" in prior


def test_a_row_of_no_frames_has_dashes_and_json_has_nulls(network):
    nothing = score(network, WORLD, NOISE, limits=GateConfig(max_entropy=1e-9))
    report = {
        "data": "a flat world", "prior": {"position_m": 5.0, "yaw_deg": 5.0}, "checkpoint": "none",
        "published_share": 0.0, "unreadable": [],
    }  # fmt: skip
    gated = nothing.methods[GATED].figures
    (row,) = (line for line in markdown(report, {GATED: gated}).splitlines() if GATED in line)
    assert "nan" not in row and row.endswith("| 0 |") and "| – / – |" in row
    assert plain({"a": [gated["median_m"], 1.0]}) == {"a": [None, 1.0]}


def test_figures_of_the_confidence_have_intervals_over_places(scores):
    figures, intervals = scores.figures(), scores.intervals()
    assert {"auroc_5m", "ece", "gross_at_90", "gross_at_80", "published_wrong_5m"} <= set(intervals)
    assert len(set(scores.places)) > 5
    for name in ("median_m", "ece", "published_share"):
        low, high = intervals[name]
        assert low <= figures[name] <= high
    header, _, _, _, row = confidence_table({"none": (figures, intervals)}, scores.places).split(
        "\n"
    )
    assert f"over {len(set(scores.places))} places" in header
    assert f"| {figures['median_m']:.2f} ({intervals['median_m'][0]:.2f} to " in row


def test_the_worst_are_named_by_drive_and_frame(network, scores):
    part = Part(WORLD, [7, 3, 5])
    named = {picture.name for picture in score(network, part, NOISE, worst=3).worst}
    assert named == {f"flat world, frame {i}" for i in (7, 3, 5)}


def test_the_plots_are_drawn(scores, tmp_path):
    draw_all(tmp_path, scores, [0] * 6 + [1] * 6, "a flat world")
    for name in ("error_cdf.png", "error_over_time.png", "worst.png"):
        assert (tmp_path / name).stat().st_size > 5_000


@dataclass(frozen=True)
class Elsewhere(Registration):
    """The vehicle may stand that far away, in every direction."""

    elsewhere_m: float

    def beyond(self, possible=None):
        return np.eye(3) * self.elsewhere_m**2


class Sure(G2SNet):
    """Claims a metre at the peak, and of all other places what a test says."""

    elsewhere_m = 0.0

    def registration(self, pose, within, *rest):
        found = super().registration(pose, torch.eye(3), *rest)
        return Elsewhere(**vars(found), elsewhere_m=self.elsewhere_m)


def test_calibration_makes_the_ellipse_for_90_percent_hold_90_percent():
    world, network = FlatWorld(40, 10), Sure(MODEL).eval()
    calibrate(network, world)
    assert network.covariance_scale[0] > 2.0
    covered = score(network, world, NOISE).figures()["coverage_90"]
    assert covered == pytest.approx(0.9, abs=0.03)


def test_calibration_leaves_the_peak_alone_where_other_places_account_for_the_errors():
    world, network = FlatWorld(40, 10), Sure(MODEL).eval()
    network.elsewhere_m = 20.0
    calibrate(network, world)
    assert network.covariance_scale.tolist() == [1.0, 1.0]


def test_calibration_looks_at_no_more_pairs_than_tell_it_something(monkeypatch):
    monkeypatch.setattr("training.score.calibration.MAX_PAIRS", 5)
    seen = set()

    class Watched(Part):
        def __getitem__(self, index):
            seen.add(index)
            return super().__getitem__(index)

    calibrate(Sure(MODEL).eval(), Watched(FlatWorld(40, 10), range(40)))
    assert seen == {0, 10, 20, 29, 39}
