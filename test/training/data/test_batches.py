# SPDX-License-Identifier: Apache-2.0
"""Which samples share a batch: laws of the sampler, on places that are only numbers."""

import itertools

import numpy as np
import pytest

from training.data.batches import DistantBatchSampler


class Line:
    """Drives along a line: samples `step_m` apart, drive after drive."""

    def __init__(self, drives, frames, step_m=5.0):
        self.drives, self.frames, self.step_m = drives, frames, step_m

    def __len__(self):
        return self.drives * self.frames

    def group(self, index):
        return index // self.frames

    def apart(self, index, others, spacing_m):
        return all(
            self.group(o) != self.group(index) or abs(o - index) * self.step_m >= spacing_m
            for o in others
        )


def sampler(dataset=None, size=8, **options):
    return DistantBatchSampler(dataset or Line(6, 60), size, 64.0, **options)


@pytest.mark.parametrize("per_group", [None, 2, 4])
def test_no_two_samples_of_a_batch_lie_nearer_than_the_spacing(per_group):
    line = Line(6, 60)
    for batch in sampler(line, per_group=per_group):
        assert len(batch) == 8
        assert all(line.apart(i, [j], 64.0) for i, j in itertools.combinations(batch, 2))


def test_a_batch_holds_as_many_of_each_drive_as_asked():
    for batch in sampler(per_group=4):
        assert sorted(np.bincount([i // 60 for i in batch], minlength=6))[-3:] == [0, 4, 4]


def test_an_epoch_shows_nearly_every_sample_and_none_twice():
    for per_group in (None, 2):
        shown = list(itertools.chain(*sampler(per_group=per_group)))
        assert len(shown) == len(set(shown))
        assert len(shown) >= 0.95 * 360


def test_the_order_follows_from_seed_and_epoch_alone():
    one, other = sampler(seed=3), sampler(seed=3)
    list(other)
    for each in (one, other):
        each.set_epoch(2)
    assert list(one) == list(other) != list(sampler(seed=4))
    assert list(one) != list(sampler(seed=3))


def test_an_epoch_goes_on_at_the_batch_it_was_left_at():
    whole, rest = sampler(), sampler()
    whole.set_epoch(1)
    rest.set_epoch(1, start=5)
    assert list(rest) == list(whole)[5:]


def test_ranks_share_the_batches_evenly():
    whole = list(sampler())
    shares = [list(sampler(rank=rank, ranks=2)) for rank in (0, 1)]
    assert len(shares[0]) == len(shares[1]) == len(whole) // 2
    assert [*itertools.chain(*zip(*shares, strict=True))] == whole[: 2 * len(shares[0])]


def test_a_drive_too_short_for_its_batch_is_refused():
    with pytest.raises(ValueError, match="a drive of 20 frames has no 4 that lie 64.0 m apart"):
        list(sampler(Line(6, 20), per_group=4))


def test_a_dataset_that_makes_no_batch_is_refused():
    with pytest.raises(ValueError, match="10 samples make no batch of 8 that lie 64.0 m apart"):
        list(sampler(Line(1, 10)))


@pytest.mark.parametrize("options", [{"size": 6, "per_group": 4}, {"rank": 2, "ranks": 2}])
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(ValueError, match="room for 4|rank must lie in 0..1, got 2"):
        sampler(**options)
