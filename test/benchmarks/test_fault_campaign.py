# SPDX-License-Identifier: Apache-2.0
"""A few faults of the campaign on a tiny simulated drive, and what the table makes of them."""

import json

import numpy as np
import pytest

from benchmarks.fault_campaign import campaign, drive_with, misses
from benchmarks.faults import FAULTS, Fault
from benchmarks.simulated_drive import Drive
from g2s_localizer.kitti import OXTS_COLUMNS
from training.simulate import simulate

IMAGES = 5
KEYS = ["fault", "mode", "images", "published", "wrong_3m", "outside_99", "alive", "verdict"]
LINE = {"images": 100, "wrong_3m": 1, "alive": True, "verdict": "published"}


@pytest.fixture(scope="module")
def drive(tmp_path_factory) -> Drive:
    folder = tmp_path_factory.mktemp("faults") / "drive"
    simulate(folder, 3101, IMAGES, "easy", 10.0)
    return Drive(folder)


def test_each_fault_gets_the_answer_that_is_its_own(drive, tmp_path):
    names = ["none", "noise", "camera upside down"]
    assert campaign([drive], names, tmp_path, drive_with) == []
    lines = json.loads((tmp_path / "table.json").read_text())
    assert [list(line) for line in lines] == [KEYS] * 3
    assert [line["verdict"] for line in lines] == ["published", "NOT_HERE", "NO_CAMERA"]
    assert [line["published"] > 0 for line in lines] == [True, False, False]


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if not fault.other])
def test_a_fault_leaves_messages_whole(drive, name):
    fault, place = FAULTS[name], drive.kitti.latlon(0)
    image, info, pixels = drive.messages.image(0), drive.messages.camera_info(0), drive.image(0)
    fault.messages(image, info, 1)
    assert (len(info.k), len(info.p)) == (9, 12) and abs(fault.fix(place, 1.0, 1).lat) > 40.0
    shown = fault.pixels(pixels, drive, 1)
    assert (shown.shape, shown.dtype) == (pixels.shape, np.uint8)
    assert fault.imagery(drive).crop(place, 48.0, 0.5).centre == place


def test_the_truth_goes_on_beyond_the_records(drive):
    first = int(drive.kitti.oxts_stamps[0])
    earlier, _ = drive.truth(first - 2_000_000_000)
    x, y = drive.start[0].to_xy(earlier)
    speed = drive.kitti.oxts[0, OXTS_COLUMNS.index("vf")]
    assert np.hypot(x, y) == pytest.approx(2.0 * speed, rel=1e-3)
    assert np.hypot(*drive.start[0].to_xy(drive.truth(first)[0])) < 1e-6


def test_what_raises_is_a_row_that_says_so(drive, tmp_path, capfd):
    def broken(image, info, number):
        raise RuntimeError("a bug")

    row = drive_with(Fault(("published",), messages=broken), drive)
    assert not row.alive and "a bug" in capfd.readouterr().err
    assert campaign([drive], ["none"], tmp_path, lambda fault, drive: row)[0] == (
        "none: the bridge raised"
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"wrong_3m": 2}, "2 of 100 images published and more than 3 m wrong"),
        ({"verdict": "NOT_HERE"}, "says NOT_HERE, expected published"),
        ({"alive": False}, "the bridge raised"),
    ],
)
def test_a_row_misses_by_what_its_fault_does_not_allow(change, said):
    sentences = list(misses({**LINE, **change}, FAULTS["none"]))
    assert len(sentences) == bool(said) and "".join(sentences).startswith(said)


def test_every_fault_says_what_may_come_of_it():
    assert all(fault.names and 0.0 <= fault.wrong <= 0.01 for fault in FAULTS.values())
