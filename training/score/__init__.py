# SPDX-License-Identifier: Apache-2.0
"""Predictions of a network, their errors, calibration, tables and plots."""
