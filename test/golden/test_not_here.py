# SPDX-License-Identifier: Apache-2.0
"""What the shipped method answers to an image that does not belong to its crop."""

import hashlib
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save

from g2s_localizer import Localizer, LocalizerConfig, Pose2D
from g2s_localizer.estimator.estimate import Rejection
from g2s_localizer.estimator.gate import GateConfig
from g2s_localizer.model import load_checkpoint, save_checkpoint
from g2s_localizer.model.calibrated import UNCALIBRATED
from g2s_localizer.model.checkpoint import SHIPPED


@pytest.fixture(scope="module")
def localizer(uri):
    return Localizer.from_config(LocalizerConfig(uri))


@pytest.fixture
def seen(pair):
    return pair.observation(pair.world)


def turned(observation, angle):
    pose = observation.prior.pose
    prior = replace(observation.prior, pose=Pose2D(pose.x, pose.y, pose.yaw + angle))
    return replace(observation, prior=prior)


def test_an_image_that_belongs_says_so(localizer, seen):
    found = localizer.localize(seen)
    assert found.accepted and found.presence > 0.97
    assert found.correlation > found.min_correlation > 0.15


@pytest.mark.parametrize("spoil", ["noise", "upside down", "flat noise"])
def test_an_image_of_nothing_is_not_here(localizer, seen, spoil):
    noise = np.random.default_rng(0).integers(0, 256, seen.image.shape, np.uint8)
    image = {
        "noise": noise,
        "flat noise": 110 + noise // 12,
        "upside down": np.ascontiguousarray(seen.image[::-1, ::-1]),
    }[spoil]
    found = localizer.localize(replace(seen, image=image))
    assert found.rejection is Rejection.NOT_HERE and "at least" in found.detail


def test_a_mirrored_picture_is_named(uri, seen):
    localizer = Localizer.from_config(LocalizerConfig(uri))
    image = np.ascontiguousarray(seen.image[:, ::-1])
    found = localizer.localize(replace(seen, image=image))
    assert found.rejection is Rejection.NOT_HERE and "pictures are mirrored" in found.detail


@pytest.mark.parametrize("degrees", [90.0, 180.0, -90.0])
def test_a_heading_that_is_far_off_is_not_here(localizer, seen, degrees):
    assert not localizer.localize(turned(seen, math.radians(degrees))).accepted


def test_a_heading_found_beyond_the_search_is_at_its_border(uri, seen):
    open_gate = GateConfig(max_innovation=100.0, min_presence=0.001)
    localizer = Localizer.from_config(LocalizerConfig(uri, gate=open_gate))
    found = localizer.localize(turned(seen, math.radians(14.0)))
    assert found.rejection is Rejection.AT_BORDER and "heading" in found.detail


def test_scores_that_are_not_finite_are_a_rejection_by_name(uri, seen, localizer):
    broken = Localizer.from_config(LocalizerConfig(uri))
    with torch.no_grad():
        broken._network.log_temperature.fill_(0.0)
        for parameter in broken._network.ground_extractor.parameters():
            parameter.fill_(math.nan)
    found = broken.localize(seen)
    assert found.rejection is Rejection.FLAT_SCORE and "not finite" in found.detail


def test_a_checkpoint_from_before_the_calibration_takes_every_image(tmp_path):
    network, _ = load_checkpoint(SHIPPED)
    tensors = {
        name: tensor.contiguous()
        for name, tensor in network.state_dict().items()
        if name not in UNCALIBRATED
    }
    payload, old = save(tensors), tmp_path / "old.safetensors"
    save_checkpoint(old, network, {})
    described = json.loads(old.with_suffix(".json").read_text())
    described["sha256"] = hashlib.sha256(payload).hexdigest()
    old.with_suffix(".json").write_text(json.dumps(described))
    old.write_bytes(payload)
    loaded, _ = load_checkpoint(old)
    assert loaded.correlation_floor == -1.0 and loaded.evidence_weights[-1] == 20.0
