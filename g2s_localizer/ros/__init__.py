# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 edge: the only part that knows rclpy and messages."""
