# SPDX-License-Identifier: Apache-2.0
"""The recipe of the paper: two stages, the weak loss, published checkpoints."""
