# SPDX-License-Identifier: Apache-2.0
from g2s_localizer.estimator.mirror_watch import REST, MirrorWatch


def asked(watch, images, evidence, mirrored):
    """How many of the images were looked at mirrored too."""
    count = 0
    for _ in range(images):
        if watch.asks():
            watch.add(evidence, mirrored)
            count += 1
    return count


def test_pictures_as_they_should_be_are_settled_in_a_few_images_and_seldom_asked_again():
    watch = MirrorWatch()
    assert asked(watch, 10 * REST, evidence=3.0, mirrored=-1.0) < 16
    assert watch.sentence == ""


def test_mirrored_pictures_are_named_from_the_first_image_on():
    watch = MirrorWatch()
    asked(watch, 1, evidence=1.0, mirrored=4.0)
    assert "mirrored" in watch.sentence


def test_one_image_that_is_alike_on_both_sides_says_nothing_of_a_settled_camera():
    watch = MirrorWatch()
    asked(watch, 10, evidence=3.0, mirrored=-1.0)
    asked(watch, REST, evidence=1.0, mirrored=2.0)
    assert watch.sentence == ""


def test_a_camera_that_is_mirrored_on_the_way_is_noticed():
    watch = MirrorWatch()
    asked(watch, 50, evidence=3.0, mirrored=-1.0)
    asked(watch, 6 * REST, evidence=0.0, mirrored=4.0)
    assert "mirrored" in watch.sentence


def test_a_question_that_stays_open_costs_a_share_of_the_images():
    watch = MirrorWatch()
    assert asked(watch, 280, evidence=0.0, mirrored=0.0) <= 88


def test_noise_says_nothing_of_the_camera():
    watch = MirrorWatch()
    asked(watch, 100, evidence=-9.0, mirrored=-5.0)
    assert watch.sentence == ""


def test_evidence_that_nobody_calibrated_says_nothing():
    watch = MirrorWatch()
    asked(watch, 50, evidence=20.0, mirrored=20.0)
    assert watch.sentence == ""
