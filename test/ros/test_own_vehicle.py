# SPDX-License-Identifier: Apache-2.0
"""docs/own_vehicle.md as it is printed: its vehicle, its commands and its parameters."""

import re
import shlex

import numpy as np
import pytest
import yaml

from g2s_localizer.geometry import LatLon, LocalFrame
from g2s_localizer.kitti import KittiDrive
from g2s_localizer.messages import stamp_ns
from g2s_localizer.tools import check
from g2s_localizer.tools.bags import kitti_to_rosbag2, replay_bag
from training import simulate

pytestmark = [pytest.mark.ros, pytest.mark.slow]

# Less of a drive than the page's: as many seconds for the headings, fewer images.
SHORTER = ["--frames", "24", "--rate", "4"]


@pytest.fixture
def page(repository, tmp_path, monkeypatch):
    """The page; the folder is a new one, the parameters lie in it as my_vehicle.yaml."""
    text = (repository / "docs" / "own_vehicle.md").read_text()
    monkeypatch.chdir(tmp_path)
    (yaml_block,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "my_vehicle.yaml").write_text(yaml_block)
    return text


def words(page, command):
    """What follows the first line of the page that begins with `command`."""
    return shlex.split(re.search(f"^{re.escape(command)} (.*)", page, re.MULTILINE)[1])


def checked(options, *more):
    """Whether g2s-check finds nothing wrong, without the pictures, which take long."""
    return check.main([*options[: options.index("--pictures")], *more]) == 0


def errors(peer, drive):
    """(N,) m: of the poses published, from the truth of the drive."""
    last = peer.registrations[-1]
    frame = LocalFrame(LatLon(last.datum_latitude, last.datum_longitude))
    true = [frame.to_xy(drive.pose_at(stamp_ns(pose.header))[0]) for pose in peer.poses]
    found = [(p.pose.pose.position.x, p.pose.pose.position.y) for p in peer.poses]
    return np.linalg.norm(np.array(found) - true, axis=1)


def test_the_vehicle_of_the_page_is_found_with_the_page_s_parameters_and_no_others(
    page, repository, start_node, peer, wait, tmp_path, monkeypatch, capsys
):
    assert simulate.main([*words(page, "python -m training.simulate"), *SHORTER]) == 0
    assert kitti_to_rosbag2.main(words(page, "g2s-kitti-to-rosbag2")) == 0
    profile = repository / "config" / "fastdds.xml"
    monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", str(profile))
    parameters = yaml.safe_load((tmp_path / "my_vehicle.yaml").read_text())["/**"]
    changes = parameters["ros__parameters"]
    changes["imagery"]["uri"] = f"slippy:{tmp_path / 'out/drive/imagery'}"
    start_node(changes, *[word for word in words(page, "g2s-node") if ":=" in word])

    options = words(page, "g2s-check")
    assert checked(options)
    assert not checked(options, "-p", "heading.convention:=enu")
    assert re.search("likely .*(it is NED.*)$", page, re.MULTILINE)[1] in capsys.readouterr().out
    assert not checked(options, "-p", "camera.translation:=[.nan, .nan, .nan]")
    assert "camera.translation must be given" in capsys.readouterr().out

    wait(lambda: peer.diagnostics and peer.diagnosis()["state"] == "active", 120)
    assert replay_bag.main(["out/drive1"]) == 0
    wait(lambda: len(peer.registrations) >= 12)
    found = errors(peer, KittiDrive(tmp_path / "out/drive", "2011_09_26_drive_7305_sync"))
    assert len(found) >= 5 and np.median(found) < 1.0
