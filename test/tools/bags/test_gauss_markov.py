# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from g2s_localizer.tools.bags.gauss_markov import gauss_markov

TIMES = np.arange(400_000) * 0.1


def noise(sigma=10.0, clip=np.inf, seed=0, times=TIMES):
    return gauss_markov(times, sigma, 5.0, clip, np.random.default_rng(seed))


def test_the_noise_has_the_standard_deviation_asked_for_and_no_mean():
    assert noise().std() == pytest.approx(10.0, rel=0.03)
    assert noise().mean() == pytest.approx(0.0, abs=0.5)


@pytest.mark.parametrize("lag_s", [1.0, 5.0, 10.0])
def test_the_correlation_falls_to_1_over_e_in_a_time_constant(lag_s):
    lag = round(lag_s / 0.1)
    correlation = np.corrcoef(noise()[:-lag], noise()[lag:])[0, 1]
    assert correlation == pytest.approx(np.exp(-lag_s / 5.0), abs=0.03)


def test_the_first_sample_is_as_wide_as_the_others():
    first = [noise(seed=seed, times=TIMES[:2])[0] for seed in range(4000)]
    assert np.std(first) == pytest.approx(10.0, rel=0.05)


def test_the_noise_is_clipped():
    clipped = noise(clip=2.0)
    assert np.abs(clipped).max() == 20.0
    assert np.mean(np.abs(clipped) == 20.0) == pytest.approx(0.0455, abs=0.01)


def test_uneven_times_correlate_by_the_time_between_them():
    times = np.repeat(np.arange(200_000) * 50.0, 2) + np.tile([0.0, 5.0], 200_000)
    pairs = noise(times=times).reshape(-1, 2)
    assert np.corrcoef(pairs.T)[0, 1] == pytest.approx(np.exp(-1.0), abs=0.02)


def test_one_seed_gives_one_noise_in_every_scale():
    assert noise(sigma=3.0)[:50] * 2.0 == pytest.approx(noise(sigma=6.0)[:50])
    assert not np.allclose(noise(seed=1)[:50], noise(seed=2)[:50])


@pytest.mark.parametrize("sigma", [-1.0, float("nan"), float("inf")])
def test_a_nonsense_standard_deviation_is_refused(sigma):
    with pytest.raises(ValueError, match=f"must not be negative, got {sigma}"):
        noise(sigma=sigma, times=TIMES[:3])
