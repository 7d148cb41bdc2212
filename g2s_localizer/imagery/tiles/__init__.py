# SPDX-License-Identifier: Apache-2.0
"""Web-Mercator tiles: stores of them (folder, MBTiles, PMTiles), and crops out of any."""
