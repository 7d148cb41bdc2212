# SPDX-License-Identifier: Apache-2.0
"""Training, evaluation and the simulator; imports the package, and is imported by tests only."""
