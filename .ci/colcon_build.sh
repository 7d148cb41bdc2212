#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Usage: colcon_build.sh SOURCE WORKSPACE [colcon build options]
# Builds the package in SOURCE into WORKSPACE/{build,install,log} with the Python of .venv, against
# the sourced ROS install, or against the ROS wheels in .venv where there is none.
set -eo pipefail
source_dir=$(realpath "$1")
workspace=$(realpath "$2")
shift 2
venv=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../.venv")

export PATH=$venv/bin:$PATH
if [ -z "$ROS_DISTRO" ]; then
  python "$(dirname "${BASH_SOURCE[0]}")/repoint_wheels.py"
  # What another build put on these paths must not be found in place of the wheels.
  export AMENT_PREFIX_PATH=$venv CMAKE_PREFIX_PATH=$venv
  unset COLCON_PREFIX_PATH PYTHONPATH
fi

cd "$workspace"
log=$workspace/colcon_build.log
if ! colcon --log-base log build --base-paths "$source_dir" --packages-select g2s_localizer \
  "$@" --cmake-args -DBUILD_TESTING=OFF -DPython3_EXECUTABLE="$venv/bin/python" >"$log" 2>&1; then
  cat "$log" >&2
  echo "colcon_build: error: colcon build failed (the whole output is above)" >&2
  exit 1
fi
rm "$log"
