# SPDX-License-Identifier: Apache-2.0
"""The recipe of LiftNet: drives placed by weak labels and odometry, and the loss on them."""
