# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from g2s_localizer.model.paper.vgg import LEVEL_CHANNELS, VGGUNet, upsampled_convolution


@pytest.fixture(scope="module")
def extractor():
    torch.manual_seed(0)
    return VGGUNet().eval()


@settings(max_examples=15)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 99))
def test_convolving_an_upsampled_map_equals_folding_the_kernel(height, width, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, 3, height, width, generator=generator, dtype=torch.float64)
    weight = torch.randn(4, 3, 3, 3, generator=generator, dtype=torch.float64)
    plain = F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), weight, padding=1)
    torch.testing.assert_close(upsampled_convolution(x, weight), plain)


def test_stripes_give_what_the_whole_image_gives(extractor):
    image = torch.rand(1, 3, 320, 512)  # without gradients: stripes of 128 rows
    whole = extractor(image, 1)
    with torch.inference_mode():
        striped = extractor(image, 1)
    for a, b in zip(striped, whole, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_a_level_has_its_resolution_and_nothing_finer_is_computed(extractor, level):
    called = []
    hooks = [
        getattr(extractor, f"conv_dec{i}")[3].register_forward_hook(
            lambda *_, i=i: called.append(i)
        )
        for i in (1, 2, 3)
    ]
    with torch.inference_mode():
        features, confidence = extractor(torch.rand(1, 3, 32, 64), level)
    for hook in hooks:
        hook.remove()
    stride = 2 ** (3 - level)
    assert features.shape == (1, LEVEL_CHANNELS[level], 32 // stride, 64 // stride)
    assert confidence.shape == (1, 1, 32 // stride, 64 // stride)
    assert called == list(range(1, level + 1))


@pytest.mark.parametrize("level", [0, 1, 2, 3])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.61, 0.95])
def test_leaving_out_upper_rows_does_not_change_the_lower_ones(extractor, level, share):
    image = torch.rand(1, 3, 128, 32)
    first = int(share * 128 / 2 ** (3 - level))
    with torch.inference_mode():
        whole, below = extractor(image, level), extractor(image, level, first)
    for a, b in zip(whole, below, strict=True):
        torch.testing.assert_close(b, a[:, :, first:])


def test_what_only_the_upper_rows_depend_on_is_not_computed(extractor):
    seen = []
    hook = extractor.conv10.register_forward_hook(lambda _, __, out: seen.append(out.shape[-2]))
    with torch.inference_mode():
        extractor(torch.rand(1, 3, 256, 32), 1, first=38)
    hook.remove()
    assert seen == [(256 - 124) // 4]


def test_the_confidence_lies_between_sigmoid_of_minus_one_and_one_half(extractor):
    with torch.inference_mode():
        _, confidence = extractor(50 * torch.randn(1, 3, 64, 64), 1)
    assert confidence.min() >= 1 / (1 + torch.e) - 1e-6 and confidence.max() <= 0.5


def test_a_vgg16_state_dict_starts_the_encoder():
    torch.manual_seed(1)
    network = VGGUNet()
    encoder = {n: t for n, t in network.state_dict().items() if n[4:5].isdigit() and n[3] == "v"}
    state = {f"features.{n[4:]}": torch.randn_like(t) for n, t in encoder.items()}
    state["classifier.0.bias"] = torch.zeros(3)
    network.load_imagenet(state)
    assert len(encoder) == 14
    assert all(torch.equal(network.state_dict()[n], state[f"features.{n[4:]}"]) for n in encoder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {}, "it lacks features.0.bias"),
        (lambda s: {**s, "features.7.bias": torch.zeros(3)}, r"features.7.bias is \(3,\), not"),
    ],
)
def test_what_is_no_vgg16_state_dict_is_refused_by_name(change, message):
    network = VGGUNet()
    encoder = {n: t for n, t in network.state_dict().items() if n[4:5].isdigit() and n[3] == "v"}
    state = {f"features.{n[4:]}": t for n, t in encoder.items()}
    with pytest.raises(ValueError, match=message):
        network.load_imagenet(change(state))


def test_an_image_whose_sides_do_not_divide_is_refused(extractor):
    with pytest.raises(ValueError, match=r"divisible by 8, got \(30, 32\)"):
        extractor(torch.rand(1, 3, 30, 32), 1)
