# SPDX-License-Identifier: Apache-2.0
"""The network of Shi et al., ECCV 2024."""
