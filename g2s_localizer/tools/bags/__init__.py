# SPDX-License-Identifier: Apache-2.0
"""Recordings: written from KITTI's drives, replayed into live topics, recorded from them."""
