# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from g2s_localizer.model.correlation import correlate, correlate_all, satellite_spectrum


def brute_force(view, weight, satellite):
    k, side = view.shape[-1], satellite.shape[-1]
    n = side - k + 1
    rows = []
    for i in range(n):
        for j in range(n):
            patch = satellite[:, i : i + k, j : j + k] * weight
            seen = view * weight
            rows.append((patch * seen).sum() / (patch.norm() * seen.norm()))
    return torch.stack(rows).view(n, n)


def random_pair(seed, channels, k, side, batch=1):
    generator = torch.Generator().manual_seed(seed)
    view = torch.randn(batch, channels, k, k, generator=generator, dtype=torch.float64)
    weight = torch.rand(batch, 1, k, k, generator=generator, dtype=torch.float64) + 0.05
    satellite = torch.randn(batch, channels, side, side, generator=generator, dtype=torch.float64)
    return view, weight, satellite


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99), st.integers(1, 4), st.integers(1, 6), st.integers(0, 5))
def test_fft_correlation_equals_brute_force(seed, channels, k, extra):
    view, weight, satellite = random_pair(seed, channels, k, k + extra)
    scores = correlate(view, weight, satellite_spectrum(satellite))[0]
    torch.testing.assert_close(scores, brute_force(view[0], weight[0], satellite[0]))


@pytest.mark.parametrize("side", [5, 6])
def test_its_gradients_are_those_of_brute_force(side):
    inputs = [t.requires_grad_() for t in random_pair(0, 2, 3, side)]
    assert torch.autograd.gradcheck(
        lambda v, w, s: correlate(v, w, satellite_spectrum(s)), inputs, atol=1e-6
    )


def test_all_pairs_agree_with_one_pair_at_a_time():
    view, weight, satellite = random_pair(1, 3, 4, 8, batch=3)
    everything = correlate_all(view, weight, satellite_spectrum(satellite))
    for i in range(3):
        one = correlate(view, weight, satellite_spectrum(satellite[i : i + 1]))
        torch.testing.assert_close(everything[i], one)


def test_the_gradients_of_all_pairs_are_those_of_differences():
    view, weight, _ = (t.requires_grad_() for t in random_pair(4, 2, 3, 5, batch=3))
    satellite = random_pair(5, 2, 3, 5, batch=2)[2].requires_grad_()
    assert torch.autograd.gradcheck(
        lambda v, w, s: correlate_all(v, w, satellite_spectrum(s)),
        (view, weight, satellite),
        atol=1e-6,
    )


def test_moving_the_view_by_cells_moves_the_peak_by_as_many():
    _, weight, satellite = random_pair(2, 3, 6, 16)
    for row, column in [(0, 0), (3, 7), (10, 2)]:
        view = satellite[:, :, row : row + 6, column : column + 6]
        scores = correlate(view, weight, satellite_spectrum(satellite))[0]
        assert divmod(int(scores.argmax()), 11) == (row, column)
        assert scores.max().item() == pytest.approx(1.0)


def test_cells_of_no_weight_do_not_count():
    view, weight, satellite = random_pair(3, 2, 5, 9)
    weight[..., :2] = 0.0
    before = correlate(view, weight, satellite_spectrum(satellite))
    view[..., :2] = 100.0
    torch.testing.assert_close(correlate(view, weight, satellite_spectrum(satellite)), before)


def test_a_view_without_any_weight_scores_zero_everywhere():
    view, weight, satellite = random_pair(4, 2, 3, 6)
    scores = correlate(view, 0.0 * weight, satellite_spectrum(satellite))
    assert torch.equal(scores, torch.zeros_like(scores))


def test_a_view_larger_than_the_crop_is_refused():
    view, weight, satellite = random_pair(5, 1, 6, 6)
    with pytest.raises(ValueError, match="view of 6 cells does not fit .* of 5"):
        correlate(view, weight, satellite_spectrum(satellite[..., :5, :5]))
