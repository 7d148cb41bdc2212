# SPDX-License-Identifier: Apache-2.0
"""Fetching tiles from a provider into a store: for the tools alone, no part of the node."""
