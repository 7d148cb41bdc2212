# SPDX-License-Identifier: Apache-2.0
from itertools import combinations

from training.lift.placing import stream


def test_every_phase_seed_step_and_process_draws_numbers_of_its_own():
    keys = [(1, "search", 0, 0), (1, "refine", 0, 0), (2, "search", 0, 0), (1, "search", 1, 0),
            (1, "search", 0, 1), (1, "", 0, 0), (1, "hcraes", 0, 0)]  # fmt: skip
    states = [tuple(stream(*key).generate_state(4)) for key in keys]
    assert all(one != other for one, other in combinations(states, 2))


def test_the_numbers_of_a_step_are_the_same_in_every_process():
    # not those of hash(), which differ from one start of Python to the next
    assert stream(11, "search", 3, 0).generate_state(1).tolist() == [2553446717]
