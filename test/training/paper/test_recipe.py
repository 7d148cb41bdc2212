# SPDX-License-Identifier: Apache-2.0
"""What the paper's recipe starts from: weights of VGG-16, and what is said where they are not."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from flat_world import flat_pairs

from g2s_localizer.model import model_config
from g2s_localizer.model.paper.vgg import VGGUNet
from training.config import load_config
from training.loop.start import open_network
from training.paper.recipe import PaperRecipe

CONFIG = load_config(Path(__file__).parents[3] / "training" / "configs" / "kitti_weak.yaml")


def vgg16():
    """A state dict as torchvision names it, with the convolutions that the extractors take."""
    own = VGGUNet().state_dict()
    encoder = {name: t for name, t in own.items() if name[4:5].isdigit() and "conv" in name}
    return {f"features.{name[4:]}": torch.full_like(t, 0.25) for name, t in encoder.items()}


def opened(tmp_path):
    model = model_config(preset="paper-kitti")
    config = replace(CONFIG, vgg16=str(tmp_path / "vgg16.pth"), model=model)
    return open_network(config, PaperRecipe(config, flat_pairs()).start)


def test_an_absent_vgg16_is_named_with_where_it_comes_from_and_what_else_to_do(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        opened(tmp_path)
    said = str(error.value)
    assert str(tmp_path / "vgg16.pth") in said and 'vgg16: ""' in said
    assert "vgg16-397923af.pth" in said and "random" in said


def test_the_extractors_start_from_the_weights_of_vgg16(tmp_path):
    torch.save({"state_dict": vgg16()}, tmp_path / "vgg16.pth")
    network = opened(tmp_path)
    extractors = [part for part in network.children() if isinstance(part, VGGUNet)]
    assert extractors and all((part.conv0.weight == 0.25).all() for part in extractors)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"<html><title>404</title>", "vgg16.pth: not a file of plain tensors: a web page"),
        ({"features.0.weight": torch.zeros(64, 3, 3, 3)}, "it lacks features.0.bias; it comes"),
    ],
    ids=["page", "part"],
)
def test_a_file_that_is_not_vgg16_is_named(tmp_path, content, says):
    file = tmp_path / "vgg16.pth"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    with pytest.raises(ValueError, match=says):
        opened(tmp_path)
