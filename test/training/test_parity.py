# SPDX-License-Identifier: Apache-2.0
"""PaperNet against numbers of the original network (a folder of its own beside the test data)."""

import numpy as np
import pytest
import torch

from training.parity import TOLERANCE, compare, main


@pytest.fixture(scope="module")
def parity_data(test_data):
    folder = test_data.parent / "parity"
    if not folder.is_dir():
        pytest.skip(f"no numbers of the original network at {folder}")
    return folder


@pytest.mark.parametrize("kind", ["kitti", "vigor"])
def test_every_array_of_the_original_is_met_and_every_arg_max_is_equal(parity_data, kind, capsys):
    code = main([str(parity_data / f"parity_{kind}_level1.npz")])
    assert code == 0, capsys.readouterr().out


def test_an_array_beyond_the_tolerance_an_unknown_one_and_another_arg_max_are_told():
    theirs = {
        "off": np.array([1.0, 1.0]),
        "strange": np.zeros(2),
        "corr": np.array([[[0.0, 1.0]]]),
        "ground_phase": np.zeros(2),
    }
    made = {
        "off": torch.tensor([1.0, 1.0 + 3 * TOLERANCE]),
        "corr": torch.tensor([[[1.0, 0.0]]]),
    }
    rows = {name: good for name, _, good in compare(theirs, made)}
    assert rows == {"off": False, "strange: unknown": False, "corr": False, "corr, arg max": False}


def test_a_file_of_another_form_is_refused(tmp_path):
    np.savez(tmp_path / "other.npz", something=np.zeros(3))
    with pytest.raises(ValueError, match="not a parity file"):
        main([str(tmp_path / "other.npz")])
