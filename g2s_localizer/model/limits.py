# SPDX-License-Identifier: Apache-2.0
"""Upper limits of a ModelConfig.

A description comes with weights from anywhere, and must not be able to ask for all of a machine's
memory or for hours. The limits lie far beyond what was ever trained.
"""

from __future__ import annotations

from typing import Any

_RANGES: dict[str, tuple[float, float]] = {
    "crop_m": (1, 1000),
    "gsd": (0.01, 10),
    "reach_m": (0.1, 500),
    "ground_height": (1, 2048),
    "ground_width": (1, 4096),
    "yaw_range_deg": (0, 180),
    "width": (1, 256),
    "levels": (1, 8),
    "features": (1, 256),
    "yaw_step_deg": (0.1, 90),
    "level": (0, 3),
}
_KINDS: dict[str, Any] = {
    "int": int,
    "float": (int, float),
    "str": str,
    "bool": bool,
}

MAX_CROP_PIXELS = 2048
"""Along a side."""

MAX_VALUES = 2**26
"""Values of the finest features of an image or a crop: 256 MB of them."""

MAX_SCORES = 2**30
"""Products of one search over a whole turn: ten times those of the shipped network."""

_SHOWN = 80


def check_field(name: str, kind: str, value: Any, may_be_zero: bool) -> None:
    """Raise ValueError naming a field whose value is of another type or out of its range.

    kind   the field's type by its name: int, float, str or bool
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not isinstance(value, _KINDS[kind]) or is_number != (kind in ("int", "float")):
        raise ValueError(f"ModelConfig.{name} must be of type {kind}, got {shown(value)}")
    if not is_number or (value == 0 and may_be_zero):
        return
    if not value > 0:
        raise ValueError(f"ModelConfig.{name} must be positive, got {shown(value)}")
    least, most = _RANGES[name]
    if not least <= value <= most:
        raise ValueError(f"ModelConfig.{name} must be {least} to {most}, got {shown(value)}")


def check_activations(names: str, pixels: float, channels: int) -> None:
    """Raise ValueError where `names` together make a picture of too many values."""
    if pixels * channels > MAX_VALUES:
        raise ValueError(
            f"{names}: {pixels:.0f} pixels of {channels} channels are more than {MAX_VALUES}"
        )


def check_search(yaw_step_deg: float, features: int, cells: int) -> None:
    """Raise ValueError where a search over a whole turn takes too much; `cells` along a side."""
    if 360.0 / yaw_step_deg * features * cells**2 > MAX_SCORES:
        raise ValueError(
            f"yaw_step_deg {yaw_step_deg}, features {features} and {cells} cells a side: a whole "
            f"turn takes more than {MAX_SCORES} products"
        )


def shown(value: Any) -> str:
    """Return a value as a message shows it, however large it is."""
    if isinstance(value, int) and value.bit_length() > 100:
        return f"a number of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
