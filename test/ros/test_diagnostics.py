# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus

from g2s_localizer.estimator.estimate import Estimate, Prior, Rejection
from g2s_localizer.geometry import LatLon, LocalFrame, Pose2D
from g2s_localizer.imagery.coverage import Coverage
from g2s_localizer.ros.diagnostics import LOST_AFTER, Diagnostics

FRAME = LocalFrame(LatLon(49.0, 8.4))
PRIOR = Prior(0, Pose2D(0, 0, 0), np.eye(3), FRAME)
GOOD = Estimate(0, PRIOR, PRIOR.pose, np.eye(3), latency_s=0.1)


def rejected(rejection=Rejection.FLAT_SCORE):
    return Estimate(0, PRIOR, rejection=rejection, detail="entropy 0.9", latency_s=0.3)


@pytest.fixture
def active():
    diagnostics = Diagnostics("localizer: registration")
    diagnostics.facts = {"imagery": "slippy:tiles", "checkpoint": "net@1"}
    diagnostics.start(100.0)
    diagnostics.state = "active"
    return diagnostics


def report(diagnostics, now, dropped=None, reasons=None):
    status = diagnostics.status(now, {"fix": 3}, dropped or {}, reasons or {}, FRAME)
    return status.level, status.message, {item.key: item.value for item in status.values}


def test_rate_and_latency_are_those_of_the_answers(active):
    for i in range(10):
        active.record(GOOD if i else rejected(), 0.05, 100.0 + 0.1 * i)
    _, _, values = report(active, 102.0)
    assert values["rate (Hz)"] == "5.000"
    assert (values["latency p50 (ms)"], values["accepted"]) == ("100.000", "9")
    assert float(values["latency p99 (ms)"]) > 280
    assert values["age of the prior (s)"] == "0.050"


def test_latency_is_told_from_the_start_of_work_from_arrival_and_from_the_stamp(active):
    active.record(GOOD, 0.05, 100.1, 0.25, 0.5)
    _, _, values = report(active, 100.5)
    told = [values[f"latency{since} p50 (ms)"] for since in ("", " from arrival", " from stamp")]
    assert told == ["100.000", "250.000", "500.000"]


def test_a_report_names_imagery_checkpoint_datum_and_every_rejection(active):
    active.record(rejected(), 0.0, 100.1)
    _, _, values = report(active, 100.5)
    assert (values["imagery"], values["checkpoint"]) == ("slippy:tiles", "net@1")
    assert values["datum"] == "49.00000000, 8.40000000"
    assert values["rejected FLAT_SCORE"] == "1" and values["rejected INNOVATION"] == "0"
    assert values["received fix"] == "3"


def test_accepted_images_are_ok(active):
    active.record(GOOD, 0.0, 100.1)
    assert report(active, 100.5)[0] == DiagnosticStatus.OK


def test_a_rejection_warns_with_its_sentence_until_the_next_report(active):
    active.record(rejected(), 0.0, 100.1)
    level, message, _ = report(active, 100.5)
    assert level == DiagnosticStatus.WARN and "score map is flat" in message
    active.record(GOOD, 0.0, 100.6)
    assert report(active, 101.0)[0] == DiagnosticStatus.OK


def test_rejections_in_a_row_mean_lost_and_one_good_estimate_ends_it(active):
    for i in range(LOST_AFTER):
        active.record(rejected(), 0.0, 100.0 + i / 10)
    assert report(active, 100.6)[0] == DiagnosticStatus.ERROR
    active.record(GOOD, 0.0, 100.7)
    assert report(active, 101.0)[0] == DiagnosticStatus.OK


@pytest.mark.parametrize("rejection", [Rejection.NO_IMAGERY, Rejection.NO_CAMERA])
def test_what_waiting_does_not_mend_is_an_error_at_once(active, rejection):
    active.record(rejected(rejection), 0.0, 100.1)
    assert report(active, 100.5)[0] == DiagnosticStatus.ERROR


def test_a_dropped_message_warns_with_its_reason(active):
    active.record(GOOD, 0.0, 100.1)
    level, message, values = report(active, 100.5, {"fix": 2}, {"fix": "NavSatFix: nan"})
    assert level == DiagnosticStatus.WARN and "fix: NavSatFix: nan" in message
    assert values["dropped fix"] == "2 (last: NavSatFix: nan)"


def test_no_image_for_long_is_stale_and_so_is_a_node_that_is_not_active(active):
    active.record(GOOD, 0.0, 100.1)
    assert report(active, 103.0)[:2] == (DiagnosticStatus.STALE, "no image answered for 2.9 s")
    active.state = "inactive"
    assert report(active, 103.5)[:2] == (DiagnosticStatus.STALE, "inactive")


def silent(diagnostics, now, **why):
    return diagnostics.status(now, {}, {}, {}, FRAME, **why).message


def test_silence_names_its_cause(active):
    active.record(GOOD, 0.0, 100.0)
    pairs = "9 images and no CameraInfo"
    assert silent(active, 103.0, why_silent=pairs) == f"no image answered for 3.0 s: {pairs}"
    nobody = ["nobody publishes /fix", "nobody publishes /imu"]
    said = silent(active, 104.0, unpublished=nobody, why_silent=pairs)
    assert said == "no image answered for 4.0 s: nobody publishes /fix; nobody publishes /imu"
    active.record(rejected(Rejection.NO_PRIOR), 0.0, 104.1)
    assert silent(active, 105.0, unpublished=nobody).endswith(": " + "; ".join(nobody))


def test_what_the_watches_say_of_accepted_poses_is_a_warning(active):
    active.record(replace(GOOD, warnings=("the fixes stand 8 m off",)), 0.0, 100.1)
    level, message, values = report(active, 100.5)
    assert (level, message) == (DiagnosticStatus.WARN, "the fixes stand 8 m off")
    assert values["warnings"] == message


def test_text_of_messages_does_not_control_the_terminal(active):
    active.record(GOOD, 0.0, 100.1)
    _, message, values = report(active, 100.5, {"image": 1}, {"image": "encoding '\x1b[31m'"})
    assert message.endswith("encoding '?[31m'") and values["dropped image"].endswith("'?[31m')")


def test_pairing_and_topics_without_a_publisher_are_values(active):
    status = active.status(
        100.1, {}, {}, {}, FRAME, unpublished=["nobody publishes /fix"], pairing={"pairs": "7"}
    )
    values = {item.key: item.value for item in status.values}
    assert values["topics without a publisher"] == "nobody publishes /fix"
    assert values["pairs"] == "7"


def test_a_failure_and_a_setup_fault_are_errors_in_words(active):
    active.record_failure(RuntimeError("out of memory"))
    assert report(active, 100.5)[:2] == (DiagnosticStatus.ERROR, "RuntimeError: out of memory")
    active.fault = "configure failed: no such file"
    assert report(active, 101.0)[:2] == (DiagnosticStatus.ERROR, "configure failed: no such file")


def test_a_planned_area_that_is_not_covered_warns_until_it_is_worse(active):
    active.coverage = Coverage(4, 50.0, ((LatLon(49.0, 8.4), ("19/1/2",)),))
    active.record(GOOD, 0.0, 100.1)
    level, message, values = report(active, 100.5)
    assert level == DiagnosticStatus.WARN and "covers 75 % of 4 cells" in message
    assert "49.00000, 8.40000 (19/1/2)" in values["coverage of the planned area"]
    active.record(rejected(Rejection.NO_IMAGERY), 0.0, 100.6)
    assert report(active, 101.0)[0] == DiagnosticStatus.ERROR
