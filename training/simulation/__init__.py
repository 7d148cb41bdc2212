# SPDX-License-Identifier: Apache-2.0
"""A procedural world, seen from a car and from above, with exact truth."""
