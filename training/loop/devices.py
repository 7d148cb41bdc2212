# SPDX-License-Identifier: Apache-2.0
"""Meaning of "auto": the device and the precision of the machine at hand."""

from __future__ import annotations

import torch

AUTO = "auto"


def chosen_device(name: str) -> torch.device:
    """Return the device of a name as torch takes it, or for "auto" a GPU where there is one.

    Raises ValueError for a device that is none or is not there.
    """
    if name == AUTO:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"there is no device {name!r}: auto, cpu, cuda or cuda:1") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"{name}: torch finds {torch.cuda.device_count()} GPUs here")
    return device


def chosen_precision(name: str, device: torch.device) -> str:
    """Return fp32, bf16 or fp16; for "auto" bf16 on a GPU whose hardware has it, else fp32."""
    if name != AUTO:
        return name
    on_gpu = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if on_gpu else "fp32"
