# SPDX-License-Identifier: Apache-2.0
"""The shipped network: the overhead view is lifted column by column, and heading and place are
searched together."""
