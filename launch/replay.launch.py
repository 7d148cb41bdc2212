# SPDX-License-Identifier: Apache-2.0
"""Plays a bag to the localizer and fuses its poses with odometry in robot_localization's EKF.

ros2 launch g2s_localizer replay.launch.py bagfile:=DIR parameters:=my_vehicle.yaml rviz:=true

All arguments of localize.launch.py apply. Static transforms come from the bag; the fused pose is
/odometry/filtered, in the frame map.
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node


def generate_launch_description() -> LaunchDescription:
    """localize.launch.py with a bag and simulated time, and the EKF on its output."""
    share = Path(get_package_share_directory("g2s_localizer"))

    localize = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(share / "launch" / "localize.launch.py")),
        launch_arguments={
            "bagfile": LaunchConfiguration("bagfile"),
            "use_sim_time": "true",
        }.items(),
    )

    ekf = Node(
        package="robot_localization",
        executable="ekf_node",
        name="ekf_filter_node",
        output="screen",
        parameters=[
            str(share / "config" / "ekf.yaml"),
            {
                "use_sim_time": True,
                "odom0": LaunchConfiguration("odometry"),
                # A recorded drive has its own map -> odom, or no odom -> base_link to make it from.
                "publish_tf": False,
            },
        ],
    )

    return LaunchDescription(
        [
            DeclareLaunchArgument("bagfile", description="rosbag2 to play (required)"),
            # First: it declares the topics, and sets the Fast DDS profile for the EKF too.
            localize,
            ekf,
        ]
    )
