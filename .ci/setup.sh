#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `make setup`: .venv with everything the project uses, and the messages built into install/.
# Each of the two steps is skipped while what it was made from is unchanged.
set -eo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
venv=$root/.venv

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: error: %s\n' "$*" >&2; exit 1; }
hash_of() { { printf '%s\n' "$1"; shift; cat "$@"; } | sha256sum | cut -d ' ' -f 1; }

# Two runs in one folder (make test beside make lint) take turns.
exec 9>"$root/.setup.lock"
flock 9

# --- system packages ---------------------------------------------------------------------------
python_version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

find_python() {
  local candidate
  for candidate in python3 python3.12 python3.11 python3.10; do
    case "$(python_version "$candidate")" in
      3.10 | 3.11 | 3.12) command -v "$candidate"; return ;;
    esac
  done
}

# Names of the Debian and Ubuntu packages which this machine lacks, one per line.
missing_packages() {
  if [ -z "$python" ]; then
    printf '%s\n' python3 python3-venv python3-dev
  else
    local p=python3
    [ "$(readlink -f "$python")" = "$(readlink -f /usr/bin/python3)" ] || p=$(basename "$python")
    "$python" -c 'import ensurepip' 2>/dev/null || echo "$p-venv"
    "$python" -c 'import os, sysconfig as s, sys
sys.exit(not os.path.exists(os.path.join(s.get_path("include"), "Python.h")))' || echo "$p-dev"
  fi
  command -v gcc >/dev/null || echo gcc
  command -v g++ >/dev/null || echo g++
  # Beside a sourced ROS install colcon comes from where ROS came from.
  [ -z "$ROS_DISTRO" ] || command -v colcon >/dev/null || echo python3-colcon-common-extensions
}

install_packages() {
  local as_root=()
  if [ "$(id -u)" != 0 ]; then
    as_root=(sudo -n)
  fi
  if ! command -v apt-get >/dev/null || ! "${as_root[@]}" true 2>/dev/null; then
    fail "these system packages are missing: $*. Install them (apt-get install $*) and run again."
  fi
  say "installing system packages: $*"
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -qq -y --no-install-recommends "$@" >/dev/null \
    || fail "apt-get could not install: $*"
}

python=$(find_python)
packages=$(missing_packages)
if [ -n "$packages" ]; then
  # shellcheck disable=SC2086
  install_packages $packages
  python=$(find_python)
fi
[ -n "$python" ] || fail "no Python 3.10, 3.11 or 3.12 found; g2s_localizer needs one of them."

# --- Python packages ---------------------------------------------------------------------------
# A sourced ROS install brings rclpy, the messages and colcon; elsewhere they come as wheels.
venv_options=()
requirements=(-r requirements.txt)
if [ -n "$ROS_DISTRO" ]; then
  venv_options=(--system-site-packages)
else
  requirements+=(-r requirements-ros.txt)
fi

made_from=$(hash_of "${ROS_DISTRO:-wheels} $root" \
  requirements.txt requirements-ros.txt setup.py pyproject.toml)
if [ "$(cat "$venv/.made_from" 2>/dev/null)" = "$made_from" ]; then
  say ".venv is up to date"
else
  if [ ! -x "$venv/bin/python" ]; then
    say "making .venv with $python ($(python_version "$python"))"
    "$python" -m venv "${venv_options[@]}" "$venv"
  fi
  say "installing the pinned Python packages into .venv (a few minutes; 2 GB with CPU PyTorch)"
  # pip first: old versions of it mistake local directories for package indices.
  "$venv/bin/python" -m pip install --quiet --upgrade pip
  "$venv/bin/python" -m pip install --quiet "${requirements[@]}"
  "$venv/bin/python" -m pip install --quiet 'setuptools<80' wheel
  "$venv/bin/python" -m pip install --quiet --no-deps --no-build-isolation -e .
  "$venv/bin/python" -m pip check
  echo "$made_from" >"$venv/.made_from"
fi

# --- messages ----------------------------------------------------------------------------------
made_from=$(hash_of "${ROS_DISTRO:-wheels} $root $(cat "$venv/.made_from")" \
  .ci/colcon_build.sh .ci/repoint_wheels.py CMakeLists.txt package.xml msg/*.msg)
if [ "$(cat install/.made_from 2>/dev/null)" = "$made_from" ]; then
  say "install/ is up to date"
else
  say "building the messages with colcon into install/"
  bash .ci/colcon_build.sh "$root" "$root" --symlink-install
  echo "$made_from" >install/.made_from
fi
say "done"
