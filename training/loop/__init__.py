# SPDX-License-Identifier: Apache-2.0
"""Parts that every recipe shares: devices, processes, batches, learner, monitor, run folder."""
