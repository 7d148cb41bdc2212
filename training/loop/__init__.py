# SPDX-License-Identifier: Apache-2.0
"""What every recipe shares: devices, processes, batches, learner, monitor, the run's folder."""
