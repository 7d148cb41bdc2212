# SPDX-License-Identifier: Apache-2.0
"""Starts the localizer, and with `bagfile:=DIR` plays a bag to it as soon as it is active.

ros2 launch g2s_localizer localize.launch.py parameters:=my_vehicle.yaml image:=/front/image_raw
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    RegisterEventHandler,
    SetEnvironmentVariable,
)
from launch.conditions import IfCondition
from launch.event_handlers import OnProcessStart
from launch.events import matches_action
from launch.substitutions import (
    AndSubstitution,
    LaunchConfiguration,
    NotEqualsSubstitution,
    NotSubstitution,
)
from launch_ros.actions import LifecycleNode, Node
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from launch_ros.parameter_descriptions import ParameterValue
from lifecycle_msgs.msg import Transition

# The topics of the node, and what they are called in the bags of kitti_to_rosbag2.
TOPICS = {
    "image": ("/camera/image_raw", "images (sensor_msgs/Image)"),
    "camera_info": ("/camera/camera_info", "calibration of that camera"),
    "fix": ("/gnss/fix", "positions (sensor_msgs/NavSatFix)"),
    "imu": ("/imu/data", "headings, ENU (sensor_msgs/Imu)"),
    "odometry": ("/odometry", "headings or motion (nav_msgs/Odometry)"),
    "twist": ("/twist", "motion, prior.motion twist (geometry_msgs/TwistWithCovarianceStamped)"),
    "prior_pose": ("/prior_pose", "poses of a filter, prior.source pose"),
}


def generate_launch_description() -> LaunchDescription:
    """Return the node with its parameters and topics; bag and RViz where they are asked for."""
    config = Path(get_package_share_directory("g2s_localizer"), "config")
    bagfile = LaunchConfiguration("bagfile")
    with_bag = NotEqualsSubstitution(bagfile, "")
    autostart = LaunchConfiguration("autostart")
    starts_itself = AndSubstitution(autostart, NotSubstitution(with_bag))
    use_sim_time = ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)

    arguments = [
        DeclareLaunchArgument(
            "parameters",
            default_value=str(config / "localizer.yaml"),
            description="YAML file with the node's parameters",
        ),
        DeclareLaunchArgument(
            "autostart", default_value="true", description="configure and activate at once"
        ),
        DeclareLaunchArgument(
            "bagfile", default_value="", description="rosbag2 to play once the node is active"
        ),
        DeclareLaunchArgument(
            "use_sim_time", default_value=with_bag, description="take the time from /clock"
        ),
        DeclareLaunchArgument("rviz", default_value="false", description="start RViz as well"),
        DeclareLaunchArgument(
            "fastdds_profile",
            default_value=str(config / "fastdds.xml"),
            description="Fast DDS profile; the shipped one keeps DDS on this machine",
        ),
        *(
            DeclareLaunchArgument(name, default_value=topic, description=f"topic: {what}")
            for name, (topic, what) in TOPICS.items()
        ),
    ]

    localizer = LifecycleNode(
        package="g2s_localizer",
        executable="localizer_node",
        name="localizer",
        namespace="",
        output="screen",
        parameters=[
            LaunchConfiguration("parameters"),
            {
                "autostart": ParameterValue(starts_itself, value_type=bool),
                "use_sim_time": use_sim_time,
            },
        ],
        remappings=[
            *((name, LaunchConfiguration(name)) for name in TOPICS),
            ("image/compressed", [LaunchConfiguration("image"), "/compressed"]),
        ],
    )

    def change_state(transition: int) -> EmitEvent:
        return EmitEvent(
            event=ChangeState(
                lifecycle_node_matcher=matches_action(localizer), transition_id=transition
            )
        )

    # Before a bag the transitions are asked for from here: of those that a node makes by itself in
    # its first second launch may not hear, not having discovered it yet.
    started = AndSubstitution(autostart, with_bag)
    configure = RegisterEventHandler(
        OnProcessStart(
            target_action=localizer, on_start=[change_state(Transition.TRANSITION_CONFIGURE)]
        ),
        condition=IfCondition(started),
    )
    activate = RegisterEventHandler(
        OnStateTransition(
            target_lifecycle_node=localizer,
            start_state="configuring",
            goal_state="inactive",
            entities=[change_state(Transition.TRANSITION_ACTIVATE)],
        ),
        condition=IfCondition(started),
    )

    # Loading and warming up the network takes seconds, in which a bag would play to nobody.
    play_when_active = RegisterEventHandler(
        OnStateTransition(
            target_lifecycle_node=localizer,
            goal_state="active",
            entities=[
                ExecuteProcess(
                    cmd=["ros2", "bag", "play", bagfile, "--clock", "100"], output="screen"
                )
            ],
        ),
        condition=IfCondition(with_bag),
    )

    rviz = Node(
        package="rviz2",
        executable="rviz2",
        name="rviz2",
        arguments=["-d", str(config / "g2s.rviz")],
        parameters=[{"use_sim_time": use_sim_time}],
        condition=IfCondition(LaunchConfiguration("rviz")),
    )

    return LaunchDescription(
        [
            *arguments,
            # Processes read it when they start: it stands before all of them.
            SetEnvironmentVariable(
                "FASTRTPS_DEFAULT_PROFILES_FILE", LaunchConfiguration("fastdds_profile")
            ),
            configure,
            activate,
            play_when_active,
            localizer,
            rviz,
        ]
    )
