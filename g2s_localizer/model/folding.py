# SPDX-License-Identifier: Apache-2.0
"""Batch normalisation folded into the convolutions before it: the same answers with less work."""

from __future__ import annotations

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norm(network: nn.Module) -> None:
    """Fold it in place, for a network in evaluation that will not be trained on or saved.

    A module whose children hold a convolution and, next to it, its normalisation must apply them
    so. Raises ValueError for a network in training.
    """
    if network.training:
        raise ValueError("batch normalisation can be folded in evaluation only: call eval() first")
    before: tuple[str, nn.Module] | None = None
    for name, part in list(network.named_children()):
        if isinstance(part, nn.BatchNorm2d) and before and isinstance(before[1], nn.Conv2d):
            setattr(network, before[0], fuse_conv_bn_eval(before[1], part))
            setattr(network, name, nn.Identity())
        else:
            fold_batch_norm(part)
        before = name, part
