# SPDX-License-Identifier: Apache-2.0
"""Pairs of ground images and satellite crops with weak labels."""
