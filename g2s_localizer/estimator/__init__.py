# SPDX-License-Identifier: Apache-2.0
"""One image in, one estimate out; no ROS."""
