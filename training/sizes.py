# SPDX-License-Identifier: Apache-2.0
"""Checks that the extractors take the configured sizes, when a configuration is read."""

from __future__ import annotations

from g2s_localizer.model import ModelConfig

_VGG_STRIDE = 8
_REGRESSOR_CELLS = 32
"""Sides of the paper's rotation regressor are divisible by this: patches of 4, windows of 8."""


def require_sizes(model: ModelConfig) -> None:
    """Raise ValueError naming the first of a model's sizes that its extractors do not take."""
    divisor = 2**model.levels if model.is_own else _VGG_STRIDE
    side = round(model.crop_m / model.gsd)
    sizes = {
        "ground_height": model.ground_height,
        "ground_width": model.ground_width,
        f"crop_m {model.crop_m:g} at gsd {model.gsd:g}, in pixels": side,
    }
    for name, pixels in sizes.items():
        if pixels % divisor:
            raise ValueError(
                f"model.{name} must be divisible by {divisor} as the extractors need, got "
                f"{pixels}: take {_nearest(pixels, divisor)}"
            )
    if not model.is_own and model.yaw_range_deg > 0 and model.satellite_cells % _REGRESSOR_CELLS:
        cells = model.satellite_cells
        raise ValueError(
            f"model.crop_m {model.crop_m:g} has {cells} cells of {model.cell_m:g} m a side, and "
            f"the rotation network takes numbers divisible by {_REGRESSOR_CELLS}: take a crop_m "
            f"of {_nearest(cells, _REGRESSOR_CELLS) * model.cell_m:g}"
        )


def _nearest(pixels: int, divisor: int) -> int:
    return max(1, round(pixels / divisor)) * divisor
