# SPDX-License-Identifier: Apache-2.0
"""Small real and generated data for the datasets."""

import pytest

from g2s_localizer.model import ModelConfig

TINY = ModelConfig(
    width=4, levels=3, features=4, gsd=1.0, ground_height=32, ground_width=128, yaw_step_deg=6.0
)


@pytest.fixture(scope="session")
def tiny() -> ModelConfig:
    return TINY
