# SPDX-License-Identifier: Apache-2.0
"""Samples become batches; what cannot be read is named and left out."""

from dataclasses import replace

import pytest
import torch
from torch.utils.data import DataLoader

from g2s_localizer.geometry import Pose2D
from training.data.sample import Sample, Unreadable, collate
from training.data.selection import Part, Remembered


def sample(index):
    return Sample(
        index, torch.full((3, 4, 8), index, dtype=torch.uint8), torch.eye(3), torch.eye(4),
        torch.zeros(3, 6, 6, dtype=torch.uint8), 0.5, 0.1 * index,
    )  # fmt: skip


class Counting(list):
    """A dataset of samples that counts how often it is asked."""

    asked = 0
    truths = None

    @property
    def labels(self):
        return [Pose2D(i, 0, 0) for i in range(len(self))]

    def __getitem__(self, index):
        self.asked += 1
        return super().__getitem__(index)


def test_a_batch_holds_the_samples_in_order():
    batch = collate([sample(2), sample(5)])
    assert len(batch) == 2
    assert batch.index.tolist() == [2, 5]
    assert batch.ground[:, 0, 0, 0].tolist() == [2, 5]
    torch.testing.assert_close(batch.yaw, torch.tensor([0.2, 0.5]))


def test_a_sample_that_cannot_be_read_is_left_out_and_named():
    broken = Unreadable(3, "drive, frame 3", "cannot be decoded")
    batch = collate([sample(2), broken])
    assert (batch.index.tolist(), batch.skipped) == ([2], (broken,))


def test_a_batch_of_which_nothing_can_be_read_is_empty():
    assert len(collate([Unreadable(3, "drive, frame 3", "no such image")])) == 0


def test_panoramas_make_a_batch_of_their_own():
    panorama = replace(sample(1), K=None)
    assert collate([panorama, panorama]).K is None
    with pytest.raises(ValueError, match="panoramas and pinhole images do not share a batch"):
        collate([panorama, sample(2)])


def test_a_part_numbers_its_samples_anew():
    part = Part(Counting([sample(i) for i in range(5)]), [4, 2])
    assert (len(part), part[1].index, part[1].yaw, part.labels[1].x) == (2, 1, 0.2, 2)


def test_a_share_of_the_data_follows_from_the_seed():
    data = Counting([sample(i) for i in range(100)])
    yaws = [[s.yaw for s in Part.share(data, 0.1, seed)] for seed in (1, 1, 2)]
    assert yaws[0] == yaws[1] != yaws[2]
    assert len(yaws[0]) == 10


def test_some_of_the_data_are_spread_over_all_of_them():
    data = Counting([sample(i) for i in range(100)])
    assert [label.x for label in Part.spread(data, 4).labels] == [0, 33, 66, 99]
    assert len(Part.spread(data, 1000)) == 100


def test_what_is_remembered_is_read_once():
    data = Counting([sample(i) for i in range(3)])
    kept = Remembered(data)
    assert [kept[1], kept[1]] == [kept[1]] * 2
    assert data.asked == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_the_order_does_not_depend_on_the_number_of_workers(workers):
    data = [sample(i) for i in range(20)]
    batches = [[3, 1], [7, 19], [0, 2]]
    loader = DataLoader(data, batch_sampler=batches, collate_fn=collate, num_workers=workers)
    assert [batch.index.tolist() for batch in loader] == batches
