# SPDX-License-Identifier: Apache-2.0
import pytest

from training.data.bag_config import BagConfig

GOOD = {"camera_translation": (1.0, 0.0, 1.6), "camera_rpy": (0.0, 0.0, 0.0)}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"camera_translation": (1.0, 0.0, 0.0)}, "above the road, got z = 0.0"),
        ({"heading_offset": float("nan")}, "heading_offset must be finite, got nan"),
        ({"gnss_default_sigma_m": 0.0}, "gnss_default_sigma_m must be positive, got 0.0"),
    ],
)
def test_a_configuration_out_of_range_is_refused(change, said):
    with pytest.raises(ValueError, match=said):
        BagConfig(
            **{"camera_translation": (1.0, 0.0, 1.6), "camera_rpy": (0.0, 0.0, 0.0), **change}
        )
