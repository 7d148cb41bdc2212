# SPDX-License-Identifier: Apache-2.0
"""What the processes of torchrun know of each other; one alone needs no torchrun."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from torch import Tensor


def rank() -> int:
    """Return the number of this process, 0 for one alone."""
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def ranks() -> int:
    """Return how many processes there are."""
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def average(tensors: Sequence[Tensor]) -> None:
    """Replace tensors by their mean over the processes."""
    if ranks() == 1 or not tensors:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    torch.distributed.all_reduce(flat)
    flat /= ranks()
    for tensor, mean in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(mean.view_as(tensor))


def any_of(asked: bool) -> bool:
    """Return whether any process was asked to stop."""
    if ranks() == 1:
        return asked
    total = torch.tensor(float(asked))
    torch.distributed.all_reduce(total)
    return bool(total > 0)


def own_device(name: str) -> torch.device:
    """Return a GPU of its own for each process of a machine, as far as they go, for the name
    "auto"; else the CPU.
    """
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    local = int(os.environ.get("LOCAL_RANK", "0"))
    return torch.device("cuda", local % torch.cuda.device_count())
