# SPDX-License-Identifier: Apache-2.0
"""g2s-tiles: one module for each of its commands."""
