# SPDX-License-Identifier: Apache-2.0
import pytest

from g2s_localizer.geometry.mounting import extrinsic_from_parameters
from g2s_localizer.kitti import KittiDrive
from training.simulation.drive import DATE, write_calibration

ELSEWHERE = extrinsic_from_parameters((0.6, 0.3, 1.9), (0.02, 0.05, -0.1))


@pytest.fixture(scope="session", params=[None, ELSEWHERE], ids=["as-kitti", "elsewhere"])
def camera(request, tmp_path_factory):
    """A colour camera, read from the calibration that the simulator writes."""
    root = tmp_path_factory.mktemp("calibration")
    write_calibration(root, request.param)
    drive = root / DATE / f"{DATE}_drive_0000_sync"
    (drive / "image_02").mkdir(parents=True)
    (drive / "oxts" / "data").mkdir(parents=True)
    for folder in ("image_02", "oxts"):
        (drive / folder / "timestamps.txt").write_text("2011-09-26 10:00:00.000000000\n")
    (drive / "oxts" / "data" / "0000000000.txt").write_text("49 8 " + "0 " * 28)
    return KittiDrive(root, drive.name).camera
