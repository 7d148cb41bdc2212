# SPDX-License-Identifier: Apache-2.0
from g2s_localizer.imagery.source import MissingImagery


def test_missing_imagery_spells_out_a_few_tiles_and_holds_all():
    error = MissingImagery("slippy:x", {f"19/{x}/5": "not in the store" for x in range(40)})
    assert len(error.tiles) == 40
    assert "19/0/5 (not in the store)" in str(error) and str(error).endswith("and 34 more")
