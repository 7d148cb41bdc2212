# SPDX-License-Identifier: Apache-2.0
"""Small runs: the flat world and a configuration for it."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
